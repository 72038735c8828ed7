"""BMP of every header and depth, with masks and runs; what else can be in one is refused."""

import math
import struct
from dataclasses import dataclass

import numpy as np

from camfleet_worker.arrays import AnyArray, Pixels
from camfleet_worker.pictures.cost import check_cost, cost_of
from camfleet_worker.pictures.header import Refused, check_size
from camfleet_worker.pictures.runs import read_runs
from camfleet_worker.pictures.samples import Alpha, Raster, scale, unpack

Masks = tuple[int, int, int, int]

_FILE_HEADER = 14  # bytes, before the header proper
_OS2 = 12  # bytes of the oldest header
_HEADERS = (_OS2, 16, 40, 52, 56, 64, 108, 124)
_DEPTHS = (1, 2, 4, 8, 16, 24, 32)
_SOME = 64  # rows
# Seconds of computing and bytes of memory, at most; a run has two bytes or more.
_PER_PIXEL, _PER_RUN, _MEMORY = 26e-9, 2e-6, 8
_RAW, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_USUAL_MASKS: dict[int, Masks] = {
    16: (0x7C00, 0x03E0, 0x001F, 0),
    24: (0xFF0000, 0xFF00, 0xFF, 0),
    32: (0xFF0000, 0xFF00, 0xFF, 0),
}


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    upwards: bool  # the last row comes first
    bits: int
    compression: int
    masks: Masks  # of red, green, blue and alpha
    palette: Pixels
    start: int  # of the pixels, in the file


def open_bmp(data: bytes, max_pixels: int, seconds: float = math.inf) -> Pixels:
    """Return the picture in `data` as (H, W, 3) uint8 RGB.

    Pixels that runs skip have the palette's first colour. Raises `Refused` for what isn't
    supported and for files that are cut off, and `Slow` for what may take longer than `seconds`.
    """
    header = _header(data, max_pixels)
    has_runs = header.compression in (_RLE8, _RLE4)
    runs = len(data) // 2 if has_runs else 0
    pixels = header.width * header.height
    check_cost(cost_of(pixels, _PER_PIXEL, _MEMORY, extra=runs * _PER_RUN), seconds)
    if has_runs:
        stored = read_runs(data[header.start :], header.width, header.height, header.bits)
    else:
        stored = _stored(data, header)
    if header.upwards:
        stored = stored[::-1]
    return (_indexed if header.bits <= 8 else _masked)(stored, header).rgb()


def _header(data: bytes, max_pixels: int) -> _Header:
    size = int.from_bytes(data[14:18], "little")
    if len(data) < _FILE_HEADER + max(size, _OS2):
        raise Refused("its header is cut off")
    if size not in _HEADERS:
        raise Refused(f"its header has {size} bytes, as in no version of BMP")
    layout = "<HHHH" if size == _OS2 else "<llHH"
    width, height, planes, bits = struct.unpack_from(layout, data, 18)
    compression, used = struct.unpack_from("<L12xL", data, 30) if size >= 40 else (0, 0)
    check_size(abs(width), abs(height), max_pixels)
    check_size(width, 1, max_pixels)
    if planes != 1 or bits not in _DEPTHS:
        raise Refused(f"pixels of {bits} bits in {planes} planes don't exist in BMP")
    if not _is_supported(size, bits, compression, upwards=height > 0):
        raise Refused(f"compression {compression} with {bits} bits per pixel isn't supported")
    masks, end = _masks(data, size, bits, compression)
    (start,) = struct.unpack_from("<L", data, 10)
    palette = np.zeros((256, 3), np.uint8)
    start = 0 if bits <= 8 and start <= end else start  # some writers don't count the palette
    if bits <= 8:
        palette, end = _palette(data, end, start, min(used or 2**bits, 2**bits), size)
    return _Header(width, abs(height), height > 0, bits, compression, masks, palette, start or end)


