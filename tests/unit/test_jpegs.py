"""Flawless JPEGs are decoded without Pillow, with the same pixels."""

import io
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from camfleet.errors import ImageError
from camfleet.registry.cards import CardInput
from camfleet_worker.pictures import decode
from camfleet_worker.pictures.decode import open_image, open_reduced

KINDS: dict[str, dict[str, Any]] = {
    "colours at half the size": {},
    "colours at half the width": {"subsampling": 1},
    "colours at full size": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restart marks": {"restart_marker_blocks": 2},
    "stored as RGB": {"keep_rgb": True},
    "gray": {"mode": "L"},
    "four colours": {"mode": "CMYK"},
}


SPEC = CardInput(height=8, width=8, resize="stretch", interpolation="area", decode="reduced")
LIMITS: dict[str, Any] = {"max_pixels": 10**6, "uri": "u"}


def jpeg(side: int, *, mode: str = "RGB", orientation: int = 1, **options: Any) -> bytes:
    coarse = np.random.default_rng(3).integers(0, 256, (9, 7, 3), np.uint8)
    pixels = cv2.resize(coarse, (side, side * 3 // 2), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", quality=92, exif=exif, **options)
    return file.getvalue()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that records for each opened JPEG whether it was decoded without Pillow."""
    found: list[bool] = []
    flawless = decode.flawless_jpeg

    def spied(*args: Any) -> Any:
        pixels = flawless(*args)
        found.append(pixels is not None)
        return pixels

    monkeypatch.setattr(decode, "flawless_jpeg", spied)
    return found


def by_pillow(monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(decode, "flawless_jpeg", lambda *_: None)
        return open_reduced(*args, **options)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("side", [16, 64, 128, 256, 37])
def test_pixels_are_those_of_pillow(
    name: str, orientation: int, side: int, fast: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jpeg(side, orientation=orientation, **KINDS[name])
    pixels, scale = open_reduced(data, SPEC, 1, **LIMITS)
    assert fast == [name != "four colours"]
    assert scale == {64: 2, 128: 4, 256: 8}.get(side, 1)
    expected, _ = by_pillow(monkeypatch, data, SPEC, 1, **LIMITS)
    assert np.array_equal(pixels, expected)


def outcome(opened: Callable[..., tuple[Any, int]], data: bytes) -> Any:
    """Return the pixels, or what the error says."""
    try:
        return opened(data, SPEC, 0, **LIMITS)[0]
    except ImageError as error:
        return f"{type(error).__name__}: {error}"


def damaged(data: bytes, chance: random.Random) -> bytes:
    start, stop = sorted(chance.sample(range(2, len(data)), 2))
    match chance.randrange(5):
        case 0:  # cut off
            return data[:start]
        case 1:  # closed properly, too early
            return data[:start] + b"\xff\xd9"
        case 2:  # a hole
            return data[:start] + data[stop:]
        case 3:  # something in between
            return data[:start] + chance.randbytes(7) + data[start:]
        case _:  # a byte changed
            return data[:start] + chance.randbytes(1) + data[start + 1 :]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", KINDS)
def test_damages_are_judged_by_pillow(
    name: str, fast: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, chance = jpeg(48, **KINDS[name]), random.Random(11)
    opened = refused = 0
    for _ in range(400):
        data = damaged(whole, chance)
        expected = outcome(partial(by_pillow, monkeypatch), data)
        found = outcome(open_reduced, data)
        assert np.array_equal(found, expected)
        refused += isinstance(found, str)
        opened += not isinstance(found, str)
    assert min(opened, refused) > 50
    assert not all(fast)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (b"\xff\xc0\0\x11\x0c", "12 bits per channel"),
        (b"\xff\xc3\0\x11\x08", "lossless or hierarchical"),
        (b"\xff\xc5\0\x11\x08", "lossless or hierarchical"),
        (b"\xff\xc1\0\x11\x00", "0 bits per channel"),
    ],
)
def test_what_no_decoder_knows_is_named(changed: bytes, reason: str) -> None:
    data = jpeg(32)
    start = data.index(b"\xff\xc0\0\x11\x08")
    with pytest.raises(ImageError, match=f"u is a broken or unsupported JPEG: .*{reason}"):
        open_image(data[:start] + changed + data[start + 5 :], **LIMITS)


def test_bytes_behind_the_end_change_nothing(fast: list[bool]) -> None:
    data = jpeg(32)
    assert np.array_equal(
        open_image(data + b"\0" * 9, **LIMITS),
        open_image(data, **LIMITS),
    )
    assert fast == [True, True]
