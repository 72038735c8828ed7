"""Others wait while something urgent is on its way: not for long, and not for most of the time."""

import threading
import time

import pytest

from camfleet_worker.process.priority import RightOfWay
from helpers.waiting import wait_until


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def gives(way):
    """Let a thread give way; return an event that tells when it goes on."""
    goes_on = threading.Event()

    def give():
        way.give()
        goes_on.set()

    threading.Thread(target=give, daemon=True).start()
    return goes_on


def test_nobody_waits_while_nothing_is_urgent():
    way = RightOfWay()
    way.give()
    with way.take():
        pass
    way.give()


def test_others_go_on_when_the_last_urgent_one_has_ended(clock):
    way = RightOfWay(clock)
    with way.take():
        with way.take():
            goes_on = gives(way)
            wait_until(lambda: way._clear._waiters, 10)
        assert not goes_on.is_set()
        assert way._clear._waiters
    assert goes_on.wait(10)


def test_an_error_gives_the_way_back(clock):
    way = RightOfWay(clock)
    with pytest.raises(KeyError), way.take():
        raise KeyError
    way.give()
    assert not way._urgent


def test_others_wait_for_a_quarter_of_a_second_at_most():
    way = RightOfWay()
    with way.take():
        start = time.monotonic()
        way.give()
        assert time.monotonic() - start >= 0.2
        way.give()  # the time is used up: at once, or this would never end
    assert way._left < 0.1


def test_what_is_urgent_all_the_time_keeps_nobody_back(clock):
    way = RightOfWay(clock)
    with way.take():
        clock.now += 60
        for _ in range(10):
            with way.take():
                way.give()


@pytest.mark.parametrize(
    ("urgent", "pause", "share"),
    [(0.05, 0.01, 0.25), (0.05, 0.15, 0.25), (0.05, 0.4, 1 / 9), (3.0, 0.0, 0.25 / 3)],
)
def test_others_have_three_quarters_of_the_time(clock, urgent, pause, share):
    way, kept_back = RightOfWay(clock), 0.0
    for _ in range(1000):
        with way.take():
            kept_back += min(urgent, way._left)
            clock.now += urgent
        clock.now += pause
    assert kept_back / clock.now == pytest.approx(share, rel=0.02)
