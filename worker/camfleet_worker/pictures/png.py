"""PNG: checked and stripped to what the pixels need, so that no other block costs anything."""

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from camfleet_worker.arrays import AnyArray
from camfleet_worker.pictures.cost import Cost, cost_of
from camfleet_worker.pictures.header import Refused, check_size, open_header
from camfleet_worker.pictures.samples import Alpha, Model, Raster

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS = 200_000  # of 8 KiB, for the largest files
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
# Of a pixel, at most: seconds of computing for each channel and besides, and bytes of memory.
_SHALLOW, _DEEP = (9e-9, 8e-9, 10), (45e-9, 20e-9, 14)
_EXIF = b"Raw profile type exif\0"
_GRAY, _RGB, _GRAY_ALPHA, _RGBA = 0, 2, 4, 6  # palettes are left to Pillow


@dataclass(frozen=True)
class Png:
    """A PNG of nothing but pixels, palette and EXIF, and what its header says."""

    data: bytes
    bits: int
    colours: int  # the type in the header
    key: tuple[int, ...] | None  # the one gray or colour that is transparent


def read_png(data: bytes, max_pixels: int) -> Png:
    """Check every block of `data`, and leave out what doesn't matter for the picture.

    Raises `Refused` for wrong checksums, a missing end, unknown blocks that matter and too many
    blocks, and what becomes `ImageTooLarge`.
    """
    kept: dict[bytes, memoryview] = {}
    pixels: list[memoryview] = []
    key = b""
    for name, body in _chunks(data):
        if name == b"IHDR" and len(body) == 13:
            width, height = struct.unpack_from(">LL", body)
            check_size(width, height, max_pixels)
        if name == b"IDAT":
            pixels.append(body)
        elif name == b"tRNS":
            key = bytes(body)
        elif name in _CRITICAL or name == b"eXIf" or bytes(body[:22]) == _EXIF:
            kept.setdefault(name, body)
        elif not name[0] & 32:
            raise Refused(f"it has a block of an unknown kind, {name!r}")
    if b"IHDR" not in kept or len(kept[b"IHDR"]) != 13:
        raise Refused("it has no header")
    bits, colours = kept[b"IHDR"][8:10]
    if colours == 3 and key:
        kept[b"tRNS"] = memoryview(key)
    end = kept.pop(b"IEND")
    head = b"".join(_block(name, body) for name, body in kept.items())
    size = struct.pack(">L4s", sum(map(len, pixels)), b"IDAT")
    # Pillow doesn't look at the checksum of pixels, and it's been checked already.
    stripped = b"".join((_SIGNATURE, head, size, *pixels, b"\0" * 4, _block(b"IEND", end)))
    return Png(stripped, bits, colours, _key(key, bits, colours))


def needed(png: Png, image: Image.Image) -> Cost:
    """Return what `png`, opened as `image`, may cost."""
    channels = len(image.getbands()) + 3 * (png.key is not None)
    per_channel, per_pixel, memory = _DEEP if png.bits == 16 else _SHALLOW
    return cost_of(image.width * image.height, per_pixel + channels * per_channel, memory)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield name and body of every block up to the end mark."""
    view, place = memoryview(data), len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if place + 12 > len(data):
            raise Refused("it's cut off")
        size, name = struct.unpack_from(">L4s", data, place)
        stop = place + 8 + size
        if stop + 4 > len(data):
            raise Refused("it's cut off")
        if zlib.crc32(view[place + 4 : stop]) != int.from_bytes(view[stop : stop + 4], "big"):
            raise Refused(f"a checksum is wrong, of a block {name!r}")
        yield name, view[place + 8 : stop]
        if name == b"IEND":
            return
        place = stop + 4
    raise Refused("it consists of too many small blocks")


def _block(name: bytes, body: memoryview) -> bytes:
    check = zlib.crc32(body, zlib.crc32(name))
    return b"".join((struct.pack(">L4s", len(body), name), body, struct.pack(">L", check)))


def _key(stored: bytes, bits: int, colours: int) -> tuple[int, ...] | None:
    count = {_GRAY: 1, _RGB: 3}.get(colours, 0)
    if not count or len(stored) < 2 * count:
        return None
    levels = struct.unpack_from(f">{count}H", stored)
    return tuple(level & (2**bits - 1) for level in levels)  # higher bits don't count


def raster(
    png: Png, image: ImageFile.ImageFile, max_pixels: int, seconds: float = math.inf
) -> Raster | None:
    """Return the samples of `image`, which is `png` opened, or None if Pillow reads them well.

    Pillow cuts colours of 16 bits to 8, and knows no transparent gray of a few bits.
    """
    if png.bits < 16 and png.key is None:
        return None
    if png.bits < 16:
        rows, bits, key = _pillow_rows(image), 8, png.key
        if png.bits < 8 and key is not None:
            key = (key[0] * 255 // (2**png.bits - 1),)  # Pillow spreads gray to 8 bits
    else:
        rows, bits, key = _deep_rows(png, image, max_pixels, seconds), 16, png.key
    alpha: Alpha | None = "straight" if png.colours in (_GRAY_ALPHA, _RGBA) else None
    model: Model = "gray" if png.colours in (_GRAY, _GRAY_ALPHA) else "rgb"
    return Raster(image.height, image.width, rows, bits, model, alpha=alpha, key=key)


def _pillow_rows(image: Image.Image) -> Callable[[int, int], AnyArray]:
    """Return how to get rows of `image`, once loaded, as (n, W, channels) of its own depth."""
    image.load()
    image.info.pop("transparency", None)

    def rows(top: int, bottom: int) -> AnyArray:
        band = image.crop((0, top, image.width, bottom))
        found = np.asarray(band.convert("L") if band.mode == "1" else band)
        return found if found.ndim == 3 else found[:, :, None]

    return rows


def _deep_rows(
    png: Png, image: ImageFile.ImageFile, max_pixels: int, seconds: float
) -> Callable[[int, int], AnyArray]:
    if png.colours == _GRAY:
        return _pillow_rows(image)
    if png.colours == _GRAY_ALPHA:
        _unpack_as(image, "RGBA")  # both bytes of gray, then both of alpha
        return _in_pairs(_pillow_rows(image))
    other = open_header(png.data, "PNG", max_pixels, seconds)
    _unpack_as(image, f"{image.mode};16B")  # the upper bytes
    _unpack_as(other, f"{image.mode};16L")  # the lower bytes
    upper, lower = _pillow_rows(image), _pillow_rows(other)
    return lambda top, bottom: _join(upper(top, bottom), lower(top, bottom))


def _in_pairs(halves: Callable[[int, int], AnyArray]) -> Callable[[int, int], AnyArray]:
    def rows(top: int, bottom: int) -> AnyArray:
        found = halves(top, bottom)
        return _join(found[:, :, ::2], found[:, :, 1::2])

    return rows


def _unpack_as(image: ImageFile.ImageFile, raw: str) -> None:
    image.tile = [tile._replace(args=raw) for tile in image.tile]


def _join(upper: AnyArray, lower: AnyArray) -> AnyArray:
    return upper.astype(np.uint16) << 8 | lower
