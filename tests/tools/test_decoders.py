"""Each run-length code of masks, decoded by the tool's own program."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from camfleet.exports import masks
from helpers.mask_decoder import Decoder
from helpers.masks import brush_of, pictures, points_of, turned

pytestmark = pytest.mark.tools
OFTEN = settings(deadline=None, max_examples=200)  # the decoder has to start


@pytest.fixture(scope="module")
def label_studio():
    with Decoder("label-studio-sdk") as started:
        yield started


@pytest.fixture(scope="module")
def cvat():
    with Decoder("cvat") as started:
        yield started


@OFTEN
@given(mask=pictures())
def test_label_studio_decodes_a_brush(label_studio, mask):
    assert np.array_equal(label_studio.decode(brush_of(mask), mask.shape), mask * 255)


@OFTEN
@given(runs=st.lists(st.tuples(st.integers(0, 255), st.integers(0, 40_000)), max_size=6))
def test_label_studio_decodes_alphas_and_runs_of_any_length(label_studio, runs):
    values, lengths = zip(*(runs or [(0, 0)]), strict=True)
    expected = np.repeat(np.array(values, np.uint8), lengths)
    if expected.size:  # its decoder wants a pixel
        code = masks.brush(runs, expected.size)
        assert np.array_equal(label_studio.decode(code, (1, expected.size))[0], expected)


@OFTEN
@given(mask=pictures())
def test_cvat_decodes_a_mask(cvat, mask):
    assert np.array_equal(cvat.decode(points_of(mask), mask.shape), mask)


@OFTEN
@given(mask=pictures())
def test_coco_has_the_counts_that_are_read(mask):
    counts = {"counts": turned(mask), "size": list(mask.shape)}
    assert np.array_equal(coco.decode(coco.frPyObjects(counts, *mask.shape)), mask)


def test_a_photograph_of_12_megapixels_is_decoded_to_the_pixel(label_studio, cvat):
    rows, columns = np.mgrid[:3000, :4000]
    distance = np.hypot(rows - 1400, columns - 2100)
    ring = ((distance < 1200) & (distance > 300)).astype(np.uint8)
    assert np.array_equal(label_studio.decode(brush_of(ring), ring.shape), ring * 255)
    assert np.array_equal(cvat.decode(points_of(ring), ring.shape), ring)
