"""Turns of decoding processes: so many at a time, within the memory, and nobody waits for ever."""

import threading
from contextlib import ExitStack, contextmanager

import pytest

from camfleet.errors import WorkerBusy
from camfleet_worker.pictures import turns as module
from camfleet_worker.pictures.turns import Turns
from helpers.waiting import wait_until

ENOUGH = 30


class Unwanted(Exception):
    """What ends a wait."""


def hold(turns, memory=1, *, size=0, urgent=False, check=lambda: None):
    return turns.hold(memory, size=size, urgent=urgent, check=check, poll=0.01)


@contextmanager
def waiting(turns, order, name, memory=1, **more):
    """Hold a turn in a thread of its own for as long as the block asks for; note when it came."""
    leave, here = threading.Event(), threading.Event()

    def work():
        with hold(turns, memory, check=here.set, **more):
            order.append(name)
            here.set()
            leave.wait(ENOUGH)

    thread = threading.Thread(target=work)
    thread.start()
    assert here.wait(ENOUGH)
    try:
        yield leave
    finally:
        leave.set()
        thread.join(ENOUGH)


def test_urgent_callers_have_turns_of_their_own():
    turns = Turns(1, 10)
    with hold(turns), hold(turns, urgent=True):
        for urgent in (False, True):
            with pytest.raises(Unwanted), hold(turns, urgent=urgent, check=fail):
                pass
    with hold(turns), hold(turns, urgent=True):
        pass


def fail():
    raise Unwanted


def test_all_together_reserve_no_more_memory_than_there_is():
    turns = Turns(5, 10)
    unwanted = pytest.raises(Unwanted)
    with hold(turns, 6), hold(turns, 4, urgent=True), unwanted, hold(turns, 1, check=fail):
        pass
    with hold(turns, 10):
        pass


def test_what_needs_more_than_all_gets_all():
    turns = Turns(2, 10)
    with hold(turns, 99), pytest.raises(Unwanted), hold(turns, 1, check=fail):
        pass


def test_who_waits_for_memory_is_not_passed_by_those_who_need_less():
    turns, order = Turns(9, 10), []
    with ExitStack() as stack:
        first = stack.enter_context(waiting(turns, order, "first", 6))
        large = stack.enter_context(waiting(turns, order, "large", 8))
        small = stack.enter_context(waiting(turns, order, "small", 3))
        assert order == ["first"]
        first.set()
        wait_until(lambda: len(order) == 2, ENOUGH)
        large.set()
        wait_until(lambda: len(order) == 3, ENOUGH)
        small.set()
    assert order == ["first", "large", "small"]


def test_urgent_ones_go_first():
    turns, order = Turns(1, 1), []
    with ExitStack() as stack:
        first = stack.enter_context(waiting(turns, order, "first"))
        later = stack.enter_context(waiting(turns, order, "later"))
        urgent = stack.enter_context(waiting(turns, order, "urgent", urgent=True))
        first.set()
        wait_until(lambda: len(order) == 2, ENOUGH)
        urgent.set()
        later.set()
    assert order == ["first", "urgent", "later"]


@pytest.mark.parametrize(
    ("name", "most", "size"), [("_URGENT_WAITING", 2, 1), ("_URGENT_BYTES", 9, 4)]
)
def test_an_urgent_caller_is_sent_away_where_too_many_wait_and_others_are_not(
    monkeypatch, name, most, size
):
    monkeypatch.setattr(module, name, most)
    turns, order = Turns(1, 10), []
    with ExitStack() as stack:
        leaves = [
            stack.enter_context(waiting(turns, order, number, size=size, urgent=True))
            for number in range(3)
        ]
        busy = pytest.raises(WorkerBusy, match=r"2 images that take long .* try again later")
        with busy, hold(turns, size=size, urgent=True):
            pass
        with hold(turns, size=99):
            pass
        for leave in leaves:
            leave.set()
    assert sorted(order) == [0, 1, 2]
    with hold(turns, size=size, urgent=True):
        pass
