"""Each run-length code of masks against a decoder that is written apart, by its description."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camfleet.errors import ObjectDamaged
from camfleet.exports import masks
from helpers.brushes import unpacked
from helpers.masks import box_of, brush_of, pictures, points_of, turned

UNHURRIED = settings(deadline=None)
# What Label Studio's own encoder makes of alphas, and CVAT's of a block.
RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "mask_codes.json").read_text())


@UNHURRIED
@given(pictures())
def test_cocos_counts_go_down_the_columns(mask):
    ones = [number % 2 for number, count in enumerate(turned(mask)) for _ in range(count)]
    assert ones == mask.T.ravel().tolist()


@UNHURRIED
@given(pictures())
def test_a_masks_rows_come_out_of_its_columns(mask):
    left, top, wide, high = box = box_of(mask)
    found = b"".join(masks.rows_in_box(turned(mask), mask.shape, box))
    assert found == mask[top : top + high, left : left + wide].tobytes()


@UNHURRIED
@given(pictures())
def test_cvats_counts_sum_to_the_box_and_begin_with_zeros(mask):
    left, top, wide, high = box_of(mask)
    counts = points_of(mask)[:-4]
    assert sum(counts) == wide * high
    assert all(counts[1:])
    ones = [number % 2 for number, count in enumerate(counts) for _ in range(count)]
    assert ones == mask[top : top + high, left : left + wide].ravel().tolist()


@UNHURRIED
@given(pictures())
def test_a_brush_has_four_equal_bytes_for_each_pixel_of_the_image(mask):
    assert unpacked(brush_of(mask)) == np.repeat(mask.ravel() * 255, 4).tolist()


@UNHURRIED
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
    assert points_of(mask) == RECORDED["cvat_block"]


@pytest.mark.parametrize(
    "text",
    ["", "1", "ab", "\u00e4", " ", "o" * 40, "4P", "02O1000000000000"],
)
def test_runs_that_are_not_those_of_the_image_are_refused(text):
    with pytest.raises(ObjectDamaged, match="rle is not"):
        masks.coco_counts(text, 12)


@UNHURRIED
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