def _is_supported(size: int, bits: int, compression: int, *, upwards: bool) -> bool:
    if compression in (_MASKS, _ALPHA_MASKS):
        return bits in (16, 32) and size != 64  # in OS/2 these numbers mean something else
    runs = {_RLE8: 8, _RLE4: 4}
    return compression == _RAW or (bits == runs.get(compression) and upwards)


def _masks(data: bytes, size: int, bits: int, compression: int) -> tuple[Masks, int]:
    """Return the masks, and where the header ends."""
    end = _FILE_HEADER + size
    if compression not in (_MASKS, _ALPHA_MASKS):
        return _USUAL_MASKS.get(bits, (0, 0, 0, 0)), end
    count = 4 if size >= 56 or compression == _ALPHA_MASKS else 3
    end = max(end, 54 + 4 * count)  # in the oldest headers they follow
    if len(data) < end:
        raise Refused("its header is cut off")
    masks = struct.unpack_from(f"<{count}L", data, 54)
    for mask in masks:
        ones = mask >> _shift(mask)
        if ones & (ones + 1) or mask >> bits or ones >= 2**16:
            raise Refused(f"the bits of a colour, {mask:#x}, don't lie side by side in a pixel")
    return (masks[0], masks[1], masks[2], masks[3] if count == 4 else 0), end


def _shift(mask: int) -> int:
    """Return how many zeros are below the mask's lowest bit."""
    return max(0, (mask & -mask).bit_length() - 1)


def _palette(data: bytes, first: int, start: int, count: int, size: int) -> tuple[Pixels, int]:
    """Return 256 colours, those that the file doesn't have black, and where the palette ends."""
    entry = 3 if size == _OS2 else 4
    if start > first:
        count = min(count, (start - first) // entry)
    stored = np.frombuffer(data[first : first + count * entry], np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    stored = stored[: len(stored) // entry * entry].reshape(-1, entry)
    palette[: len(stored)] = stored[:, 2::-1]
    return palette, first + count * entry


def _stored(data: bytes, header: _Header) -> AnyArray:
    """Return the rows in the file's order, (H, bytes), without padding."""
    used = -(-header.width * header.bits // 8)
    stride = -(-used // 4) * 4
    body = data[header.start : header.start + stride * header.height]
    if len(body) < stride * (header.height - 1) + used:  # the last row's padding may be missing
        raise Refused("its pixels are cut off")
    rows = np.frombuffer(body.ljust(stride * header.height, b"\0"), np.uint8)
    return rows.reshape(header.height, stride)[:, :used]


def _indexed(stored: AnyArray, header: _Header) -> Raster:
    bits = 8 if header.compression in (_RLE8, _RLE4) else header.bits

    def rows(top: int, bottom: int) -> AnyArray:
        return unpack(stored[top:bottom], bits, "<")[:, : header.width, None]

    return Raster(header.height, header.width, rows, 8, "palette", palette=header.palette)


def _masked(stored: AnyArray, header: _Header) -> Raster:
    """Return the raster of pixels in which each colour has some bits."""
    ones = [mask >> _shift(mask) for mask in header.masks]
    bits = 8 if max(ones) < 2**8 else 16

    def rows(top: int, bottom: int) -> AnyArray:
        band = stored[top:bottom]
        if header.bits == 24:
            return band.reshape(len(band), -1, 3)[:, :, ::-1]
        pixels = np.ascontiguousarray(band).view(f"<u{header.bits // 8}")
        found = np.zeros((*pixels.shape, 4), np.uint16)
        for channel, (mask, most) in enumerate(zip(header.masks, ones, strict=True)):
            if most:
                found[:, :, channel] = scale((pixels & mask) >> _shift(mask), most, 2**bits - 1)
        return found

    # Some writers name a mask of alpha and leave it 0 everywhere, in pictures meant to be seen.
    used = header.masks[3] and any(
        rows(top, top + _SOME)[:, :, 3].any() for top in range(0, header.height, _SOME)
    )
    alpha: Alpha | None = "straight" if used else None
    return Raster(header.height, header.width, rows, bits, "rgb", alpha=alpha)
