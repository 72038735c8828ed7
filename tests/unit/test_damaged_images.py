"""open_image on damaged files: the result is whole, or an ImageError says that it isn't."""

import io
import itertools
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camfleet.errors import ImageError, ImageUnreadable
from camfleet_worker.pictures.decode import open_image
from helpers import image_files

# Pillow's warnings about metadata are ignored outside of tests too: see pictures/header.py.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def deep_planes(noise: Any) -> bytes:
    planes = [(noise[:, :, plane].astype(">u2") * 257).tobytes() for plane in range(3)]
    tags = {"t258": [16] * 3, "t262": 2, "t277": 3, "t278": 9, "t284": 2}
    return image_files.tiff(planes, order=">", t256=13, t257=9, **tags)


def samples() -> dict[str, bytes]:
    noise = np.random.default_rng(0).integers(0, 255, (9, 13, 3), np.uint8)
    image, other = Image.fromarray(noise), Image.fromarray(noise[::-1])
    deep = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    several = {"save_all": True, "append_images": [other]}
    return {
        "JPEG": encoded(image, "JPEG", exif=exif),
        "progressive JPEG": encoded(image, "JPEG", progressive=True),
        "CMYK JPEG": encoded(image.convert("CMYK"), "JPEG"),
        "PNG": encoded(image, "PNG", exif=exif),
        "deep PNG": encoded(deep, "PNG"),
        "animated PNG": encoded(image, "PNG", **several),
        "lossy WebP": encoded(image, "WEBP", exif=exif),
        "lossless WebP": encoded(image, "WEBP", lossless=True),
        "BMP": encoded(image, "BMP"),
        "GIF": encoded(image, "GIF", **several, disposal=2),
        "TIFF": encoded(image, "TIFF", exif=exif),
        "deep TIFF": encoded(deep, "TIFF"),
        "deflated TIFF": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF of JPEG": encoded(image, "TIFF", compression="jpeg"),
        "deep TIFF in planes": deep_planes(noise),
        "BMP of runs": image_files.bmp(
            4, 2, b"\2\1\2\2\0\0\0\4\1\2\1\2\0\1", bits=8, compression=1, palette=[(7, 8, 9)] * 256
        ),
        "AVIF": encoded(image, "AVIF"),
        "fax TIFF": encoded(image.convert("1"), "TIFF", compression="group4"),
    }


SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_off_anywhere_is_refused_or_whole(name: str) -> None:
    data = SAMPLES[name]
    whole = open_image(data, max_pixels=1000, uri="u")
    for end in range(len(data)):
        try:
            pixels = open_image(data[:end], max_pixels=1000, uri="u")
        except ImageUnreadable:
            continue
        # Nothing but an end mark or a later frame is missing.
        assert np.array_equal(pixels, whole), end


def test_a_png_with_any_bit_turned_is_refused_or_whole() -> None:
    data = bytearray(encoded(Image.new("RGB", (16, 16), (7, 7, 7)), "PNG"))
    whole = open_image(bytes(data), max_pixels=1000, uri="u")
    for place, bit in itertools.product(range(len(data)), range(8)):
        data[place] ^= 1 << bit
        try:
            pixels = open_image(bytes(data), max_pixels=1000, uri="u")
        except ImageError:
            pixels = whole
        assert np.array_equal(pixels, whole), (place, bit)
        data[place] ^= 1 << bit


@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_file_gives_an_image_or_an_image_error(name: str) -> None:
    chance = random.Random(7)
    opened = refused = 0
    for _ in range(1000):
        data = bytearray(SAMPLES[name])
        for _ in range(chance.choice([1, 1, 2, 6])):
            place = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    data[place : place + 4] = chance.choice([b"\xff", b"\0", b"\x7f"]) * 4
                case 2:
                    del data[place : place + chance.randrange(20)]
                case 3:
                    data[place:place] = data[: chance.randrange(20)]
        try:
            pixels = open_image(bytes(data), max_pixels=1000, uri="u")
        except ImageError:
            refused += 1
        else:
            opened += 1
            assert pixels.dtype == np.uint8
            assert pixels.shape[2:] == (3,)
    assert refused > 0
    assert opened + refused == 1000
