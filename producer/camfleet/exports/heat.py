"""A map's heat over its whole image, in levels. Needs NumPy, which nothing else here does.

Heat is the map's positive part, linear between the centres of its cells and level beyond them, as
a fraction of its hottest cell. Outside the map's rectangle, as where a crop doesn't reach, there is
none, and what lies on padding is cut off.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from camfleet.exports.images import Heat, Image

LEVELS = 8  # of a brush: 0 to 7
_STRIP = 2**20  # pixels that are made at a time


def brush_levels(image: Image, heat: Heat) -> Iterator[tuple[int, int]]:
    """Yield the runs of the image's pixels, row by row, as alphas of `LEVELS` levels, 0 to 255."""
    alphas = np.rint(np.arange(LEVELS) * 255 / (LEVELS - 1)).astype(int)
    for strip in _strips(heat, image.size, image.size, LEVELS - 1):
        flat = strip.ravel()
        starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        ends = np.append(starts, len(flat))
        lengths = np.diff(ends, prepend=0)
        yield from zip(alphas[flat[ends - 1]].tolist(), lengths.tolist(), strict=True)


def png(image: Image, heat: Heat, side: int) -> bytes:
    """Return a gray PNG of the whole image's heat, 0 to 255, of at most `side` pixels a side."""
    scale = min(1, side / max(image.size))
    height, width = (max(1, round(pixels * scale)) for pixels in image.size)
    rows = np.concatenate(list(_strips(heat, (height, width), image.size, 255)))
    gray = np.pad(rows, ((0, 0), (1, 0)))  # filter 0 of each row
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(gray.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _strips(
    heat: Heat, size: tuple[int, int], image: tuple[int, int], most: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield strips of rows of the heat, in whole steps of 0 to `most`, of an image in another size.

    Few passes over the pixels are what makes it fast: the product of the shares gives the heat and
    the half by which cutting off the fraction rounds.
    """
    values = np.maximum(np.array(heat.values, np.float32).reshape(heat.grid), 0)
    values *= most / (values.max() or 1)
    left, top, right, bottom = heat.rectangle
    down = _shares(heat.grid[0], top / image[0], bottom / image[0], size[0])
    across = _shares(heat.grid[1], left / image[1], right / image[1], size[1])
    half = np.vstack((values @ across.T, np.full(size[1], 0.5, np.float32)))
    down = np.hstack((down, np.ones((size[0], 1), np.float32)))
    rows = max(1, _STRIP // size[1])
    for first in range(0, size[0], rows):
        yield (down[first : first + rows] @ half).astype(np.uint8)


def _shares(cells: int, start: float, stop: float, pixels: int) -> NDArray[np.float32]:
    """Return each cell's share in each pixel, (pixels, cells); a line of cells in an image of 0..1.

    Pixels whose centres are outside the line have none.
    """
    places = ((np.arange(pixels) + 0.5) / pixels - start) / (stop - start)
    centres = np.clip(places * cells - 0.5, 0, cells - 1)
    shares = np.maximum(1 - np.abs(centres[:, None] - np.arange(cells)), 0)
    shares[(places < 0) | (places > 1)] = 0
    return np.asarray(shares, np.float32)
