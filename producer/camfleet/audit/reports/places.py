"""Cells in which heat peaks more often than a picture's content would explain.

The limits were tried on maps of real photographs into which marks had been planted; they're
starting values, and a flagged cell is a place to look at, not a verdict.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from camfleet.audit.heat import Doubles, Flags, Ints
from camfleet.audit.reports.tally import Tally

LEAST = 5  # peaks in a cell
FEWEST = 20  # maps of a class, or of all of them: fewer show what's in the photographs, no habit
_NEIGHBOURS = 2.0  # times each neighbour's
_LIFT = 3.0
_DEVIATIONS = 3.0
_CHANCE = 0.05  # of any false flag in a report, were peaks spread by chance as around the cell
_CERTAIN = 200  # peaks, five times those expected: no chance is left
_RING = 5.0  # times the median, and the mean, of cells as far from the edge
_OFTEN = 0.02  # of all maps
_LEAST_RING = 4  # cells of a ring that has a median
_NONE: Mapping[int, Sequence["Place"]] = MappingProxyType({})


class Place(NamedTuple):
    """A flagged cell: `peaks` of `total` lie there.

    `lift` is how many times more than in the other classes; of a cell of all classes, more than in
    the cells as far from the edge.
    """

    row: int
    column: int
    peaks: int
    total: int
    lift: float


def lifts(tally: Tally) -> Doubles:
    """Return how many times more often a class peaks in a cell than others do, (classes, cells).

    Smoothed as if the others peaked once more in every cell.
    """
    totals = tally.peaks.sum(axis=1, keepdims=True)
    others = tally.peaks.sum(axis=0) - tally.peaks
    cells = tally.peaks.shape[1]
    rest = (others + 1) / (others.sum(axis=1, keepdims=True) + cells)
    return np.asarray(tally.peaks / np.maximum(totals, 1) / rest)


def detached(tally: Tally) -> dict[int, list[Place]]:
    """Return each class's detached cells, those with the highest lift first.

    A class peaks there far more often than in any cell beside it, and than other classes do: what
    a tag, a watermark or a scale bar in a fixed place looks like.
    """
    counts = tally.peaks.reshape(-1, tally.height, tally.width)
    lift = lifts(tally).reshape(counts.shape)
    most, mean = _around(counts)
    flagged = (
        (counts >= LEAST)
        & (counts.sum(axis=(1, 2), keepdims=True) >= FEWEST)
        & (counts > _NEIGHBOURS * most)
        & (lift >= _LIFT)
        & ((counts - mean) / np.sqrt(mean + 1) >= _DEVIATIONS)
    )
    totals = counts.sum(axis=(1, 2))
    found: dict[int, list[Place]] = {}
    tried = int((totals >= FEWEST).sum()) * tally.height * tally.width
    for index, row, column in np.argwhere(flagged).tolist():
        # As many as beside it, or as in other classes: a class may look where all do.
        share = counts[index, row, column] / totals[index] / lift[index, row, column]
        usual = max(float(mean[index, row, column]), float(share * totals[index]))
        if _at_least(int(counts[index, row, column]), usual) * tried > _CHANCE:
            continue
        place = Place(
            row,
            column,
            int(counts[index, row, column]),
            int(totals[index]),
            float(lift[index, row, column]),
        )
        found.setdefault(index, []).append(place)
    return {index: sorted(own, key=lambda place: -place.lift) for index, own in found.items()}


def common(tally: Tally, detached: Mapping[int, Sequence[Place]] = _NONE) -> list[Place]:
    """Return the cells in which all classes together peak far more often than in their ring.

    A ring are the cells as far from the grid's edge. Padding, borders and banners look like that.
    What classes with that cell among their `detached` ones bring about is no habit of all. Of each
    image its first row counts: maps of one image for several classes are alike.
    """
    counts = tally.firsts.sum(axis=0).reshape(tally.height, tally.width)
    total, found = int(counts.sum()), list[Place]()
    own = np.zeros_like(counts)
    for index, places in detached.items():
        for row, column, *_ in places:
            own[row, column] += tally.firsts[index, row * tally.width + column]
    if total < FEWEST:
        return found
    for ring in _rings(tally.height, tally.width):
        if ring.sum() < _LEAST_RING:
            continue
        others = (counts[ring].sum() - counts) / (ring.sum() - 1)
        usual = np.maximum(np.maximum(others, np.median(counts[ring])), 1.0)
        often = counts >= max(LEAST, _OFTEN * total)
        for row, column in np.argwhere(ring & often & (counts > _RING * usual)).tolist():
            peaks, expected = int(counts[row, column]), float(usual[row, column])
            by_chance = _at_least(peaks, expected) * counts.size > _CHANCE
            if not by_chance and 2 * own[row, column] < peaks:
                found.append(Place(row, column, peaks, total, peaks / expected))
    return sorted(found, key=lambda place: -place.lift)


def _at_least(count: int, usual: float) -> float:
    """Return the chance of so many peaks or more where `usual` are expected, by Poisson."""
    if count > _CERTAIN and count > _RING * usual:
        return 0.0
    fewer = sum(math.exp(n * math.log(usual) - usual - math.lgamma(n + 1)) for n in range(count))
    return max(0.0, 1 - fewer) if usual else 0.0


def _around(counts: Ints) -> tuple[Ints, Doubles]:
    """Return the largest and the mean count of each cell's neighbours, up to 8 of them."""
    _, height, width = counts.shape
    padded = np.pad(counts, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    beside = [
        padded[:, 1 + down : 1 + down + height, 1 + across : 1 + across + width]
        for down in (-1, 0, 1)
        for across in (-1, 0, 1)
        if down or across
    ]
    stacked = np.stack(beside)
    there = stacked >= 0
    number = np.maximum(there.sum(axis=0), 1)
    return stacked.max(axis=0).clip(0), np.where(there, stacked, 0).sum(axis=0) / number


def _rings(height: int, width: int) -> Iterator[Flags]:
    rows, columns = np.indices((height, width))
    depth = np.minimum.reduce([rows, columns, height - 1 - rows, width - 1 - columns])
    for number in range(int(depth.max()) + 1):
        yield depth == number
