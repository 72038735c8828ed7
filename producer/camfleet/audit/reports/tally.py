"""What the rows of one model, layer and grid say together: exact counts, whatever their order.

Sums are whole numbers (shares of heat in units of 2**-32), samples are those with the smallest
hashes: tallies of the same rows are the same, in however many parts they were read.
"""

from dataclasses import dataclass, field, fields
from typing import NamedTuple, Self

import numpy as np

from camfleet.audit.hashes import Hashes
from camfleet.audit.heat import Doubles, Flags, Ints, overlap

UNIT = 2.0**32
BINS = 256
SAMPLES = 8  # rows kept for each class and cell
FINEST = 16  # cells along an axis; finer grids are summed to at most as many

_NONE = np.uint64(2**64 - 1)


class Rows(NamedTuple):
    """Rows with heat, N of them.

    `classes` are indices, `shares` (N, h, w) sum to 1, `ranges` (N, 4) holds what `RANGES` names
    (NaN where there's none), `places` (N, 4) left, top, right and bottom of what the map covers as
    parts of the image (NaN too), `hashes` and `refs` say which rows they are, `right` whether the
    class is the row's label, and `first` whether it's the first row of its image.
    """

    classes: Ints
    shares: Doubles
    ranges: Doubles
    places: Doubles
    hashes: Hashes
    refs: Ints
    right: Flags
    first: Flags


RANGES = ("probability", "entropy", "border_share", "corner_share")


