"""TensorFlow's batches: fixed sizes, overlapping, and smaller ones when memory runs out."""

import numpy as np
import pytest
import tensorflow as tf

from camfleet.errors import InternalError
from camfleet_worker.models.tf.batches import Batches


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
    batches = Batches(short_of_memory(5, seen), 16)
    (found,) = batches(rows)
    np.testing.assert_array_equal(found, 2 * rows)
    assert seen == [16, 8, *[4] * 6]
    assert "no memory for batches of 8 images: going on with 4" in caplog.text
    batches(rows[:3])
    assert seen[8:] == [4]


def test_a_batch_is_read_only_when_its_end_is_asked_for_so_that_a_gpu_has_the_next_one_by_then():
    class Computing:
        """A tensor that a GPU may still be computing; reading it waits for that."""

        def __init__(self, rows):
            self.rows = rows

        def numpy(self):
            done.append(("read", len(self.rows)))
            return 2 * self.rows

    def run(rows):
        done.append(("begun", len(rows)))
        return (Computing(rows),)

    done, rows = [], np.arange(7.0)[:, None]
    batches = Batches(run, 4)
    ends = [batches.start(rows), batches.start(rows[:1])]
    assert done == [("begun", 4), ("begun", 4), ("begun", 1)]
    for end, expected in zip(ends, (rows, rows[:1]), strict=True):
        np.testing.assert_array_equal(end()[0], 2 * expected)
    assert done[3:] == [("read", 4), ("read", 4), ("read", 1)]


def test_no_memory_for_one_image_is_an_error_that_names_it():
    with pytest.raises(InternalError, match="no memory for one image of this model: OOM at 1"):
        Batches(short_of_memory(0, []), 2)(np.zeros((2, 1)))
