"""Admission: which queues a worker asks, and what it says when it asks none."""

from collections import Counter
from contextlib import ExitStack

import pytest

from camfleet.contract.lanes import (
    BULK_QUEUE,
    FIRST_QUEUE,
    INTERACTIVE_QUEUE,
    queues_in,
    queues_of,
)
from camfleet_worker.process.admission import Admission, queue_cycle

BOTH = [BULK_QUEUE, INTERACTIVE_QUEUE]


class Now:
    """What is in work and what time it is, as a test says."""

    def __init__(self):
        self.busy: Counter = Counter()
        self.seconds = 1000.0


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def admission(now):
    slots = {INTERACTIVE_QUEUE: 2, BULK_QUEUE: 1}
    return Admission(slots, lambda: now.busy, lambda: now.seconds)


def test_interactive_requests_are_asked_for_first(admission):
    assert admission.open_queues(BOTH) == [INTERACTIVE_QUEUE, BULK_QUEUE]
    assert admission.open_queues([BULK_QUEUE]) == [BULK_QUEUE]
    assert admission.size == 3


def test_a_queue_without_a_free_slot_is_not_asked_and_the_other_is(admission, now):
    now.busy[BULK_QUEUE] = 1
    assert admission.open_queues(BOTH) == [INTERACTIVE_QUEUE]
    now.busy[INTERACTIVE_QUEUE] = 1
    assert admission.open_queues(BOTH) == [INTERACTIVE_QUEUE]
    now.busy[INTERACTIVE_QUEUE] = 2
    assert admission.open_queues(BOTH) == []
    assert (admission.busy(INTERACTIVE_QUEUE), admission.busy(BULK_QUEUE)) == (2, 1)
    now.busy.clear()
    assert admission.open_queues(BOTH) == [INTERACTIVE_QUEUE, BULK_QUEUE]


def test_a_queue_that_has_no_slots_of_its_own_is_asked_last_and_always(admission, now):
    assert admission.open_queues(["other", *BOTH]) == [INTERACTIVE_QUEUE, BULK_QUEUE, "other"]
    now.busy.update({INTERACTIVE_QUEUE: 2, BULK_QUEUE: 1})
    assert admission.open_queues(["other", *BOTH]) == ["other"]


def test_closed_admission_asks_nothing_and_keeps_the_first_reason(admission):
    admission.close("5 chunks in a row failed")
    admission.close("something else")
    assert admission.open_queues([*BOTH, "other"]) == []
    assert admission.trouble == "5 chunks in a row failed"


def test_a_worker_that_has_not_asked_for_a_minute_is_in_trouble(admission, now):
    now.seconds += 60
    assert admission.trouble is None
    now.seconds += 1
    assert admission.trouble == "it has not asked the broker for work for 61 s"
    admission.open_queues(BOTH)
    assert admission.trouble is None


def test_a_worker_without_a_free_slot_needs_not_ask(admission, now):
    now.busy.update({INTERACTIVE_QUEUE: 2, BULK_QUEUE: 1})
    now.seconds += 3600
    assert admission.trouble is None
    now.busy[BULK_QUEUE] = 0
    assert "3600 s" in admission.trouble


def test_a_channel_picks_its_queues_by_admission(admission, now):
    queues = queue_cycle(admission)(BOTH)
    assert queues.consume(2) == [INTERACTIVE_QUEUE, BULK_QUEUE]
    now.busy[INTERACTIVE_QUEUE] = 2
    assert queues.consume(2) == [BULK_QUEUE]


def test_many_messages_for_the_same_hold_a_quarter_of_the_slots_as_long_as_there_is_room(now):
    admission = Admission(
        {INTERACTIVE_QUEUE: 8, BULK_QUEUE: 1}, lambda: now.busy, room={INTERACTIVE_QUEUE: 10}
    )
    assert admission.size == 19
    with ExitStack() as stack:

        def arrive(key):
            assert INTERACTIVE_QUEUE in admission.open_queues(BOTH)
            stack.enter_context(admission.crowd(INTERACTIVE_QUEUE, key))
            now.busy[INTERACTIVE_QUEUE] += 1

        for _ in range(12):
            arrive("slow")  # 2 hold slots, 10 the room
        for number in range(6):
            arrive(number)
        assert admission.open_queues(BOTH) == [BULK_QUEUE]
    assert admission._crowds[INTERACTIVE_QUEUE] == {}
    assert admission.open_queues(BOTH) == [BULK_QUEUE]  # Celery hasn't ended them yet
    now.busy.clear()
    assert admission.open_queues(BOTH) == [INTERACTIVE_QUEUE, BULK_QUEUE]


def test_where_there_is_no_room_each_message_holds_a_slot(admission, now):
    now.busy[INTERACTIVE_QUEUE] = 2
    with admission.crowd(INTERACTIVE_QUEUE, "a"), admission.crowd(INTERACTIVE_QUEUE, "a"):
        assert admission.open_queues(BOTH) == [BULK_QUEUE]