def coarse(size: int) -> int:
    """Return to how many cells `reduced` sums an axis of `size`."""
    step = -(-size // FINEST)
    return FINEST if size % step else size // step


def reduced(shares: Doubles) -> Doubles:
    """Return (N, h, w) shares summed to at most `FINEST` cells along each axis, by area."""
    for axis in (1, 2):
        size = shares.shape[axis]
        cells = coarse(size)
        if size % cells:
            shares = np.moveaxis(
                np.tensordot(overlap(size, 0, size, cells), shares, axes=(1, axis)), 0, axis
            )
        elif cells < size:
            shares = np.add.reduceat(shares, np.arange(0, size, size // cells), axis=axis)
    return np.asarray(shares)


@dataclass
class Tally:
    """Counts by class, of `classes` classes on a (height, width) grid.

    `sums` (classes, cells) are shares of heat in units, `peaks` counts of hottest cells, `right`
    those of rows whose class is their label, `firsts` those of the first row of each image,
    `ranges` (classes, 4, BINS) histograms from 0 to 1, `lows` and `highs` (classes, 4) the smallest
    and largest of their values, `places` (classes, 4) sums of the places in units of the `located`
    rows that have one, `samples` and `refs` (classes, cells, SAMPLES) the rows with the smallest
    hashes by the cell of their peak.
    """

    height: int
    width: int
    rows: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    sums: Ints = field(init=False)
    peaks: Ints = field(init=False)
    right: Ints = field(init=False)
    firsts: Ints = field(init=False)
    ranges: Ints = field(init=False)
    lows: Doubles = field(init=False)
    highs: Doubles = field(init=False)
    located: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    places: Ints = field(init=False)
    samples: Hashes = field(init=False)
    refs: Ints = field(init=False)

    def __post_init__(self) -> None:
        cells = self.height * self.width
        for name in ("sums", "peaks", "right", "firsts"):
            setattr(self, name, np.zeros((0, cells), np.int64))
        self.ranges = np.zeros((0, len(RANGES), BINS), np.int64)
        self.lows, self.highs = (np.zeros((0, len(RANGES))) for _ in range(2))
        self.places = np.zeros((0, 4), np.int64)
        self.samples = np.zeros((0, cells, SAMPLES), np.uint64)
        self.refs = np.zeros((0, cells, SAMPLES), np.int64)

    @property
    def classes(self) -> int:
        return len(self.rows)

    def add(self, given: Rows) -> None:
        """Count rows, whose shares are on this grid."""
        self.grow(int(given.classes.max()) + 1)
        flat = given.shares.reshape(len(given.classes), -1)
        peaks = flat.argmax(axis=1)
        located = np.asarray(np.isfinite(given.places).all(axis=1))
        by_class = _ByClass(given.classes)
        by_class.add(self.sums, np.rint(flat * UNIT).astype(np.int64))
        by_class.add(self.located, np.asarray(located, np.int64))
        places = np.where(located[:, None], given.places, 0)
        by_class.add(self.places, np.rint(places * UNIT).astype(np.int64))
        by_class.extend(self.lows, given.ranges, np.fmin)
        by_class.extend(self.highs, given.ranges, np.fmax)
        self.rows += np.bincount(given.classes, minlength=self.classes)
        np.add.at(self.peaks, (given.classes, peaks), 1)
        for counts, which in ((self.right, given.right), (self.firsts, given.first)):
            np.add.at(counts, (given.classes[which], peaks[which]), 1)
        for number in range(len(RANGES)):
            values = given.ranges[:, number]
            known = np.isfinite(values)
            bins = np.clip((values[known] * BINS).astype(np.int64), 0, BINS - 1)
            np.add.at(self.ranges[:, number], (given.classes[known], bins), 1)
        self._sample(given.classes * flat.shape[1] + peaks, given.hashes, given.refs)

    def merge(self, other: Self) -> None:
        """Add another tally of the same grid."""
        self.grow(other.classes)
        for name in ("rows", "sums", "peaks", "right", "firsts", "ranges", "located", "places"):
            getattr(self, name)[: other.classes] += getattr(other, name)
        for name, closer in (("lows", np.fmin), ("highs", np.fmax)):
            own = getattr(self, name)[: other.classes]
            closer(own, getattr(other, name), out=own)
        there = np.flatnonzero(other.samples.ravel() != _NONE)
        self._sample(there // SAMPLES, other.samples.ravel()[there], other.refs.ravel()[there])

    def drawn(self, class_index: int, cell: int | None = None, count: int = SAMPLES) -> list[int]:
        """Return the refs of a class's rows with the smallest hashes, also of one cell's alone."""
        own = self.samples[class_index], self.refs[class_index]
        hashes, refs = (part.ravel() if cell is None else part[cell] for part in own)
        order = np.lexsort((refs, hashes))[:count]
        return [int(refs[place]) for place in order if hashes[place] != _NONE]

    def grow(self, classes: int) -> None:
        """Make room for so many classes."""
        more = classes - self.classes
        if more <= 0:
            return
        for one in fields(self):
            array = getattr(self, one.name)
            if isinstance(array, np.ndarray):
                fill = {"samples": _NONE, "lows": np.nan, "highs": np.nan}.get(one.name, 0)
                added = np.full((more, *array.shape[1:]), fill, array.dtype)
                setattr(self, one.name, np.concatenate([array, added]))

    def _sample(self, keys: Ints, hashes: Hashes, refs: Ints) -> None:
        """Keep those with the smallest hashes of each key, a class's cell."""
        samples, kept = (part.reshape(-1, SAMPLES) for part in (self.samples, self.refs))
        wanted = hashes < samples[keys, -1]
        keys, hashes, refs = keys[wanted], hashes[wanted], refs[wanted]
        touched = np.unique(keys)
        keys = np.concatenate([keys, np.repeat(touched, SAMPLES)])
        hashes = np.concatenate([hashes, samples[touched].ravel()])
        refs = np.concatenate([refs, kept[touched].ravel()])
        order = np.lexsort((refs, hashes, keys))
        keys, hashes, refs = keys[order], hashes[order], refs[order]
        places = np.arange(len(keys)) - np.searchsorted(keys, keys)
        first = places < SAMPLES
        samples[keys[first], places[first]] = hashes[first]
        kept[keys[first], places[first]] = refs[first]


class _ByClass:
    """Rows sorted by their classes, to reduce values of theirs."""

    def __init__(self, classes: Ints) -> None:
        self._order = np.argsort(classes, kind="stable")
        self._own, self._starts = np.unique(classes[self._order], return_index=True)

    def add(self, sums: Ints, values: Ints) -> None:
        """Add rows of values to their classes' sums."""
        sums[self._own] += np.add.reduceat(values[self._order], self._starts, axis=0)

    def extend(self, bounds: Doubles, values: Doubles, closer: np.ufunc) -> None:
        """Let classes' bounds take in rows of values, those that are numbers."""
        found = closer.reduceat(values[self._order], self._starts, axis=0)
        bounds[self._own] = closer(bounds[self._own], found)


def quantile(histogram: Ints, share: float, low: float = 0.0, high: float = 1.0) -> float | None:
    """Return a quantile of a histogram from 0 to 1, to within half a bin; None of nothing.

    It's between the smallest and the largest of the values, where they are given.
    """
    total = int(histogram.sum())
    if not total:
        return None
    place = int(np.searchsorted(np.cumsum(histogram), share * total))
    middle = (min(place, len(histogram) - 1) + 0.5) / len(histogram)
    return float(min(max(middle, low), high))
