"""What a class activation map points at: its focus, and the regions where its heat is high.

Coordinates are pixels of the upright original image: x and y start at its upper left corner, and
pixel centres are at half integers. Heat is the positive part of the map, interpolated linearly
between the centres of its cells and constant beyond them. Only heat inside the image counts: what
falls on padding is cut off, and outside the geometry's rectangle there is none.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from pycocotools import mask as coco

from camfleet.contract.geometry import Focus, Geometry, Region
from camfleet.contract.outputs import Regions
from camfleet_worker.arrays import Doubles, Integers, Map, Pixels
from camfleet_worker.pictures.heat import normalise, stretch

MAX_PIXELS = 4_000_000  # of a picture to search for regions
_CACHED = 256  # axes, each with arrays of at most the square of a map's side


def focus(raw: Map, geometry: Geometry) -> Focus | None:
    """Return where the heat of the signed (h, w) float32 map lies, or None if there is none.

    The result is exact, and its cost depends on the map alone: heat is linear between cells, so
    it peaks at a cell's centre or at the edge of what is visible, and its integrals are sums over
    cells. The peak lies between the centres of the outermost pixels; among equal peaks it is the
    first, row by row.
    """
    heat = normalise(raw)
    y, x = _axes(raw, geometry)
    down, moment_y = _integrals(y, 0, 1)
    across, moment_x = _integrals(x, 0, 1)
    mass = down @ heat @ across
    if not mass > 0:
        return None
    inner = _integrals(y, 0.1, 0.9)[0] @ heat @ _integrals(x, 0.1, 0.9)[0]
    height, width = geometry.image_height, geometry.image_width
    ys, peak_down = _candidates(y, *y.centres(height))
    xs, peak_across = _candidates(x, *x.centres(width))
    row, column = divmod(int((peak_down @ heat @ peak_across.T).argmax()), len(xs))
    return Focus(
        peak_x=_pixel(xs[column], width),
        peak_y=_pixel(ys[row], height),
        centre_x=float(down @ heat @ moment_x / mass) * width,
        centre_y=float(moment_y @ heat @ across / mass) * height,
        border_share=float(np.clip(1 - inner / mass, 0, 1)),
    )


def _pixel(place: float, pixels: int) -> float:
    """Return a place in pixels, which rounding can't move past an outermost pixel's centre."""
    return float(np.clip(place * pixels, 0.5, pixels - 0.5))


def regions(raw: Map, geometry: Geometry, wanted: Regions) -> tuple[Region, ...]:
    """Return the connected regions where the heat of the signed (h, w) float32 map is high.

    The heat of every pixel is taken at its centre, as a fraction of the hottest pixel's. A pixel
    is in a region if it reaches `wanted.threshold`, or for "otsu" if its 8-bit heat is above the
    threshold that Otsu's method finds in the visible rectangle. Pixels that touch at a corner
    are connected. The largest region comes first. Without heat in the image there are none.

    Box, area, run-lengths and outlines describe the same pixels. An outline runs along the edges
    of pixels, in integers, as COCO's do; filled, it is the region again, without its holes. A
    picture of more than `MAX_PIXELS` is searched in that many roughly square blocks.
    """
    y, x = _axes(raw, geometry)
    height, width = geometry.image_height, geometry.image_width
    scale = min(1, math.sqrt(MAX_PIXELS / (height * width)))
    down, rows = y.blocks(height, scale)
    across, columns = x.blocks(width, scale)
    heat = np.asarray(down @ normalise(raw) @ across.T, np.float32)
    hottest = heat.max()
    if not hottest > 0:
        return ()
    heat /= hottest
    hot = _hot(heat, wanted.threshold)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(hot, connectivity=8)
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")
    found = []
    for label in order[: 1 if wanted.components == "largest" else None]:
        left, top, width, height, _ = stats[label]
        box = np.s_[top : top + height, left : left + width]
        mask = (labels[box] == label).astype(np.uint8)
        edges = rows[top : top + height + 1], columns[left : left + width + 1]
        found.append(
            Region(
                left=int(edges[1][0]),
                top=int(edges[0][0]),
                width=int(edges[1][-1] - edges[1][0]),
                height=int(edges[0][-1] - edges[0][0]),
                area=int(np.diff(edges[0]) @ mask @ np.diff(edges[1])),
                heat=float(heat[box][mask > 0].max()),
                rle=_run_lengths(mask, *edges, geometry) if "rle" in wanted.shapes else None,
                polygon=_outlines(mask, *edges) if "polygon" in wanted.shapes else None,
            )
        )
    return tuple(sorted(found, key=lambda region: -region.area))


@dataclass(frozen=True)
class _Axis:
    """A line of `cells` spread evenly from `start` to `stop`, where the image spans 0 to 1."""

    cells: int
    start: float
    stop: float

    def blocks(self, pixels: int, scale: float) -> tuple[Map, Integers]:
        """Return each cell's share in each visible block, (n, cells), and the n + 1 edges.

        If `scale` is 1 a block is a pixel. Edges are whole pixels of the image.
        """
        count = max(1, math.floor(pixels * scale))
        first, shares = stretch(self.cells, self.start * count, self.stop * count, count)
        return shares, np.arange(first, first + len(shares) + 1) * pixels // count

    def integrals(self, low: float, high: float) -> tuple[Doubles, Doubles]:
        """Integrate each cell's share, and share * place, from `low` to `high`; (cells) each.

        Shares are linear between the centres of cells, so Simpson's rule is exact.
        """
        begin, end = self._number(low), self._number(high)
        knots = np.clip(np.concatenate([[begin], np.arange(self.cells), [end]]), begin, end)
        lengths = np.diff(knots)
        numbers = np.concatenate([knots[:-1], (knots[:-1] + knots[1:]) / 2, knots[1:]])
        weights = np.concatenate([lengths, 4 * lengths, lengths])
        shares = self._shares(numbers)
        return weights @ shares, (weights * self._places(numbers)) @ shares

    def centres(self, pixels: int) -> tuple[float, float]:
        """Return the first and the last number that lies between the centres of pixels."""
        first, last = self._number(0.5 / pixels), self._number(1 - 0.5 / pixels)
        return max(first, 0), min(last, self.cells - 1)

    def candidates(self, first: float, last: float) -> tuple[Doubles, Doubles]:
        """Return the places where heat may be highest, (n), and the shares there, (n, cells)."""
        numbers = np.clip(np.arange(self.cells, dtype=float), first, last)
        return self._places(numbers), self._shares(numbers)

    def _number(self, place: float) -> float:
        """Return a place, clamped to the line, in cells: a cell's number is at its centre."""
        inside = min(max(place, self.start), self.stop)
        return (inside - self.start) / (self.stop - self.start) * self.cells - 0.5

    def _places(self, numbers: Doubles) -> Doubles:
        return self.start + (numbers + 0.5) / self.cells * (self.stop - self.start)

    def _shares(self, numbers: Doubles) -> Doubles:
        inner = np.clip(numbers, 0, self.cells - 1)[:, None]
        return np.asarray(np.maximum(1 - np.abs(inner - np.arange(self.cells)), 0))


