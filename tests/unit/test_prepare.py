"""prepare: which pixels of the photograph the model's input shows, and as which numbers."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from camfleet.contract.geometry import Geometry
from camfleet.registry.cards import CardInput, Preprocessing
from camfleet_worker.pictures.prepare import InputSpec, PreprocessingSpec, prepare


@dataclass(frozen=True)
class Spec:
    height: int
    width: int
    color: str = "rgb"
    resize: str = "stretch"
    interpolation: str = "nearest"


@dataclass(frozen=True)
class Numbers:
    mode: str = "none"
    scale: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = field(default=0.0)


def photograph(height: int, width: int) -> np.ndarray:
    """Return a picture whose red is the column, green the row and blue 9."""
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([columns, rows, np.full_like(rows, 9)]).astype(np.uint8)


def rectangle(geometry: Geometry) -> tuple[float, float, float, float]:
    return geometry.left, geometry.top, geometry.right, geometry.bottom


def test_a_card_is_what_prepare_takes() -> None:
    spec: InputSpec = CardInput(height=2, width=3)
    numbers: PreprocessingSpec = Preprocessing(mode="unit")
    pixels, geometry = prepare(np.full((4, 5, 3), 255, np.uint8), spec, numbers)
    assert pixels.shape == (2, 3, 3)
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    assert np.all(pixels == 1)
    assert geometry == Geometry(
        image_height=4,
        image_width=5,
        input_height=2,
        input_width=3,
        left=0,
        top=0,
        right=5,
        bottom=4,
    )


def test_stretch_shows_all_of_the_image() -> None:
    pixels, geometry = prepare(photograph(2, 9), Spec(2, 3), Numbers())
    assert pixels[0, :, 0].tolist() == [1, 4, 7]  # the middle ones of three columns each
    assert rectangle(geometry) == (0, 0, 9, 2)


def test_crop_shows_the_centred_rectangle_of_the_inputs_proportions() -> None:
    pixels, geometry = prepare(photograph(4, 10), Spec(2, 3, resize="crop"), Numbers())
    assert rectangle(geometry) == (2, 0, 8, 4)
    assert pixels[0, :, 0].tolist() == [3, 5, 7]
    pixels, geometry = prepare(photograph(10, 4), Spec(3, 2, resize="crop"), Numbers())
    assert rectangle(geometry) == (0, 2, 4, 8)
    assert pixels[:, 0, 1].tolist() == [3, 5, 7]


def test_crop_says_which_whole_pixels_it_took() -> None:
    # A third of 10 rows by 3 is 3.33 columns: 3 are taken, from column (10 - 3) // 2.
    pixels, geometry = prepare(photograph(10, 10), Spec(3, 1, resize="crop"), Numbers())
    assert rectangle(geometry) == (3, 0, 6, 10)
    assert pixels[0, 0, 0] == 4


def test_pad_puts_the_image_in_the_middle_of_black() -> None:
    pixels, geometry = prepare(photograph(2, 4) + 50, Spec(4, 4, resize="pad"), Numbers())
    assert rectangle(geometry) == (0, -1, 4, 3)
    assert pixels[:, 0, 1].tolist() == [0, 50, 51, 0]
    pixels, geometry = prepare(photograph(4, 2) + 50, Spec(4, 4, resize="pad"), Numbers())
    assert rectangle(geometry) == (-1, 0, 3, 4)
    assert pixels[0, :, 0].tolist() == [0, 50, 51, 0]


def test_pad_says_exactly_where_the_rounded_image_lies() -> None:
    # 10 x 3 in 5 x 5 is 5 x 1.5, rounded to 2 rows: 1 above, 2 below, each 1.5 rows of the image.
    pixels, geometry = prepare(photograph(3, 10) + 50, Spec(5, 5, resize="pad"), Numbers())
    assert rectangle(geometry) == (0, -1.5, 10, 6)
    assert (pixels[:, 0, 1] > 0).tolist() == [False, True, True, False, False]


def test_padding_is_black_before_preprocessing() -> None:
    pixels, _ = prepare(photograph(1, 3), Spec(3, 3, resize="pad"), Numbers("tf"))
    assert pixels[0, 0].tolist() == [-1, -1, -1]


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "area", "lanczos"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 70_000), (70_000, 1), (500, 2)])
def test_any_size_of_image_fits_any_size_of_input(
    resize: str, interpolation: str, size: tuple[int, int]
) -> None:
    spec = Spec(5, 8, resize=resize, interpolation=interpolation)
    pixels, geometry = prepare(np.full((*size, 3), 200, np.uint8), spec, Numbers())
    assert pixels.shape == (5, 8, 3)
    assert pixels.max() == 200
    assert geometry.right > geometry.left
    assert geometry.bottom > geometry.top
    middle = (geometry.left + geometry.right) / 2, (geometry.top + geometry.bottom) / 2
    assert 0 <= middle[0] <= size[1]
    assert 0 <= middle[1] <= size[0]


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "area", "lanczos"])
@pytest.mark.parametrize("size", [(64, 96), (97, 61), (40, 160)])
def test_geometry_leads_from_an_input_pixel_back_to_the_original(
    resize: str, interpolation: str, size: tuple[int, int]
) -> None:
    image = photograph(*size)
    spec = Spec(24, 32, resize=resize, interpolation=interpolation)
    pixels, geometry = prepare(image, spec, Numbers())
    across = (geometry.right - geometry.left) / 32
    down = (geometry.bottom - geometry.top) / 24
    inside = 0
    for v, u in np.ndindex(24, 32):
        x, y = geometry.left + (u + 0.5) * across, geometry.top + (v + 0.5) * down
        if 8 < x < size[1] - 8 and 8 < y < size[0] - 8:
            inside += 1
            # A photograph whose colour is its place shows where the pixel came from; nearest may
            # be half a pixel away from it, and rounding to 8 bits as much again.
            assert abs(pixels[v, u, 0] + 0.5 - x) <= 1.01
            assert abs(pixels[v, u, 1] + 0.5 - y) <= 1.01
    assert inside > 50


COLOURS = np.array([[[255, 0, 51]]], np.uint8)  # one pixel: R, G, B


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("none", "rgb", [255, 0, 51]),
        ("none", "bgr", [51, 0, 255]),
        ("unit", "rgb", [1, 0, 0.2]),
        ("tf", "rgb", [1, -1, -0.6]),
        ("caffe", "rgb", [51 - 103.939, -116.779, 255 - 123.68]),
        ("caffe", "bgr", [51 - 103.939, -116.779, 255 - 123.68]),
        ("imagenet", "rgb", [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]),
        ("imagenet", "bgr", [(0.2 - 0.406) / 0.225, -0.456 / 0.224, (1 - 0.485) / 0.229]),
    ],
)
def test_preprocessing_is_that_of_keras_applications(
    mode: str, color: str, expected: list[float]
) -> None:
    pixels, _ = prepare(COLOURS, Spec(1, 1, color=color), Numbers(mode))
    assert pixels[0, 0] == pytest.approx(expected, rel=1e-6)


def test_scale_and_offset_may_differ_by_channel() -> None:
    spec = Spec(1, 1, color="bgr")
    pixels, _ = prepare(COLOURS, spec, Numbers("scale", scale=0.5, offset=-1.0))
    assert pixels[0, 0].tolist() == [24.5, -1, 126.5]
    numbers = Numbers("scale", scale=(1.0, 2.0, 0.0), offset=(0.0, 3.0, 7.0))
    assert prepare(COLOURS, spec, numbers)[0][0, 0].tolist() == [51, 3, 7]


def test_gray_is_luma_in_one_channel() -> None:
    pixels, _ = prepare(COLOURS, Spec(1, 1, color="gray"), Numbers())
    assert pixels.shape == (1, 1, 1)
    assert pixels[0, 0, 0] == round(0.299 * 255 + 0.114 * 51)
    pixels, _ = prepare(COLOURS, Spec(2, 3, color="gray", resize="pad"), Numbers("unit"))
    assert pixels.shape == (2, 3, 1)
