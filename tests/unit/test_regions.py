"""regions: where a map's heat lies in the photograph, and the shapes it makes there."""

import tracemalloc

import cv2
import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco

from camfleet.contract.geometry import Geometry, Region
from camfleet.contract.outputs import Regions
from camfleet_worker.pictures.regions import MAX_PIXELS, focus, regions

ALL = Regions(threshold=0.5, components="all", shapes=("box", "rle", "polygon"))
LARGEST = msgspec.structs.replace(ALL, components="largest")
OTSU = msgspec.structs.replace(ALL, threshold="otsu")


def seen(height: int, width: int, rectangle: tuple[float, ...] | None = None) -> Geometry:
    """Return the geometry of a photograph of which the model saw `rectangle`, or all."""
    left, top, right, bottom = rectangle or (0, 0, width, height)
    return Geometry(
        image_height=height,
        image_width=width,
        input_height=224,
        input_width=224,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
    )


def planted(shape: tuple[int, int], *blocks: tuple[slice, slice], value: float = 1) -> np.ndarray:
    raw = np.full(shape, -1, np.float32)
    for block in blocks:
        raw[block] = value
    return raw


def blob(seed: int, side: int = 7) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(side, side))
    return cv2.GaussianBlur(noise, (3, 3), 0).astype(np.float32)


