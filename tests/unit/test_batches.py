"""Batches on a device: fixed sizes, overlapping, and smaller ones when memory runs out."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from camfleet.errors import InternalError
from camfleet_worker.models.batches import Batches
from camfleet_worker.process.priority import PrioritySemaphore, urgently
from helpers.waiting import wait_until


def short_of_memory(most, seen):
    """Return a function that doubles up to `most` rows and runs out of memory for more."""

    def run(rows):
        seen.append(len(rows))
        if len(rows) > most:
            raise tf.errors.ResourceExhaustedError(None, None, f"OOM at {len(rows)}")
        return (tf.constant(2 * rows),)

    return run


def test_a_batch_that_memory_is_too_small_for_is_halved_for_good_and_goes_on(caplog):
    seen, rows = [], np.arange(44, dtype=np.float32).reshape(22, 2)
    batches = Batches(short_of_memory(5, seen), 16, clock=lambda: 0.0)
    batches(rows[:1])
    (found,) = batches(rows)
    np.testing.assert_array_equal(found, 2 * rows)
    assert seen == [1, 16, 8, *[4] * 6]
    assert "no memory for batches of 8 images: going on with 4" in caplog.text
    batches(rows[:3])
    assert seen[9:] == [4]


class Later:
    """A device that computes while others do something else, its tensors, and its clock."""

    def __init__(self, row_seconds=0.0):
        self.row_seconds = row_seconds
        self.now = 0.0
        self.done = []

    def __call__(self, rows):
        self.done.append(("begun", len(rows)))
        return (_Tensor(self, rows),)

    def sizes(self):
        return [size for what, size in self.done if what == "begun"]


class _Tensor:
    def __init__(self, device, rows):
        self.device = device
        self.rows = rows

    def __array__(self, dtype=None, copy=None):
        self.device.now += len(self.rows) * self.device.row_seconds
        self.device.done.append(("read", len(self.rows)))
        return 2 * self.rows


def batches_on(computing, size=16, device=None):
    """Return batches that know already how long a row takes."""
    made = Batches(computing, size, device or PrioritySemaphore(), lambda: computing.now)
    made(np.zeros((1, 1)))
    computing.done.clear()
    return made


def test_a_batch_is_read_only_when_its_end_is_asked_for_so_that_a_gpu_has_the_next_one_by_then():
    computing, rows = Later(), np.arange(7.0)[:, None]
    batches = batches_on(computing, 4)
    ends = [batches.start(rows), batches.start(rows[:1])]
    assert computing.done == [("begun", 4), ("begun", 4), ("begun", 1)]
    for end, expected in zip(ends, (rows, rows[:1]), strict=True):
        np.testing.assert_array_equal(end()[0], 2 * expected)
    assert computing.done[3:] == [("read", 4), ("read", 4), ("read", 1)]


def test_no_third_batch_of_a_call_begins_before_the_first_has_ended():
    computing = Later()
    batches_on(computing, 4).start(np.zeros((12, 1)))
    assert computing.done == [("begun", 4), ("begun", 4), ("read", 4), ("begun", 4)]


def test_a_call_takes_the_smallest_size_that_holds_its_rows():
    computing = Later()
    batches = batches_on(computing)
    for count in (1, 2, 4, 5, 16):
        np.testing.assert_array_equal(batches(np.ones((count, 1)))[0], np.full((count, 1), 2))
    assert computing.sizes() == [1, 4, 4, 16, 16]


def test_the_first_row_ever_goes_alone_to_see_how_long_it_takes():
    computing = Later(row_seconds=3)
    Batches(computing, 16, PrioritySemaphore(), lambda: computing.now)(np.zeros((3, 1)))
    assert computing.sizes() == [1, 1, 1]


@pytest.mark.parametrize(
    ("row_seconds", "quiet", "wanted"),
    [(0.001, [16], [16]), (0.02, [16], [4] * 4), (0.06, [16], [1] * 16), (0.2, [4] * 4, [1] * 16)],
)
def test_batches_of_jobs_shrink_while_somebody_waits_for_the_device_or_has_just_done_so(
    row_seconds, quiet, wanted
):
    computing = Later(row_seconds)
    device = PrioritySemaphore(clock=lambda: computing.now)
    batches = batches_on(computing, device=device)
    batches(np.zeros((16, 1)))
    assert computing.sizes() == quiet
    computing.done.clear()
    device._last_urgent = float("inf")  # all the time
    batches(np.zeros((16, 1)))
    assert computing.sizes() == wanted
    computing.done.clear()
    device._last_urgent = computing.now - 2
    batches(np.zeros((16, 1)))
    assert computing.sizes() == quiet


def test_what_somebody_waits_for_is_never_taken_apart():
    computing = Later(row_seconds=3)
    batches = batches_on(computing)
    with urgently():
        batches(np.zeros((16, 1)))
    assert computing.sizes() == [16]


def test_an_urgent_row_goes_between_two_batches_of_a_call():
    device, order, threads = PrioritySemaphore(), [], []

    def ask():
        with urgently():
            urgent(np.zeros((1, 1)))

    def bulk_run(rows):
        order.append(f"bulk {len(rows)}")
        if len(order) == 1:
            threads.append(threading.Thread(target=ask))
            threads[0].start()
            wait_until(lambda: device._urgent, 10)
        return (tf.constant(rows),)

    def urgent_run(rows):
        order.append(f"urgent {len(rows)}")
        return (tf.constant(rows),)

    bulk, urgent = Batches(bulk_run, 2, device), Batches(urgent_run, 2, device)
    bulk._row_seconds = urgent._row_seconds = 0.0
    bulk(np.zeros((6, 1)))
    threads[0].join(10)
    assert order[:2] == ["bulk 2", "urgent 1"]
    assert sorted(order[2:]) == ["bulk 2", "bulk 2"]


def test_no_memory_for_one_image_is_an_error_that_names_it():
    with pytest.raises(InternalError, match="no memory for one image of this model: OOM at 1"):
        Batches(short_of_memory(0, []), 2)(np.zeros((2, 1)))
