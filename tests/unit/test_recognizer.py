"""Who guesses at tokens keeps nobody waiting who has one."""

import asyncio
import threading
from contextlib import closing

import pytest

from camfleet.aio.threads import Threads
from camfleet.gateway.access.recognizer import Recognizer
from camfleet.gateway.access.tokens import TokenChecker, Tokens
from camfleet.gateway.problems import Problem


class Bucket:
    """Holds one token; to look for any other takes until `go` is set."""

    def __init__(self):
        self.objects = {}
        self.go = threading.Event()
        self.asked = []
        self.text, self.record = Tokens(self).create("ann", ("explain",), 1)

    def create(self, key, data, _kind):
        self.objects[key] = data

    def find(self, token_id):
        self.asked.append(token_id)
        if token_id == self.record.id:
            return self.record
        assert self.go.wait(30)
        return None


@pytest.fixture
def bucket():
    return Bucket()


def guesses(count):
    return [f"cf_{number:016x}_{'A' * 43}" for number in range(count)]


def test_a_known_token_is_looked_up_again_while_a_hundred_guesses_wait(bucket):
    async def ask():
        tokens = TokenChecker(bucket, seconds=0)  # each time anew
        with closing(Threads()) as threads, closing(Recognizer(tokens, threads)) as recognizer:
            assert (await recognizer.recognize(f" {bucket.text} ")).owner == "ann"
            waiting = [asyncio.ensure_future(recognizer.recognize(one)) for one in guesses(100)]
            await asyncio.sleep(0)
            with pytest.raises(Problem) as caught:
                await recognizer.recognize(guesses(101)[-1])
            assert (caught.value.status, caught.value.code) == (503, "too_many_strangers")
            assert (await recognizer.recognize(bucket.text)).owner == "ann"
            bucket.go.set()
            assert await asyncio.gather(*waiting) == [None] * 100
            assert await recognizer.recognize("cf_nonsense") is None

    asyncio.run(ask())
    assert bucket.asked.count(bucket.record.id) == 2
    assert len(bucket.asked) == 102


def test_the_right_id_with_a_wrong_secret_is_a_guess(bucket):
    tokens = TokenChecker(bucket, seconds=60)
    wrong = f"cf_{bucket.record.id}_{'A' * 43}"
    assert tokens.check(bucket.text) == bucket.record
    assert tokens.has_met(bucket.text)
    assert tokens.recall(bucket.text) == bucket.record
    assert not tokens.has_met(wrong)
    assert tokens.recall(wrong) is None
    assert tokens.check(wrong) is None


def test_no_number_of_guesses_makes_it_forget_a_token(bucket):
    bucket.go.set()
    tokens = TokenChecker(bucket, seconds=60)
    assert tokens.check(bucket.text)
    for text in guesses(10_001):
        assert tokens.check(text) is None
    assert tokens.recall(bucket.text) == bucket.record


def test_three_hundred_who_come_at_once_with_one_token_are_one_look(bucket):
    async def ask():
        tokens = TokenChecker(bucket, seconds=60)
        with closing(Threads()) as threads, closing(Recognizer(tokens, threads)) as recognizer:
            asking = [asyncio.ensure_future(recognizer.recognize(bucket.text)) for _ in range(300)]
            await asyncio.sleep(0)
            asking[0].cancel()  # who goes away takes nobody with them
            assert {token.owner for token in await asyncio.gather(*asking[1:])} == {"ann"}

    asyncio.run(ask())
    assert bucket.asked == [bucket.record.id]
