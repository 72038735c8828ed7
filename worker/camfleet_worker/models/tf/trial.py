"""Whether a grid really stands as it's said to: patches are put on an image, and the maps watched.

`places` follows the picture through a graph by kinds of operations; this is the proof by trial. A
patch must change the maps most where its place is, rather than where it would be in a flipped or
transposed grid. Where kinds of operations are unknown, it must also do so to within a cell.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from camfleet_worker.arrays import Array, Doubles
from camfleet_worker.models.placement import Placement

# Of the part of the image that the grid covers; no two are alike when it's turned or mirrored.
_SPOTS = ((0.2, 0.36), (0.34, 0.8), (0.66, 0.16), (0.84, 0.62), (0.52, 0.45), (0.12, 0.88))
_OTHERS = 6  # images, where one seems to contradict
_PATCH = 0.2  # of the covered part's sides
_WELL_INSIDE = 0.75  # of half a patch
_SIDEWAYS = 4  # of them: those far from the grid's middle
_MARGIN = 0.02  # by which another orientation may look better, as noise does
_CONTRADICTION = 0.25  # the same where all kinds of operations are known
_CHANGED = 0.1  # of the greatest change: what's more belongs to the patch
_CLEAR = 0.004  # of the grid, a tenth of a patch: a change of less may be chance
_CONFINED = 0.25  # of the grid: a change of more of it has no place
_UNSEEN = 1e-3  # of the greatest change
_ENOUGH = 3  # changes to tell where a grid lies
_SMALL = 3  # cells along an axis: too few to tell by
_OFF = 1.5  # cells: places behind unknown operations may seem so far off at the grid's ends


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


def others(image: Array) -> Iterator[Array]:
    """Yield more images to try, of the same values as an (H, W, C) one: shuffled, and inverted."""
    rng = np.random.default_rng(0)
    for place in range(_OTHERS):
        own = rng.permutation(image.reshape(-1, image.shape[-1])).reshape(image.shape)
        yield own if place % 2 else image.min() + image.max() - own


def stands_as_said(maps: Array, centres: Doubles, placement: Placement) -> bool:
    """Return whether feature maps (1 + N, h, w, K) of `patched` images fit their placement.

    True also where nothing speaks against it: the maps don't change, or the grid is too small.
    """
    changes = [
        placement.upright(np.sqrt(np.square(own.astype(np.float64) - maps[0]).mean(axis=-1)))
        for own in maps[1:]
    ]
    if min(changes[0].shape) <= _SMALL or not all(np.isfinite(found).all() for found in changes):
        return True
    said, *others = (
        _score(changes[:_SIDEWAYS], cells[:_SIDEWAYS])
        for cells in _orientations(centres, placement, changes[0].shape)
    )
    if said < max(others) - (_MARGIN if placement.assumed else _CONTRADICTION):
        return False
    return not placement.assumed or _lies_as_said(changes, centres, placement)


def _lies_as_said(changes: list[Any], centres: Doubles, placement: Placement) -> bool:
    """Return whether the middles of changes lie where the patches do, over the whole grid.

    True where the changes aren't confined to places, or the grid is too small to tell.
    """
    last = np.array(changes[0].shape, np.float64) - 1
    peaks = [float(change.max()) for change in changes]
    expected, found = [], []
    for change, shares in zip(changes, _shares(centres, placement), strict=True):
        changed = np.argwhere(change > _CHANGED * change.max())
        if _CLEAR * change.size <= len(changed) <= _CONFINED * change.size:
            expected.append(shares * last)
            found.append(changed.mean(axis=0))
    if min(peaks) < _UNSEEN * max(peaks):
        return False  # some patches aren't seen at all
    if len(found) < _ENOUGH:
        return True
    for axis in (0, 1):
        said = np.array(expected)[:, axis]
        if last[axis] >= _SMALL and np.ptp(said) > 1:
            line = np.polyfit(said, np.array(found)[:, axis], 1)
            ends = np.array([0, last[axis]])
            if float(np.abs(np.polyval(line, ends) - ends).max()) > _OFF:
                return False
    return True


def _inside(extent: tuple[float, float], size: int) -> tuple[float, float]:
    return max(0.0, extent[0]), min(float(size), extent[1])


def _orientations(
    centres: Doubles, placement: Placement, shape: tuple[int, ...]
) -> Iterator[Doubles]:
    """Yield the patches' cells in a grid as it's said to stand, then as it might stand instead."""
    last = np.array([shape[0] - 1, shape[1] - 1], np.float64)
    shares = _shares(centres, placement)
    turned = shares[:, ::-1]
    for own in (shares, turned):
        for rows_flip in (False, True):
            for columns_flip in (False, True):
                flips = np.array([rows_flip, columns_flip])
                yield np.where(flips, 1 - own, own) * last


def _shares(centres: Doubles, placement: Placement) -> Doubles:
    """Return how far along the grid's rows and columns places lie, 0 to 1."""
    axes = (placement.rows, placement.columns)
    found = [_share(axis, centres[:, place]) for place, axis in enumerate(axes)]
    return np.stack(found, axis=1)


def _share(axis: Any, places: Doubles) -> Doubles:
    """Return where places lie between the first cell (0) and the last one (1) of an axis."""
    if not axis.step or axis.count == 1:
        return np.full(len(places), 0.5)
    shares: Doubles = np.clip((places - axis.lowest) / (abs(axis.step) * (axis.count - 1)), 0, 1)
    return shares


def _score(changes: list[Any], cells: Doubles) -> float:
    """Return how much of the greatest changes lies around these cells, 0 to 1 on average."""
    found = []
    for change, cell in zip(changes, cells, strict=True):
        peak = float(change.max())
        if peak > 0:
            rows, columns = map(_around, cell, change.shape)
            found.append(float(change[rows, columns].mean()) / peak)
    return float(np.mean(found)) if found else 0.0


def _around(place: float, size: int) -> slice:
    """Return the cells of an axis that lie well inside a patch with its middle at `place`."""
    reach = int(_PATCH / 2 * _WELL_INSIDE * size)
    return slice(max(0, round(place) - reach), round(place) + reach + 1)
