"""Whether a grid really stands as it's said to: patches are put on an image, and the maps watched.

`places` follows the picture through a graph by kinds of operations; this is the proof by trial. A
patch must change the maps most where its place is, rather than where it would be in a flipped or
transposed grid.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from camfleet_worker.arrays import Array, Doubles
from camfleet_worker.models.placement import Placement

# Of the part of the image that the grid covers; no two are alike when it's turned or mirrored.
_SPOTS = ((0.2, 0.36), (0.34, 0.8), (0.66, 0.16), (0.84, 0.62))
_PATCH = 0.2  # of the covered part's sides
_MARGIN = 0.02  # by which another orientation may look better, as noise does


def patched(image: Array, placement: Placement) -> tuple[Array, Doubles]:
    """Return copies of an (H, W, C) image, a patch on each, and the patches' centres.

    The first copy has none. Centres are (row, column) in pixels.
    """
    height, width = image.shape[:2]
    top, bottom = _inside(placement.rows.extent(height), height)
    left, right = _inside(placement.columns.extent(width), width)
    size = max(1, round(_PATCH * (bottom - top))), max(1, round(_PATCH * (right - left)))
    copies, centres = [image], []
    for down, across in _SPOTS:
        row = int(np.clip(top + down * (bottom - top) - size[0] / 2, 0, height - size[0]))
        column = int(np.clip(left + across * (right - left) - size[1] / 2, 0, width - size[1]))
        copy = image.copy()
        spot = copy[row : row + size[0], column : column + size[1]]
        spot[...] = np.where(spot > np.median(image), image.min(), image.max())
        copies.append(copy)
        centres.append((row + size[0] / 2, column + size[1] / 2))
    return np.stack(copies), np.array(centres)


def stands_as_said(maps: Array, centres: Doubles, placement: Placement) -> bool:
    """Return whether feature maps (1 + N, h, w, K) of `patched` images fit their placement.

    True also where nothing speaks against it: the maps don't change, or the grid is too small.
    """
    changes = [
        placement.upright(np.sqrt(np.square(own.astype(np.float64) - maps[0]).mean(axis=-1)))
        for own in maps[1:]
    ]
    if not all(np.isfinite(change).all() for change in changes):
        return True
    said, *others = (
        _score(changes, cells) for cells in _orientations(centres, placement, changes[0].shape)
    )
    return said >= max(others) - _MARGIN


def _inside(extent: tuple[float, float], size: int) -> tuple[float, float]:
    return max(0.0, extent[0]), min(float(size), extent[1])


def _orientations(
    centres: Doubles, placement: Placement, shape: tuple[int, ...]
) -> Iterator[Doubles]:
    """Yield the patches' cells in a grid as it's said to stand, then as it might stand instead."""
    last = np.array([shape[0] - 1, shape[1] - 1], np.float64)
    shares = np.stack(
        [_share(axis, centres[:, place]) for place, axis in enumerate(_axes(placement))], axis=1
    )
    turned = shares[:, ::-1]
    for own in (shares, turned):
        for rows_flip in (False, True):
            for columns_flip in (False, True):
                flips = np.array([rows_flip, columns_flip])
                yield np.where(flips, 1 - own, own) * last


def _axes(placement: Placement) -> tuple[Any, Any]:
    return placement.rows, placement.columns


def _share(axis: Any, places: Doubles) -> Doubles:
    """Return where places lie between the first cell (0) and the last one (1) of an axis."""
    if not axis.step or axis.count == 1:
        return np.full(len(places), 0.5)
    low = min(axis.start, axis.start + axis.step * (axis.count - 1))
    shares: Doubles = np.clip((places - low) / (abs(axis.step) * (axis.count - 1)), 0, 1)
    return shares


def _score(changes: list[Any], cells: Doubles) -> float:
    """Return how much of the greatest changes lies at these cells, 0 to 1 on average."""
    found = []
    for change, (row, column) in zip(changes, cells, strict=True):
        peak = float(change.max())
        if peak > 0:
            found.append(float(change[round(row), round(column)]) / peak)
    return float(np.mean(found)) if found else 0.0
