"""Slightly changed copies of pictures: small, as they say, and the same everywhere."""

import numpy as np
import pytest

from camfleet.contract.studies import COPIES
from camfleet_worker.pictures.copies import copy


def picture(height=40, width=60):
    down, across = np.indices((height, width))
    return np.stack([down * 3, across * 2, 120 - down], axis=2).astype(np.uint8)


def moved(found, by):
    """Return by how many pixels a picture with one white pixel was shifted."""
    ((row, column),) = np.argwhere(found[..., 0] == 255)
    down, across = int(row) - 10, int(column) - 10
    assert max(abs(down), abs(across)) == by
    return down, across


def test_a_jpeg_looks_alike_and_isnt():
    found = copy(picture(), "jpeg", "a")
    assert found.shape == (40, 60, 3)
    apart = np.abs(found.astype(int) - picture())
    assert 0 < apart.max() < 25
    assert apart.mean() < 3


@pytest.mark.parametrize("by", [1, 2])
def test_shifts_go_by_so_many_pixels_in_any_of_eight_directions(by):
    spot = np.zeros((21, 21, 3), np.uint8)
    spot[10, 10] = 255
    found = {moved(copy(spot, f"shift {by}", str(item)), by) for item in range(100)}
    assert len(found) == 8
    again = copy(spot, f"shift {by}", "7")
    assert np.array_equal(again, copy(spot, f"shift {by}", "7"))


def test_a_shift_repeats_the_edge():
    found = copy(picture(), "shift 2", "x")
    assert found.shape == (40, 60, 3)
    assert set(found[..., 0].ravel().tolist()) <= set(picture()[..., 0].ravel().tolist())


def test_a_smaller_copy_has_nine_tenths_of_each_side():
    assert copy(picture(), "resize", "a").shape == (36, 54, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2)])
@pytest.mark.parametrize("kind", COPIES)
def test_tiny_pictures_have_copies_too(kind, size):
    assert min(copy(picture(*size), kind, "a").shape) >= 1
