"""What the rows of one model, layer and grid say together: exact counts, whatever their order.

Sums are whole numbers (shares of heat in units of 2**-32), samples are those with the smallest
hashes: tallies of the same rows are the same, in however many parts they were read.
"""

from collections.abc import Sequence
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
        keys = given.classes * flat.shape[1] + peaks
        _count(self.peaks, keys)
        _count(self.right, keys[given.right])
        _count(self.firsts, keys[given.first])
        for number, values in enumerate(given.ranges.T):
            known = np.isfinite(values)
            bins = np.clip((values[known] * BINS).astype(np.int64), 0, BINS - 1)
            _count(self.ranges, (given.classes[known] * len(RANGES) + number) * BINS + bins)
        self._sample(keys, given.hashes, given.refs)

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
        wanted = np.flatnonzero(hashes < self.samples.reshape(-1, SAMPLES)[keys, -1])
        order = wanted[np.lexsort((refs[wanted], hashes[wanted], keys[wanted]))]
        keys, hashes, refs = keys[order], hashes[order], refs[order]
        before = np.arange(len(keys)) - np.searchsorted(keys, keys)  # of the same key
        for number in range(min(SAMPLES, int(before.max(initial=-1)) + 1)):
            which = before == number
            self._insert(keys[which], hashes[which], refs[which])

    def _insert(self, keys: Ints, hashes: Hashes, refs: Ints) -> None:
        """Insert one row into the samples of each of these keys, which differ."""
        columns = np.arange(SAMPLES)
        samples, kept = (part.reshape(-1, SAMPLES) for part in (self.samples, self.refs))
        own, other = samples[keys], kept[keys]
        hashes, refs = hashes[:, None], refs[:, None]
        is_before = (own < hashes) | ((own == hashes) & (other <= refs))
        place = is_before.sum(axis=1, keepdims=True)
        for array, old, new in ((samples, own, hashes), (kept, other, refs)):
            moved = np.concatenate([new, old[:, :-1]], axis=1)
            array[keys] = np.where(columns < place, old, np.where(columns == place, new, moved))


def _count(counts: Ints, places: Ints) -> None:
    """Add 1 at each of these places, also where one comes again."""
    np.add.at(counts.reshape(-1), places, 1)


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
    (found,) = quantiles(histogram, (share,), low, high) or (None,)
    return found


def quantiles(
    histogram: Ints, shares: Sequence[float], low: float = 0.0, high: float = 1.0
) -> list[float]:
    """Return several quantiles as `quantile` does, none of nothing."""
    summed = histogram.cumsum()
    total = int(summed[-1])
    if not total:
        return []
    last = len(histogram) - 1
    places = summed.searchsorted([share * total for share in shares]).tolist()
    middles = [(min(place, last) + 0.5) / len(histogram) for place in places]
    return [min(max(middle, low), high) for middle in middles]
