"""pictures: the map lies where the model looked, in the requested colours and sizes."""

import io
from dataclasses import dataclass

import cv2
import msgspec
import numpy as np
import pytest
from PIL import Image

from camfleet.contract.geometry import Geometry, Region
from camfleet.contract.outputs import DEFAULT_OUTPUTS
from camfleet_worker.pictures.draw import (
    canvas,
    canvas_side,
    heat_png,
    heatmap_png,
    overlay_jpeg,
    pictures,
    raw_npy,
    shapes_jpeg,
)
from camfleet_worker.pictures.heat import normalise
from camfleet_worker.pictures.prepare import prepare


@dataclass(frozen=True)
class Spec:
    height: int = 56
    width: int = 56
    color: str = "rgb"
    resize: str = "stretch"
    interpolation: str = "bilinear"


@dataclass(frozen=True)
class AsIs:
    mode: str = "none"
    scale: float = 1.0
    offset: float = 0.0


def geometry_of(height: int, width: int, resize: str) -> Geometry:
    return prepare(np.zeros((height, width, 3), np.uint8), Spec(resize=resize), AsIs())[1]


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def overlay(image: np.ndarray, heat: np.ndarray, geometry: Geometry, **options) -> np.ndarray:
    looks = {"colormap": "jet", "opacity": 0.5, "max_side": 0, **options}
    return opened(overlay_jpeg(image, heat.astype(np.float32), geometry, **looks))


def test_normalised_is_the_positive_part_over_its_maximum() -> None:
    raw = np.array([[-3, 0], [1, 4]], np.float32)
    heat = normalise(raw)
    assert heat.tolist() == [[0, 0], [0.25, 1]]
    assert heat.dtype == np.float32
    assert raw[0, 0] == -3


@pytest.mark.parametrize("value", [0, -1, np.finfo(np.float32).min])
def test_a_map_without_evidence_is_all_zero(value: float) -> None:
    assert normalise(np.full((2, 3), value, np.float32)).tolist() == [[0, 0, 0]] * 2


def test_the_smallest_and_the_largest_number_are_normalised_too() -> None:
    smallest = np.array([[0, 1e-45]], np.float32)
    largest = np.array([[np.finfo(np.float32).max, np.finfo(np.float32).max / 2]], np.float32)
    assert normalise(smallest).tolist() == [[0, 1]]
    assert normalise(largest).tolist() == [[1, 0.5]]


def test_a_heatmap_interpolates_between_the_centres_of_its_cells() -> None:
    heat = np.array([[0, 1]], np.float32)
    gray = opened(heatmap_png(heat, 1, 8))
    # Centres of cells lie at 2 and 6, those of pixels at 0.5, 1.5, ...
    assert gray.tolist() == [[0, 0, 32, 96, 159, 223, 255, 255]]


@pytest.mark.parametrize("size", [(224, 224), (31, 50), (7, 7), (1, 1)])
def test_a_heatmap_is_opencvs_bilinear_enlargement(size: tuple[int, int]) -> None:
    heat = np.random.default_rng(0).random((7, 5), np.float32)
    gray = opened(heatmap_png(heat, *size))
    if min(size) >= 7:
        expected = 255 * cv2.resize(heat, size[::-1], interpolation=cv2.INTER_LINEAR)
        assert np.abs(gray - expected).max() <= 0.5 + 1e-4
    assert gray.shape == size


def test_a_heatmap_is_an_8_bit_gray_png() -> None:
    image = Image.open(io.BytesIO(heatmap_png(np.ones((1, 1), np.float32), 3, 4)))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (4, 3))
    assert np.all(np.asarray(image) == 255)


def test_a_canvas_is_as_large_as_allowed_and_never_larger_than_the_photograph() -> None:
    photo = np.zeros((30, 40, 3), np.uint8)
    assert canvas(photo, 20).shape == (15, 20, 3)
    assert canvas(photo, 40) is photo
    assert canvas(photo, 0) is photo
    assert canvas(np.zeros((1, 1000, 3), np.uint8), 10).shape == (1, 10, 3)
    assert canvas(np.zeros((70_000, 1, 3), np.uint8), 0).shape == (65_500, 1, 3)  # JPEG's most


def centre_of(weights: np.ndarray) -> tuple[float, float]:
    """Return the centre of mass, x and y in pixels."""
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]] + 0.5
    return (weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(210, 350), (350, 210), (280, 280), (160, 400), (400, 160)])
@pytest.mark.parametrize("max_side", [0, 200])
@pytest.mark.parametrize("cell", [(3, 3), (2, 3), (3, 4)])
def test_a_warm_cell_lies_where_the_model_saw_it(
    resize: str, size: tuple[int, int], max_side: int, cell: tuple[int, int]
) -> None:
    heat = np.zeros((7, 7))
    heat[cell] = 1
    geometry = geometry_of(*size, resize)
    shown = overlay(np.zeros((*size, 3), np.uint8), heat, geometry, opacity=1, max_side=max_side)
    scale = max(shown.shape) / max(size)
    x = geometry.left + (cell[1] + 0.5) / 7 * (geometry.right - geometry.left)
    y = geometry.top + (cell[0] + 0.5) / 7 * (geometry.bottom - geometry.top)
    red = shown[:, :, 0] - shown[:, :, 2] > 100  # jet: the warmest is red, the coldest blue
    assert centre_of(red) == pytest.approx((x * scale, y * scale), abs=1)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(210, 350), (350, 210)])
