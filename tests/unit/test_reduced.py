"""open_reduced: a large JPEG is decoded smaller, and what the model sees stays in place."""

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from camfleet.errors import ImageTooLarge, ImageUnreadable, InvalidCard
from camfleet.registry.cards import CardInput, Preprocessing, parse_card
from camfleet_worker.pictures.decode import open_image, open_reduced
from camfleet_worker.pictures.prepare import prepare

AS_IT_IS = Preprocessing(mode="none")


def scene(height: int = 480, width: int = 640) -> Image.Image:
    """Return a picture like a photograph: fine shades, coarse colours, a bright disc off centre."""
    rng = np.random.default_rng(7)
    pixels = np.zeros((height, width, 3), np.float32)
    for cells, channels in ((4, 3), (16, 3), (64, 1), (128, 1)):
        coarse = rng.uniform(0, 60, (cells, cells, channels)).astype(np.float32)
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        pixels += fine.reshape(height, width, channels)
    cv2.circle(pixels, (width * 3 // 4, height // 3), height // 10, (255, 240, 200), -1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def spec(side: int = 12, resize: str = "stretch", decode: str = "reduced") -> CardInput:
    return CardInput(height=side, width=side, resize=resize, interpolation="area", decode=decode)


def reduced(data: bytes, wanted: CardInput, side: int = 1) -> tuple[Any, int]:
    return open_reduced(data, wanted, side, max_pixels=10**6, uri="s3://photos/it")


def assert_alike(found: Any, expected: Any) -> None:
    """A picture moved by one pixel of its file would differ by half a level on average."""
    difference = np.abs(found - expected)
    assert difference.mean() < 0.3
    assert difference.max() <= 3


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6])
def test_the_model_sees_the_same(resize: str, orientation: int, options: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data, wanted = encoded(scene(), exif=exif, quality=90, **options), spec(resize=resize)
    whole = open_image(data, max_pixels=10**6, uri="u")
    pixels, scale = reduced(data, wanted)
    assert scale == 8
    assert (pixels.shape[0] * 8, pixels.shape[1] * 8) == whole.shape[:2]
    expected, geometry = prepare(whole, wanted, AS_IT_IS)
    found, same = prepare(pixels, wanted, AS_IT_IS, scale)
    assert same == geometry
    assert_alike(found, expected)


@pytest.mark.parametrize(
    ("side", "scale"), [(6, 8), (15, 8), (16, 4), (30, 4), (31, 2), (60, 2), (61, 1)]
)
def test_sixteen_pixels_stay_for_one_of_the_input(side: int, scale: int) -> None:
    assert reduced(encoded(scene()), spec(side))[1] == scale


@pytest.mark.parametrize(("side", "scale"), [(0, 1), (1, 8), (80, 8), (81, 4), (320, 2), (640, 1)])
def test_an_overlay_keeps_its_size(side: int, scale: int) -> None:
    assert reduced(encoded(scene()), spec(), side)[1] == scale


@pytest.mark.parametrize(
    ("size", "resize", "scale"),
    [
        ((480, 636), "stretch", 4),
        ((478, 638), "stretch", 2),
        ((479, 640), "stretch", 1),
        ((480, 648), "crop", 4),  # 84 pixels lie left of what the model sees
        ((480, 648), "stretch", 8),
    ],
)
def test_smaller_pixels_fill_what_is_seen(size: tuple[int, int], resize: str, scale: int) -> None:
    assert reduced(encoded(scene(*size)), spec(resize=resize))[1] == scale


def test_whole_is_what_a_card_means_that_says_nothing() -> None:
    data, wanted = encoded(scene()), CardInput(height=12, width=12, interpolation="area")
    pixels, scale = reduced(data, wanted)
    assert scale == 1
    assert np.array_equal(pixels, open_image(data, max_pixels=10**6, uri="u"))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_card_can_only_reduce_what_is_averaged(interpolation: str) -> None:
    text = f"""
        id = "m"
        artifact = "m.keras"
        [input]
        height = 12
        width = 12
        decode = "reduced"
        interpolation = "{interpolation}"
    """
    with pytest.raises(InvalidCard, match=f"card c.toml: input.decode .* not '{interpolation}'"):
        parse_card(text, "c.toml")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_other_kinds_are_decoded_whole(kind: str) -> None:
    pixels, scale = reduced(encoded(scene(), kind), spec())
    assert (pixels.shape, scale) == ((480, 640, 3), 1)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_print_colours_are_reduced_too(mode: str) -> None:
    data = encoded(scene().convert(mode), quality=95)
    pixels, scale = reduced(data, spec())
    whole = open_image(data, max_pixels=10**6, uri="u")
    assert (pixels.shape, scale) == ((60, 80, 3), 8)
    found, _ = prepare(pixels, spec(), AS_IT_IS, scale)
    expected, _ = prepare(whole, spec(), AS_IT_IS)
    assert_alike(found, expected)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_off_file_is_refused(progressive: bool) -> None:
    data = encoded(scene(), progressive=progressive)
    for share in (0.3, 0.9, 0.99):
        with pytest.raises(ImageUnreadable, match="s3://photos/it"):
            reduced(data[: int(len(data) * share)], spec())


def test_the_limit_is_on_the_files_pixels() -> None:
    with pytest.raises(ImageTooLarge, match="640 x 480"):
        open_reduced(encoded(scene()), spec(), 1, max_pixels=640 * 480 - 1, uri="u")
