"""What a worker takes a model's name for while somebody promotes another version."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from camfleet.contract.records import ModelRef
from camfleet.errors import StorageUnavailable, UnknownModel
from camfleet_worker.models.names import AHEAD, SECONDS, ModelNames
from helpers.waiting import wait_until


def ref(version):
    return ModelRef(id="net", version=version, digest=version * 64)


class Bucket:
    """Names as the bucket has them; `held` looks wait, each with what it has read."""

    def __init__(self):
        self.version = "1"
        self.time = 100.0
        self.looks = 0
        self.open = threading.Event()
        self.open.set()

    def find(self, _name):
        self.looks += 1
        found = ref(self.version)
        assert self.open.wait(10)
        return found


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def names(bucket):
    return ModelNames(bucket.find, lambda: bucket.time)


def test_a_name_is_looked_up_again_after_the_seconds_that_are_documented(bucket, names):
    assert names.resolve("net") == ref("1")
    bucket.version = "2"
    bucket.time += SECONDS - 0.001
    assert names.resolve("net") == ref("1")
    bucket.time += 0.001
    assert names.resolve("net") == ref("2")
    assert bucket.looks == 2


def test_a_name_that_is_asked_for_time_and_again_is_looked_up_before_anybody_waits_for_it(bucket):
    with ThreadPoolExecutor(1) as pool:
        names = ModelNames(bucket.find, lambda: bucket.time, pool.submit)
        assert names.resolve("net") == ref("1")
        bucket.version = "2"
        bucket.open.clear()
        bucket.time += AHEAD
        assert [names.resolve("net") for _ in range(3)] == [ref("1")] * 3
        wait_until(lambda: bucket.looks == 2, 10)
        bucket.open.set()
        wait_until(lambda: names.resolve("net") == ref("2"), 10)
        bucket.time += SECONDS - 0.001
        assert names.resolve("net") == ref("2")
    assert bucket.looks == 3


def test_an_answer_that_counts_no_more_is_waited_for(bucket):
    with ThreadPoolExecutor(2) as pool:
        names = ModelNames(bucket.find, lambda: bucket.time, pool.submit)
        names.resolve("net")
        bucket.version = "2"
        bucket.open.clear()
        bucket.time += AHEAD
        assert names.resolve("net") == ref("1")
        wait_until(lambda: bucket.looks == 2, 10)
        bucket.time = 100.0 + SECONDS
        waits = pool.submit(names.resolve, "net")
        bucket.open.set()
        assert waits.result(10) == ref("2")
    assert bucket.looks == 2


def test_a_look_in_the_background_that_fails_leaves_the_answer_until_it_counts_no_more():
    outcomes = iter([ref("1"), StorageUnavailable("away"), StorageUnavailable("still"), ref("2")])
    now = [100.0]

    def find(_name):
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    names = ModelNames(find, lambda: now[0])
    assert names.resolve("net") == ref("1")
    now[0] += AHEAD
    assert names.resolve("net") == ref("1")
    now[0] = 100.0 + SECONDS
    with pytest.raises(StorageUnavailable, match="still"):
        names.resolve("net")
    assert names.resolve("net") == ref("2")


def test_an_answer_counts_from_when_it_was_asked_for(bucket, names):
    bucket.open.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(names.resolve, "net")
        wait_until(lambda: bucket.looks, 10)
        bucket.time += SECONDS - 1
        bucket.version = "2"
        bucket.open.set()
        assert slow.result(10) == ref("1")
    bucket.time += 1
    assert names.resolve("net") == ref("2")


def test_threads_that_ask_at_once_share_a_look_and_its_answer(bucket, names):
    bucket.open.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(names.resolve, "net")
        wait_until(lambda: bucket.looks, 10)
        bucket.version = "2"
        others = [pool.submit(names.resolve, "net") for _ in range(7)]
        bucket.open.set()
        assert {each.result(10) for each in (first, *others)} == {ref("1")}
    assert bucket.looks == 1


def test_a_failure_is_everyones_who_waited_and_the_next_one_looks_again():
    outcomes = iter([StorageUnavailable("away"), UnknownModel("none"), ref("1")])

    def find(_name):
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    names = ModelNames(find)
    with pytest.raises(StorageUnavailable):
        names.resolve("net")
    with pytest.raises(UnknownModel):
        names.resolve("net")
    assert names.resolve("net") == names.resolve("net") == ref("1")