def test_what_the_model_sees_of_a_spot_is_shown_on_the_spot(
    resize: str, size: tuple[int, int]
) -> None:
    photo = np.zeros((*size, 3), np.uint8)
    photo[100:140, 120:160] = 255
    pixels, geometry = prepare(photo, Spec(resize=resize, interpolation="area"), AsIs())
    shown = overlay(
        np.zeros_like(photo), normalise(pixels[:, :, 0]), geometry, colormap="viridis", opacity=1
    )
    luma = [0.299, 0.587, 0.114]  # rises with each of viridis' colours
    colours = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_VIRIDIS)
    heat = np.interp(shown @ luma, colours[0, :, ::-1] @ luma, np.arange(256))
    assert centre_of(np.maximum(heat - 25, 0)) == pytest.approx((140, 120), abs=1)


def test_a_side_rounded_to_one_pixel_shows_the_middle_of_the_map() -> None:
    heat, geometry = np.array([[0], [1]]), geometry_of(2, 100, "stretch")
    shown = overlay(np.zeros((2, 100, 3), np.uint8), heat, geometry, opacity=1, max_side=10)
    assert shown.shape == (1, 10, 3)
    assert np.abs(shown - (130, 255, 126)).max() <= 6  # half warm in jet


def test_a_rectangle_thinner_than_a_pixel_is_still_shown() -> None:
    geometry = geometry_of(10, 1000, "crop")
    assert (geometry.left, geometry.right) == (495, 505)  # of 40 pixels: from 19.8 to 20.2
    photo = np.zeros((10, 1000, 3), np.uint8)
    shown = overlay(photo, np.ones((7, 7)), geometry, opacity=1, max_side=40)
    assert shown[0, :, 0].argmax() == 20


def test_outside_the_crop_the_photograph_stays() -> None:
    photo = np.full((80, 240, 3), 200, np.uint8)
    shown = overlay(photo, np.zeros((7, 7)), geometry_of(80, 240, "crop"))
    # The crop is columns 80 to 160; JPEG keeps colour for two pixels at once.
    assert np.abs(shown[:, :79] - 200).max() <= 2
    assert np.abs(shown[:, 161:] - 200).max() <= 2
    half_of_the_coldest = np.array([200, 200, 200 + 128]) // 2
    assert np.abs(shown[:, 81:159] - half_of_the_coldest).max() <= 3


def test_padding_is_cut_off() -> None:
    # The input is 7 rows of cells, the photograph just the middle one: its warmth falls to a half
    # at the edges, which is green in jet.
    heat = np.zeros((7, 7))
    heat[3] = 1
    shown = overlay(np.zeros((64, 448, 3), np.uint8), heat, geometry_of(64, 448, "pad"), opacity=1)
    assert shown.shape == (64, 448, 3)
    assert np.abs(shown[[31, 32]] - (136, 0, 0)).max() <= 10
    assert np.abs(shown[[0, 63]] - (133, 255, 122)).max() <= 10


@pytest.mark.parametrize("opacity", [0, 0.25, 1])
def test_opacity_mixes_photograph_and_colour(opacity: float) -> None:
    photo = np.full((32, 32, 3), (40, 80, 120), np.uint8)
    geometry = geometry_of(32, 32, "stretch")
    shown = overlay(photo, np.ones((1, 1)), geometry, opacity=opacity)
    expected = (1 - opacity) * photo[0, 0] + opacity * np.array([128, 0, 0])  # jet's last, RGB
    assert np.abs(shown - expected).max() <= 3


@pytest.mark.parametrize(
    ("colormap", "cold", "warm"),
    [
        ("viridis", (68, 1, 84), (253, 231, 37)),
        ("inferno", (0, 0, 4), (252, 255, 164)),
        ("turbo", (48, 18, 59), (122, 4, 3)),
        ("jet", (0, 0, 128), (128, 0, 0)),
    ],
)
def test_colormaps_are_the_known_ones_in_rgb(
    colormap: str, cold: tuple[int, ...], warm: tuple[int, ...]
) -> None:
    photo, geometry = np.zeros((16, 16, 3), np.uint8), geometry_of(16, 16, "stretch")
    for value, expected in [(0, cold), (1, warm)]:
        shown = overlay(photo, np.full((1, 1), value), geometry, colormap=colormap, opacity=1)
        assert np.abs(shown - expected).max() <= 6


def test_the_photograph_given_is_not_painted_on() -> None:
    photo = np.full((32, 32, 3), 50, np.uint8)
    overlay(photo, np.ones((1, 1)), geometry_of(32, 32, "stretch"))
    assert np.all(photo == 50)