# Places are fractions of the image, so photographs of all sizes share these.
@lru_cache(_CACHED)
def _integrals(axis: _Axis, low: float, high: float) -> tuple[Doubles, Doubles]:
    return axis.integrals(low, high)


@lru_cache(_CACHED)
def _candidates(axis: _Axis, first: float, last: float) -> tuple[Doubles, Doubles]:
    return axis.candidates(first, last)


def _axes(raw: Map, geometry: Geometry) -> tuple[_Axis, _Axis]:
    height, width = geometry.image_height, geometry.image_width
    return (
        _Axis(raw.shape[0], geometry.top / height, geometry.bottom / height),
        _Axis(raw.shape[1], geometry.left / width, geometry.right / width),
    )


def _hot(heat: Map, threshold: float | Literal["otsu"]) -> Pixels:
    """Return 1 where `heat`, (H, W) of 0 to 1, is in a region, else 0."""
    if not isinstance(threshold, str):
        return np.asarray(heat >= threshold, np.uint8)
    levels = np.rint(heat * 255).astype(np.uint8)
    return np.asarray(cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1])


def _run_lengths(mask: Pixels, rows: Integers, columns: Integers, geometry: Geometry) -> str:
    """Return COCO's compressed run-lengths of the ones of `mask` in the whole image.

    `mask` is (h, w), and block i, j lies between `rows` i, i + 1 and `columns` j, j + 1. Runs
    count down the columns. They are found at the mask's edges, so that no image has to be filled.
    """
    height, width = geometry.image_height, geometry.image_width
    padded = np.pad(mask, ((1, 1), (0, 0)))
    column, row = np.nonzero((padded[1:] != padded[:-1]).T)
    xs = columns[column, None] + np.arange(np.diff(columns).max())
    turns = (xs * height + rows[row, None])[xs < columns[column + 1, None]]
    # If one column ends at the bottom and the next starts at the top, the run continues.
    places, times = np.unique(turns, return_counts=True)
    runs = np.diff(places[times == 1], prepend=0, append=height * width)
    counts = runs if runs[-1] else runs[:-1]
    encoded: Any = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return str(encoded["counts"], "ascii")


def _outlines(mask: Pixels, rows: Integers, columns: Integers) -> tuple[tuple[float, ...], ...]:
    """Return the outer outlines of `mask` along the edges of its blocks, as x, y, x, y, ...

    OpenCV's contours run through pixel centres. With every block doubled, the first of its two
    centres stands for the edge before the block, and the second for the edge after it.
    """
    doubled = mask.repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outlines = []
    for contour in contours:
        corners = (contour[:, 0] + 1) // 2
        corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
        places = np.column_stack([columns[corners[:, 0]], rows[corners[:, 1]]])
        outlines.append(tuple(places.ravel().astype(float).tolist()))
    return tuple(outlines)
