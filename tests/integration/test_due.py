"""What is due, in a real Redis: one holder at a time, and nothing that a dead one held is lost."""

import re
import threading
from contextlib import closing

import pytest

from camfleet.broker.due import Due, Held, Note
from camfleet.broker.redis import Redis
from camfleet_worker.process.due import DueThread, Hold, HoldLost
from helpers.databases import on_database
from helpers.waiting import wait_until

KEY, OTHER, HASH = "camfleet:test-due", "camfleet:test-then", "camfleet:test-hash"


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 12)


@pytest.fixture
def due(own, redis):
    """Give a function that opens the set, as a process of its own would."""
    with closing(Redis(own)) as broker:
        yield lambda seconds=60: Due(broker, KEY, re.compile("[a-z]+"), seconds=seconds)


def now(redis):
    seconds, micros = redis.time()
    return seconds + micros / 1e6


def test_what_is_due_longest_comes_first_and_what_is_due_later_not_yet(due, redis):
    redis.zadd(KEY, {"late": now(redis) + 60, "second": 2, "first": 1})
    one = due()
    assert [one.take().name, one.take().name, one.take()] == ["first", "second", None]


def test_what_one_holds_no_other_takes_until_the_lease_runs_out(due, redis):
    redis.zadd(KEY, {"a": 1})
    dying, other = due(300), due()
    dying.take()
    assert redis.zscore(KEY, "a") == pytest.approx(now(redis) + 300, abs=60)
    assert other.take() is None
    redis.zincrby(KEY, -300, "a")  # that time passes
    assert other.take().name == "a"


def test_a_lease_that_is_renewed_does_not_run_out(due, redis):
    redis.zadd(KEY, {"a": 1})
    one, other = due(3), due()
    with Hold(one, one.take()) as hold:
        first = redis.zscore(KEY, "a")
        wait_until(lambda: now(redis) > first, 20)
        assert other.take() is None
        hold.check()
    assert one.finish(hold.held)
    assert not redis.exists(KEY)


def test_who_loses_what_it_holds_is_told_and_can_do_nothing_with_it(due, redis):
    redis.zadd(KEY, {"a": 1})
    redis.hset(HASH, "told", "nothing")
    one, other = due(0.2), due()
    first = one.take()
    with Hold(one, first) as hold:
        redis.zadd(KEY, {"a": 2})  # it's made due anew
        taken = other.take()
        wait_until(lambda: hold._held is None, 5)
        with pytest.raises(HoldLost):
            hold.check()
    with pytest.raises(HoldLost):
        _ = hold.held
    note = Note(HASH, {"told": "by the first"})
    assert one.renew(first, note) is None
    assert not one.postpone(first, 0, note)
    assert not one.finish(first, note, then=OTHER)
    assert (redis.hget(HASH, "told"), redis.exists(OTHER)) == ("nothing", 0)
    assert other.finish(taken)


def test_what_is_finished_can_be_due_in_another_set_at_once_and_is_noted(due, redis):
    redis.zadd(KEY, {"a": 1})
    redis.hset(HASH, "there", 1)
    one = due()
    assert one.finish(one.take(), Note(HASH, {"how": "well", "when": "now"}), then=OTHER)
    assert redis.hgetall(HASH) == {"there": "1", "how": "well", "when": "now"}
    assert redis.zscore(OTHER, "a") <= now(redis)
    assert not redis.exists(KEY)


def test_what_is_postponed_is_due_then(due, redis):
    redis.zadd(KEY, {"a": 1})
    one = due()
    assert one.postpone(one.take(), 100)
    assert redis.zscore(KEY, "a") == pytest.approx(now(redis) + 100, abs=5)
    redis.zadd(KEY, {"a": 1})
    assert one.postpone(one.take(), 0)
    assert wait_until(one.take, 5).name == "a"


def test_nothing_is_noted_or_counted_where_there_is_no_hash(due, redis):
    redis.zadd(KEY, {"a": 1})
    one = due()
    assert one.count(HASH, "attempts") == 0
    assert one.finish(one.take(), Note(HASH, {"how": "well"}))
    assert not redis.exists(HASH)


def test_attempts_are_counted_and_taken_back(due, redis):
    redis.hset(HASH, "there", 1)
    one = due()
    assert [one.count(HASH, "attempts", by) for by in (1, 1, -1, 1)] == [1, 2, 1, 2]


def test_a_name_of_nothing_is_dropped_and_the_next_one_taken(due, redis):
    redis.zadd(KEY, {"../etc": 1, b"\xff": 2, "a": 3})
    one = due()
    assert one.take().name == "a"
    assert redis.zcard(KEY) == 1


def test_what_a_clock_that_was_set_back_made_due_is_due_at_once(due, redis):
    redis.zadd(KEY, {"year": now(redis) + 365 * 86400, "soon": now(redis) + 300})
    one = due()
    assert [one.take().name, one.take()] == ["year", None]
    assert redis.zscore(KEY, "year") == pytest.approx(now(redis) + 60, abs=5)


def test_what_may_be_due_however_late_is_not_taken_early(own, redis):
    redis.zadd(KEY, {"year": now(redis) + 365 * 86400})
    with closing(Redis(own)) as broker:
        assert Due(broker, KEY, re.compile("[a-z]+"), latest=None).take() is None


def test_as_long_as_much_is_due_more_threads_take_part(due, redis):
    one, together = due(), threading.Barrier(4)

    def handle(held):
        together.wait(10)  # four at a time, or nobody gets on
        one.finish(held)

    thread = DueThread("tests", one.take, handle, 0.01, threads=4)
    try:
        for names in ("abcd", "efghijkl"):
            redis.zadd(KEY, dict.fromkeys(names, 1))
            wait_until(lambda: not redis.exists(KEY), 10)
    finally:
        thread.close(5)
    assert not any(each.is_alive() for each in thread._threads)


def test_many_threads_take_each_name_once(due, redis):
    names = [f"{chr(97 + first)}{chr(97 + second)}" for first in range(8) for second in range(8)]
    redis.zadd(KEY, dict.fromkeys(names, 1))
    told, lock = [], threading.Lock()
    one = due()

    def handle(held):
        with lock:
            told.append(held.name)
        one.finish(held)

    threads = [DueThread(f"test-{number}", one.take, handle, 0.01) for number in range(4)]
    try:
        wait_until(lambda: not redis.exists(KEY), 10)
    finally:
        for thread in threads:
            thread.close(5)
    assert sorted(told) == sorted(names)


def test_a_thread_outlives_errors_and_what_it_held_comes_again(due, redis, caplog):
    redis.zadd(KEY, {"a": 1})
    one, seen = due(0.2), []

    def handle(held: Held):
        seen.append(held.name)
        if len(seen) == 1:
            raise OSError("no luck")
        one.finish(held)

    thread = DueThread("tests", one.take, handle, 0.01)
    try:
        wait_until(lambda: not redis.exists(KEY), 10)
    finally:
        thread.close(5)
    assert seen == ["a", "a"]
    assert "no luck" in caplog.text
