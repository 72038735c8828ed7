"""Masks made at random, and what run-length codes are made of."""

import numpy as np
from hypothesis import strategies as st
from pycocotools import mask as coco

from camfleet.exports import masks

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
    """Return left, top, width and height of what is 1; of the whole mask where nothing is."""
    rows, columns = np.nonzero(mask)
    top, left = (int(rows.min()), int(columns.min())) if len(rows) else (0, 0)
    high, wide = (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) if len(rows) else mask.shape
    return left, top, wide, high


def brush_of(mask):
    """Return a mask's brush of Label Studio."""
    box = box_of(mask)
    rows = masks.rows_in_box(turned(mask), mask.shape, box)
    return masks.brush(masks.in_image(rows, mask.shape, box), mask.size)


def points_of(mask):
    """Return a mask's points of CVAT: counts in the box, and its corners."""
    left, top, wide, high = box = box_of(mask)
    counts = masks.cvat_counts(masks.rows_in_box(turned(mask), mask.shape, box))
    return [*counts, left, top, left + wide - 1, top + high - 1]