def test_a_smaller_copy_of_the_photograph_gives_the_same_overlay() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    heat, geometry = np.eye(7), geometry_of(300, 400, "crop")
    whole = overlay(photo, heat, geometry, max_side=100)
    small = overlay(canvas(photo, 100), heat, geometry, max_side=100)
    assert np.array_equal(whole, small)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (2, 3), (3, 20_000)])
@pytest.mark.parametrize("max_side", [0, 64])
def test_extreme_photographs_are_overlaid(
    resize: str, size: tuple[int, int], max_side: int
) -> None:
    geometry = geometry_of(*size, resize)
    shown = overlay(np.zeros((*size, 3), np.uint8), np.ones((7, 7)), geometry, max_side=max_side)
    assert max(shown.shape[:2]) == min(max(size), max_side or max(size))
    assert shown[:, :, 0].max() > 20  # something warm is to be seen


def test_raw_values_are_kept_to_the_bit() -> None:
    raw = np.array([[-1.5, np.pi], [1e-30, 1e30]], np.float32)
    data = raw_npy(raw)
    back = np.load(io.BytesIO(data), allow_pickle=False)
    assert back.dtype == np.float32
    assert np.array_equal(back, raw)
    assert raw_npy(np.asfortranarray(raw)) == data


def test_pictures_are_those_asked_for_and_always_the_same_bytes() -> None:
    raw = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    photo = np.random.default_rng(1).integers(0, 255, (60, 90, 3), np.uint8)
    geometry = geometry_of(60, 90, "crop")
    outputs = msgspec.structs.replace(DEFAULT_OUTPUTS, kinds=("heatmap", "overlay", "raw"))
    made = pictures(raw, photo, geometry, outputs)
    heat = normalise(raw)
    assert list(made) == ["heatmap", "overlay", "raw"]
    assert made["heatmap"] == heatmap_png(heat, 56, 56)
    assert made["raw"] == raw_npy(raw)
    assert made == pictures(raw.copy(), photo.copy(), geometry, outputs)
    assert set(pictures(raw, photo, geometry, DEFAULT_OUTPUTS)) == {"heatmap", "overlay"}


def test_a_thumbnail_is_a_small_overlay_whatever_the_others_are() -> None:
    image = np.full((600, 900, 3), 128, np.uint8)
    heat, geometry = np.eye(3, dtype=np.float32), geometry_of(600, 900, "crop")
    outputs = msgspec.structs.replace(
        DEFAULT_OUTPUTS, kinds=("overlay",), max_side=0, thumbnail=True
    )
    made = pictures(heat, image, geometry, outputs)
    small, large = opened(made["thumbnail"]), opened(made["overlay"])
    assert (small.shape, large.shape) == ((171, 256, 3), (600, 900, 3))
    shrunk = cv2.resize(large.astype(np.uint8), (256, 171), interpolation=cv2.INTER_AREA)
    assert np.abs(small - shrunk).mean() < 4


@pytest.mark.parametrize(
    ("kinds", "max_side", "thumbnail", "side"),
    [
        (("heatmap", "raw"), 1024, False, None),
        (("overlay",), 1024, False, 1024),
        ((), 1024, True, 256),
        (("overlay",), 100, True, 256),
        (("overlay",), 0, True, 0),
    ],
)
def test_a_photograph_is_kept_as_large_as_its_largest_picture_needs(
    kinds: tuple, max_side: int, thumbnail: bool, side: int | None
) -> None:
    outputs = msgspec.structs.replace(
        DEFAULT_OUTPUTS, kinds=kinds, max_side=max_side, thumbnail=thumbnail
    )
    assert canvas_side(outputs) == side


def test_outlines_show_on_every_photograph_and_end_at_the_regions_edge() -> None:
    region = Region(
        left=20, top=10, width=40, height=30, area=1200, heat=1.0, rle=None,
        polygon=((20, 10, 60, 10, 60, 40, 20, 40),),
    )  # fmt: skip
    geometry = geometry_of(60, 80, "stretch")
    for level in (0, 128, 255):
        drawn = opened(shapes_jpeg(np.full((60, 80, 3), level, np.uint8), [region], geometry, 0))
        changed = np.abs(drawn - level).max(axis=2) > 60
        ys, xs = np.nonzero(changed)
        assert abs(ys.min() - 10) <= 3
        assert abs(ys.max() - 40) <= 3
        assert abs(xs.min() - 20) <= 3
        assert abs(xs.max() - 60) <= 3
        assert not changed[18:32, 28:52].any()


def test_a_heatmap_in_colours_has_those_of_the_colour_map() -> None:
    heat = np.array([[0.0, 1.0]], np.float32)
    gray = opened(heatmap_png(heat, 8, 16))
    coloured = opened(heat_png(heat, 8, 16, "inferno"))
    wanted = cv2.applyColorMap(gray.astype(np.uint8), cv2.COLORMAP_INFERNO)
    assert np.array_equal(coloured, wanted[..., ::-1])