def enlarged(raw: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the positive part of `raw` at every pixel of a photograph that was seen as a whole."""
    size = width, height
    return cv2.resize(np.maximum(raw, 0).astype(float), size, interpolation=cv2.INTER_LINEAR)


def decoded(region: Region, geometry: Geometry) -> np.ndarray:
    size = [geometry.image_height, geometry.image_width]
    return coco.decode({"size": size, "counts": region.rle})


def filled(region: Region, geometry: Geometry) -> np.ndarray:
    size = geometry.image_height, geometry.image_width
    return coco.decode(coco.merge(coco.frPyObjects([list(line) for line in region.polygon], *size)))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def box(region: Region) -> tuple[int, int, int, int]:
    return region.left, region.top, region.width, region.height


# A map of 4 x 4 with its heat in row 1, column 2: centred at 3/8 of the rectangle's height and
# 5/8 of its width.
DELTA = planted((4, 4), np.s_[1:2, 2:3])


@pytest.mark.parametrize(
    ("geometry", "x", "y"),
    [
        pytest.param(seen(80, 160), 100, 30, id="stretch-landscape"),
        pytest.param(seen(160, 80), 50, 60, id="stretch-portrait"),
        pytest.param(seen(80, 160, (40, 0, 120, 80)), 90, 30, id="crop-landscape"),
        pytest.param(seen(160, 80, (0, 40, 80, 120)), 50, 70, id="crop-portrait"),
        pytest.param(seen(80, 160, (0, -40, 160, 120)), 100, 20, id="pad-landscape"),
        pytest.param(seen(160, 80, (-40, 0, 120, 160)), 60, 60, id="pad-portrait"),
    ],
)
def test_the_peak_lies_where_the_hottest_cell_lies_in_the_photograph(geometry, x, y):
    found = focus(DELTA, geometry)
    assert (found.peak_x, found.peak_y) == (x, y)
    (region,) = regions(DELTA, geometry, LARGEST)
    left, top, width, height = box(region)
    assert (left + width / 2, top + height / 2) == (x, y)


def test_the_centre_of_mass_lies_between_two_cells_in_proportion_to_their_heat():
    raw = np.zeros((1, 8), np.float32)
    raw[0, 1], raw[0, 5] = 3, 1
    found = focus(raw, seen(10, 80))
    assert (found.peak_x, found.peak_y) == (15, 5)
    assert found.centre_x == pytest.approx((3 * 15 + 1 * 55) / 4)
    assert found.centre_y == pytest.approx(5)


@pytest.mark.parametrize("seed", range(3))
def test_the_focus_is_that_of_the_map_at_every_pixel(seed):
    raw = blob(seed)
    heat = enlarged(raw, 300, 400)
    ys, xs = np.mgrid[:300, :400] + 0.5
    inner = heat[30:-30, 40:-40].sum() / heat.sum()
    found = focus(raw, seen(300, 400))
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert found.peak_x == pytest.approx(column + 0.5, abs=1)
    assert found.peak_y == pytest.approx(row + 0.5, abs=1)
    assert found.centre_x == pytest.approx((heat * xs).sum() / heat.sum(), abs=0.05)
    assert found.centre_y == pytest.approx((heat * ys).sum() / heat.sum(), abs=0.05)
    assert found.border_share == pytest.approx(1 - inner, abs=0.001)


@pytest.mark.parametrize("edge", [np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]])
def test_heat_at_a_border_is_all_border(edge):
    raw = np.zeros((20, 20), np.float32)
    raw[edge] = 1
    assert focus(raw, seen(60, 90)).border_share == pytest.approx(1)


def test_heat_in_the_middle_is_no_border():
    raw = planted((20, 20), np.s_[3:17, 3:17])
    assert focus(raw, seen(60, 90)).border_share == pytest.approx(0)


def test_even_heat_has_the_border_of_the_photograph():
    assert focus(np.ones((7, 7), np.float32), seen(60, 90)).border_share == pytest.approx(0.36)


def test_a_cropped_away_border_has_no_heat():
    raw = np.ones((7, 7), np.float32)
    assert focus(raw, seen(100, 100, (20, 20, 80, 80))).border_share == pytest.approx(0)


def test_heat_on_padding_does_not_count():
    # Rows 0 and 3 of the map lie on padding, row 1 and 2 on the photograph.
    raw = np.zeros((4, 4), np.float32)
    raw[0], raw[2, 1] = 9, 1
    geometry = seen(40, 80, (0, -20, 80, 60))
    found = focus(raw, geometry)
    assert found.peak_y == 0.5  # the photograph's first row, next to the padding
    only_padding = planted((4, 4), np.s_[0:1, :])
    half = seen(20, 80, (0, -40, 80, 40))
    assert focus(only_padding, half) is None
    assert regions(only_padding, half, ALL) == ()


def test_a_peak_is_always_a_place_in_the_photograph():
    falling = planted((4, 4), np.s_[3:, 3:])
    found = focus(falling, seen(40, 80, (0, -20, 80, 60)))
    assert (found.peak_x, found.peak_y) == (70, 39.5)
    tiny = focus(falling, seen(1, 1))
    assert (tiny.peak_x, tiny.peak_y) == (0.5, 0.5)


@pytest.mark.parametrize("value", [0, -1])
def test_a_map_without_evidence_has_no_focus_and_no_regions(value):
    raw = np.full((7, 7), value, np.float32)
    assert focus(raw, seen(30, 40)) is None
    assert regions(raw, seen(30, 40), ALL) == ()
    assert regions(raw, seen(30, 40), OTSU) == ()


def test_two_blobs_are_two_regions_the_larger_first():
    raw = planted((8, 16), np.s_[1:3, 1:3], np.s_[3:7, 8:14])
    raw[1:3, 1:3] = 2  # smaller but hotter
    first, second = regions(raw, seen(80, 160), ALL)
    assert first.area > second.area
    assert (first.heat, second.heat) == (0.5, 1)
    assert regions(raw, seen(80, 160), LARGEST) == (first,)


def test_cells_that_touch_at_a_corner_are_one_region():
    raw = planted((4, 4), np.s_[1:2, 1:2], np.s_[2:3, 2:3])
    geometry = seen(4, 4)
    (region,) = regions(raw, geometry, ALL)
    assert box(region) == (1, 1, 2, 2)
    assert region.area == 2
    assert (filled(region, geometry) == decoded(region, geometry)).all()


def test_a_region_reaches_as_far_as_the_threshold():
    # Cells of ten pixels: half way from a centre of 1 to a centre of 0 is the cell's edge.
    raw = planted((10, 20), np.s_[2:6, 5:15])
    (region,) = regions(raw, seen(100, 200), ALL)
    assert box(region) == pytest.approx((50, 20, 100, 40), abs=1)
    quarter = msgspec.structs.replace(ALL, threshold=0.25)
    (region,) = regions(raw, seen(100, 200), quarter)
    assert box(region) == pytest.approx((47.5, 17.5, 105, 45), abs=1)


def test_a_box_lies_in_the_photograph_when_the_model_saw_a_part_of_it_or_more():
    raw = planted((10, 10), np.s_[2:6, 3:])
    (cropped,) = regions(raw, seen(100, 200, (50, 0, 150, 100)), ALL)
    assert box(cropped) == pytest.approx((80, 20, 70, 40), abs=1)
    (padded,) = regions(raw, seen(50, 100, (0, -25, 100, 75)), ALL)
    assert box(padded) == pytest.approx((30, 0, 70, 35), abs=1)


def test_the_hottest_pixel_reaches_every_threshold():
    whole = msgspec.structs.replace(ALL, threshold=1)
    (region,) = regions(planted((7, 7), np.s_[3:4, 2:3]), seen(60, 50), whole)
    assert region.heat == 1
    assert region.left <= 50 * 2.5 / 7 <= region.left + region.width


@pytest.mark.parametrize("geometry", [seen(60, 90), seen(90, 60, (-15, 0, 75, 90)), seen(1, 9)])
@pytest.mark.parametrize("seed", range(4))
def test_every_shape_describes_the_same_pixels(seed, geometry):
    found = regions(blob(seed), geometry, ALL)
    assert found
    for region in found:
        mask = decoded(region, geometry)
        assert mask.shape == (geometry.image_height, geometry.image_width)
        assert mask.sum() == region.area
        assert coco.encode(np.asfortranarray(mask))["counts"].decode() == region.rle
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        spans = np.ptp(columns) + 1, np.ptp(rows) + 1
        assert box(region) == (columns[0], rows[0], *spans)
        assert overlap(filled(region, geometry), mask) > 0.97


def test_regions_are_the_pixels_of_the_map_that_reach_the_threshold():
    raw, geometry = blob(5), seen(60, 90)
    heat = enlarged(raw, 60, 90)
    masks = sum(decoded(region, geometry) for region in regions(raw, geometry, ALL))
    assert overlap(masks, heat >= heat.max() / 2) > 0.99


def test_an_outline_runs_along_the_edges_of_pixels():
    raw = planted((3, 4), np.s_[1:2, 1:3])
    (region,) = regions(raw, seen(3, 4), ALL)
    (line,) = region.polygon
    corners = set(zip(line[::2], line[1::2], strict=True))
    assert corners == {(1, 1), (3, 1), (3, 2), (1, 2)}
    assert len(line) == 8


def test_an_outline_names_every_corner_once():
    raw = planted((4, 4), np.s_[0:3, 0:1], np.s_[2:3, 0:3])  # an L
    (region,) = regions(raw, seen(4, 4), ALL)
    (line,) = region.polygon
    corners = list(zip(line[::2], line[1::2], strict=True))
    assert sorted(corners) == [(0, 0), (0, 3), (1, 0), (1, 2), (3, 2), (3, 3)]


def test_a_region_does_not_own_what_else_lies_in_its_box():
    raw = planted((4, 4), np.s_[0:4, 0:1], np.s_[3:4, 0:4], np.s_[0:2, 2:4])
    outer, inner = regions(raw, seen(4, 4), ALL)
    assert (box(outer), outer.area) == ((0, 0, 4, 4), 7)
    assert (box(inner), inner.area) == ((2, 0, 2, 2), 4)


def test_an_outline_leaves_holes_to_the_run_lengths():
    raw = planted((5, 5), np.s_[:, :])
    raw[2, 2] = -1
    geometry = seen(5, 5)
    (region,) = regions(raw, geometry, ALL)
    assert region.area == 24
    assert decoded(region, geometry)[2, 2] == 0
    assert len(region.polygon) == 1
    assert filled(region, geometry).all()


def test_shapes_that_nobody_asked_for_are_null():
    only_box = msgspec.structs.replace(ALL, shapes=("box",))
    (region,) = regions(DELTA, seen(40, 40), only_box)
    assert (region.rle, region.polygon) == (None, None)


def test_otsu_finds_the_threshold_between_two_levels():
    raw = np.full((10, 10), 0.3, np.float32)
    raw[4:8, 2:7] = 0.9
    (region,) = regions(raw, seen(100, 100), OTSU)
    assert box(region) == pytest.approx((20, 40, 50, 40), abs=1.5)


def test_otsu_takes_all_of_an_even_map():
    (region,) = regions(np.ones((2, 2), np.float32), seen(6, 9), OTSU)
    assert box(region) == (0, 0, 9, 6)


def test_otsu_looks_at_the_visible_rectangle_only():
    raw = np.full((10, 10), 0.3, np.float32)
    raw[4:8, 2:7] = 0.9
    (alone,) = regions(raw, seen(100, 100), OTSU)
    (within,) = regions(raw, seen(1000, 1000, (500, 500, 600, 600)), OTSU)
    assert (within.area, within.left) == (alone.area, 500 + alone.left)


def test_a_huge_photograph_is_searched_in_bounded_memory_and_described_in_its_own_pixels():
    geometry = seen(20_000, 31_001)  # 620 million pixels
    raw = planted((10, 10), np.s_[2:6, 3:7])
    tracemalloc.start()
    try:
        (region,) = regions(raw, geometry, LARGEST)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20 * MAX_PIXELS
    assert box(region) == pytest.approx((9300, 4000, 12400, 8000), abs=20)
    encoded = {"size": [20_000, 31_001], "counts": region.rle}
    assert coco.area(encoded) == region.area
    assert coco.toBbox(encoded).tolist() == list(box(region))
    outline = coco.frPyObjects([list(region.polygon[0])], 20_000, 31_001)
    assert coco.iou(outline, [encoded], [0])[0, 0] > 0.999


def test_blocks_of_a_huge_photograph_describe_the_same_pixels_too(monkeypatch):
    monkeypatch.setattr("camfleet_worker.pictures.regions.MAX_PIXELS", 500)
    geometry = seen(61, 97)
    (region,) = regions(blob(5), geometry, LARGEST)
    mask = decoded(region, geometry)
    assert mask.sum() == region.area
    assert coco.encode(np.asfortranarray(mask))["counts"].decode() == region.rle
    assert coco.toBbox({"size": [61, 97], "counts": region.rle}).tolist() == list(box(region))
    assert overlap(filled(region, geometry), mask) > 0.97
