"""Each run-length code of masks against a decoder that is written apart, by its description."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from camfleet.errors import ObjectDamaged
from camfleet.exports import masks
from helpers.brushes import unpacked

# What Label Studio's own encoder makes of alphas, and CVAT's of a block.
RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "mask_codes.json").read_text())

SIZES = st.tuples(st.integers(1, 30), st.integers(1, 30))


@st.composite
def pictures(draw):
    """Return a mask, (height, width) uint8 of 0 and 1, noisy or of rectangles."""
    height, width = draw(SIZES)
    if draw(st.booleans()):
        bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
        return np.array(bits, np.uint8).reshape(height, width)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 3))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom, right = draw(st.integers(top, height)), draw(st.integers(left, width))
        mask[top:bottom, left:right] = 1
    return mask


def turned(mask):
    """Return a mask's counts, as COCO's own encoder has them, and its text."""
    text = coco.encode(np.asfortranarray(mask))["counts"].decode()
    return masks.coco_counts(text, mask.size)


def box_of(mask):
    rows, columns = np.nonzero(mask)
    top, left = (int(rows.min()), int(columns.min())) if len(rows) else (0, 0)
    high, wide = (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) if len(rows) else mask.shape
    return left, top, wide, high


@given(pictures())
def test_cocos_counts_go_down_the_columns(mask):
    ones = [number % 2 for number, count in enumerate(turned(mask)) for _ in range(count)]
    assert ones == mask.T.ravel().tolist()


@given(pictures())
def test_a_masks_rows_come_out_of_its_columns(mask):
    left, top, wide, high = box = box_of(mask)
    found = b"".join(masks.rows_in_box(turned(mask), mask.shape, box))
    assert found == mask[top : top + high, left : left + wide].tobytes()


@given(pictures())
def test_cvats_counts_sum_to_the_box_and_begin_with_zeros(mask):
    left, top, wide, high = box = box_of(mask)
    counts = masks.cvat_counts(masks.rows_in_box(turned(mask), mask.shape, box))
    assert sum(counts) == wide * high
    assert all(counts[1:])
    ones = [number % 2 for number, count in enumerate(counts) for _ in range(count)]
    assert ones == mask[top : top + high, left : left + wide].ravel().tolist()


@given(pictures())
def test_a_brush_has_four_equal_bytes_for_each_pixel_of_the_image(mask):
    box = box_of(mask)
    rows = masks.rows_in_box(turned(mask), mask.shape, box)
    numbers = masks.brush(masks.in_image(rows, mask.shape, box), mask.size)
    assert unpacked(numbers) == np.repeat(mask.ravel() * 255, 4).tolist()


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 40_000)), max_size=6))
def test_a_brush_keeps_alphas_and_runs_of_any_length(found):
    pixels = sum(count for _, count in found)
    expected = [value for value, count in found for _ in range(4 * count)]
    assert unpacked(masks.brush(found, pixels)) == expected


@pytest.mark.parametrize("case", RECORDED["brush"], ids=lambda case: case["name"])
def test_a_brush_is_what_label_studios_own_encoder_makes(case):
    runs = [tuple(run) for run in case["runs"]]
    assert unpacked(case["rle"]) == unpacked(masks.brush(runs, sum(n for _, n in runs)))


def test_a_block_is_what_cvats_own_encoder_makes():
    mask = np.zeros((100, 100), np.uint8)
    mask[20:50, 30:60] = 1
    rows = masks.rows_in_box(turned(mask), mask.shape, box_of(mask))
    assert [*masks.cvat_counts(rows), 30, 20, 59, 49] == RECORDED["cvat_block"]


@pytest.mark.parametrize(
    "text",
    ["", "1", "ab", "\u00e4", " ", "o" * 40, "4P", "02O1000000000000"],
)
def test_runs_that_are_not_those_of_the_image_are_refused(text):
    with pytest.raises(ObjectDamaged, match="rle is not"):
        masks.coco_counts(text, 12)


@given(st.text(max_size=30))
def test_strangers_runs_are_refused_or_add_up(text):
    try:
        counts = masks.coco_counts(text, 12)
    except ObjectDamaged:
        return
    assert sum(counts) == 12
    assert min(counts) >= 0


def test_a_box_too_large_to_be_turned_is_refused():
    with pytest.raises(ObjectDamaged, match="columns of more than"):
        next(masks.rows_in_box([2**40], (2**20, 2**20), (0, 0, 2**10, 1)))
