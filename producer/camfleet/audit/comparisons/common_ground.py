"""Two maps of one image on a common grid: of what both models saw of the picture."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from camfleet.audit.heat import Doubles, Ints, overlap

_DIGITS = 6  # of a cell, to which places are alike
_AXES = ((1, 3), (0, 2))  # of rectangles: top and bottom, left and right


class Common(NamedTuple):
    """Pairs on one grid: their places among all, and their shares of heat, (N, h, w) each.

    `unseen` (N,) is the larger share of a map's heat that lies where the other model saw nothing.
    """

    places: Ints
    p: Doubles
    q: Doubles
    unseen: Doubles


def resample(
    one: Doubles, covers: Doubles, other: Doubles, other_covers: Doubles
) -> Iterator[Common]:
    """Yield pairs of heat, (N, h, w) and (N, other h, other w), those together that lie alike.

    What the maps cover, (N, 4) each, is left, top, right and bottom as parts of the image. Heat is
    shared out by area over the finer of both grids, within what both cover.
    """
    grid = tuple(max(one.shape[axis], other.shape[axis]) for axis in (1, 2))
    spans = np.concatenate(
        [
            _spans(covers, other_covers, one.shape[1:]),
            _spans(other_covers, covers, other.shape[1:]),
        ],
        axis=1,
    )
    kinds, numbers = np.unique(spans, axis=0, return_inverse=True)
    for number, kind in enumerate(kinds):
        places = np.flatnonzero(numbers.ravel() == number)
        p, seen = _onto(one[places], kind[:4], grid)
        q, also = _onto(other[places], kind[4:], grid)
        yield Common(places, p, q, 1 - np.minimum(seen, also))


def _spans(covers: Doubles, others: Doubles, shape: tuple[int, ...]) -> Doubles:
    """Return the common ground in a map's own cells, (N, 4): first and last row, then columns.

    Where there's no common ground, the last lies before the first.
    """
    found = []
    for (low, high), cells in zip(_AXES, shape, strict=True):
        size = covers[:, high] - covers[:, low]
        # What lies beyond 0 and 1 is padding, which is no part of the picture.
        start = np.maximum(covers[:, low], others[:, low]).clip(0, 1)
        stop = np.minimum(covers[:, high], others[:, high]).clip(0, 1)
        found += [(edge - covers[:, low]) / size * cells for edge in (start, stop)]
    return np.asarray(np.round(np.stack(found, axis=1), _DIGITS))


def _onto(maps: Doubles, span: Doubles, grid: tuple[int, ...]) -> tuple[Doubles, Doubles]:
    """Return maps (N, h, w) as shares on the common grid, and how much of their heat lies there."""
    top, bottom, left, right = span.tolist()
    if (top, left, bottom, right) == (0, 0, *grid) and maps.shape[1:] == grid:
        moved = maps  # both saw the same, on the same grid
    else:
        down = overlap(maps.shape[1], top, max(top, bottom), grid[0])
        across = overlap(maps.shape[2], left, max(left, right), grid[1])
        moved = down @ maps @ across.T
    there = moved.sum(axis=(1, 2))
    shares = moved / np.where(there > 0, there, 1)[:, None, None]
    return shares, np.asarray(there / maps.sum(axis=(1, 2)))