def test_messages_that_wait_aside_hold_no_slot_as_far_as_there_is_room(now):
    admission = Admission({INTERACTIVE_QUEUE: 2, BULK_QUEUE: 1}, lambda: now.busy, most_aside=3)
    assert admission.size == 6
    now.busy[INTERACTIVE_QUEUE] = 2
    assert admission.open_queues(BOTH) == [BULK_QUEUE]
    with ExitStack() as stack:
        for count in range(1, 6):
            now.busy[INTERACTIVE_QUEUE] = 1 + count  # one that doesn't wait, and those that do
            stack.enter_context(admission.aside(INTERACTIVE_QUEUE))
            is_open = INTERACTIVE_QUEUE in admission.open_queues(BOTH)
            assert is_open == (count < 4), "the fourth keeps its slot"
        assert BULK_QUEUE in admission.open_queues(BOTH)
    assert admission.open_queues(BOTH) == [BULK_QUEUE]
    now.busy[INTERACTIVE_QUEUE] = 1
    assert admission.open_queues(BOTH) == [INTERACTIVE_QUEUE, BULK_QUEUE]


@pytest.mark.parametrize(
    ("first", "bulk", "asked"),
    [
        (0, 0, [FIRST_QUEUE, BULK_QUEUE]),
        (1, 1, [FIRST_QUEUE, BULK_QUEUE]),
        (0, 2, [FIRST_QUEUE]),
        (1, 2, []),
        (2, 1, []),
        (3, 0, []),
        (2, 0, [FIRST_QUEUE, BULK_QUEUE]),
    ],
)
def test_a_jobs_first_chunk_has_a_slot_of_its_own_or_takes_a_common_one(now, first, bulk, asked):
    slots = {FIRST_QUEUE: 1, BULK_QUEUE: 2}
    admission = Admission(slots, lambda: now.busy, guests={FIRST_QUEUE: BULK_QUEUE})
    now.busy.update({FIRST_QUEUE: first, BULK_QUEUE: bulk})
    assert admission.open_queues([BULK_QUEUE, FIRST_QUEUE]) == asked
    assert admission.size == 3


def test_where_no_slot_is_kept_for_first_chunks_they_take_common_ones(now):
    slots = {FIRST_QUEUE: 0, BULK_QUEUE: 1}
    admission = Admission(slots, lambda: now.busy, guests={FIRST_QUEUE: BULK_QUEUE})
    assert admission.open_queues([BULK_QUEUE, FIRST_QUEUE]) == [FIRST_QUEUE, BULK_QUEUE]
    now.busy[FIRST_QUEUE] = 1
    assert admission.open_queues([BULK_QUEUE, FIRST_QUEUE]) == []


def test_first_chunks_that_take_long_are_no_trouble_of_their_own(now):
    slots = {FIRST_QUEUE: 1, BULK_QUEUE: 1}
    admission = Admission(
        slots, lambda: now.busy, lambda: now.seconds, guests={FIRST_QUEUE: BULK_QUEUE}
    )
    admission.watch(lambda _kind: 7, lambda kind: kind == FIRST_QUEUE)
    now.busy[FIRST_QUEUE] = 1
    for _ in range(2):
        now.seconds += 301
        admission.open_queues([BULK_QUEUE])
        assert admission.trouble is None


def test_the_queues_of_a_kind_are_asked_in_turn(now):
    """Else one in which there's always a message would keep the others of its kind waiting."""
    admission = Admission({INTERACTIVE_QUEUE: 1, BULK_QUEUE: 1}, lambda: now.busy)
    all_can = queues_in("float32")
    interactive, bulk = (
        [queue for queue in queues_of(kind) if queue in all_can]
        for kind in (INTERACTIVE_QUEUE, BULK_QUEUE)
    )
    cycle = queue_cycle(admission)([*bulk, *interactive])
    assert cycle.consume(4) == [*interactive, *bulk]
    cycle.rotate(bulk[0])
    assert cycle.consume(4) == [*interactive, *bulk[::-1]]
    cycle.rotate(interactive[0])
    assert cycle.consume(4) == [*interactive[::-1], *bulk[::-1]]
    cycle.rotate(bulk[1])
    assert cycle.consume(4) == [*interactive[::-1], *bulk]


def test_what_is_for_workers_that_compute_so_is_asked_by_them_alone_and_first(now):
    admission = Admission({INTERACTIVE_QUEUE: 1, BULK_QUEUE: 1}, lambda: now.busy)
    interactive, bulk = queues_of(INTERACTIVE_QUEUE), queues_of(BULK_QUEUE)
    half = f"{BULK_QUEUE}.2.bf16"
    cycle = queue_cycle(admission)([*bulk, *interactive])
    assert half in bulk
    assert not queues_in("bf16") & set(cycle.consume(6))
    admission.take("bf16")
    asked = cycle.consume(6)
    assert asked.index(half) == 3, "after the three of requests that somebody waits for"
    cycle.rotate(half)
    assert cycle.consume(6) == asked
