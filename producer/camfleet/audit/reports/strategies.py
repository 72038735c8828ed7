"""Ways in which a class's maps look, found by k-means on a sample of them.

They're shown, not judged: a habit of fewer than one map in twenty gets no group of its own, and
maps that vary smoothly are cut somewhere. Groups whose mean maps are alike count as one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from camfleet.audit.distances import jensen_shannon
from camfleet.audit.hashes import Hashes
from camfleet.audit.heat import Doubles, Ints

MOST = 2000  # maps of a class in its sample
BUDGET = 2**23  # cells of all samples of a layer and grid, a byte each
_SPARE = 2**20  # cells that wait for a place in the samples
_GROUPS = 8  # at most
_FEWEST = 50  # maps for each group
_ALIKE = 0.05  # bits between mean maps; two versions of one network differ by about as much
_STEPS = 50  # of k-means, if it hasn't ended before
_LEVELS = 255


class Strategy(NamedTuple):
    """A group of a class's maps: its share of the sample, mean map (cells,), most typical row."""

    share: float
    mean: Doubles
    ref: int


class _Maps(NamedTuple):
    """N maps: `roots` (N, cells) are the square roots of heat over its maximum, in levels."""

    classes: Ints
    hashes: Hashes
    refs: Ints
    roots: NDArray[np.uint8]

    def take(self, places: Ints) -> "_Maps":
        return _Maps(
            self.classes[places], self.hashes[places], self.refs[places], self.roots[places]
        )


class MapSample:
    """For each class the maps with the smallest hashes, whatever the order in which they come.

    A class keeps `MOST` maps, or as many halvings of it as keep all classes within `BUDGET` cells.
    """

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._limit = MOST
        self._parts = [
            _Maps(
                np.zeros(0, np.int64),
                np.zeros(0, np.uint64),
                np.zeros(0, np.int64),
                np.zeros((0, cells), np.uint8),
            )
        ]
        self._waiting = 0  # maps beyond the first part
        self._below = np.zeros(0, np.uint64)  # what a further map's hash must be, for each class

    def add(self, classes: Ints, shares: Doubles, hashes: Hashes, refs: Ints) -> None:
        """Offer N maps, (N, h, w) shares of heat."""
        missing = int(classes.max()) + 1 - len(self._below)
        if missing > 0:
            most = np.full(missing, np.iinfo(np.uint64).max, np.uint64)
            self._below = np.concatenate([self._below, most])
        wanted = np.flatnonzero(hashes < self._below[classes])
        if not len(wanted):
            return
        heat = shares[wanted].reshape(len(wanted), -1)
        roots = np.sqrt(heat / heat.max(axis=1, keepdims=True))
        levels = np.rint(roots * _LEVELS).astype(np.uint8)
        self._parts.append(_Maps(classes[wanted], hashes[wanted], refs[wanted], levels))
        self._waiting += len(wanted)
        if self._waiting * self._cells > _SPARE:
            self._settle()

    def of(self, class_index: int) -> list[Strategy]:
        """Return a class's strategies, the most frequent first; none of few or uniform maps."""
        self._settle()
        (maps,) = self._parts
        first, last = np.searchsorted(maps.classes, [class_index, class_index + 1])
        own = maps.take(np.arange(first, last))
        groups = min(_GROUPS, len(own.refs) // _FEWEST)
        return _strategies(own, groups) if groups > 1 else []

    def _settle(self) -> None:
        """Keep of each class the maps with the smallest hashes, class by class."""
        if not self._waiting:
            return
        maps = _Maps(*(np.concatenate(column) for column in zip(*self._parts, strict=True)))
        maps = maps.take(np.lexsort((maps.refs, maps.hashes, maps.classes)))
        places = np.arange(len(maps.refs)) - np.searchsorted(maps.classes, maps.classes)
        while int((places < self._limit).sum()) * self._cells > BUDGET and self._limit > 1:
            self._limit //= 2
        last = places == self._limit - 1
        self._below[maps.classes[last]] = maps.hashes[last]
        kept = np.flatnonzero(places < self._limit)
        self._parts, self._waiting = [maps.take(kept)], 0


def _strategies(maps: _Maps, groups: int) -> list[Strategy]:
    points = maps.roots.astype(np.float64)
    # Roots of shares: the distance of two is Hellinger's, which small values don't drown in.
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels = _k_means(points, groups)
    means = {label: (points[labels == label] ** 2).mean(axis=0) for label in set(labels.tolist())}
    labels = _join_alike(labels, means)
    found = []
    for label in sorted(set(labels.tolist())):
        own = np.flatnonzero(labels == label)
        mean = (points[own] ** 2).mean(axis=0)
        typical = own[np.argmin(((points[own] - np.sqrt(mean)) ** 2).sum(axis=1))]
        found.append(Strategy(len(own) / len(labels), mean, int(maps.refs[typical])))
    if len(found) == 1:
        return []
    return sorted(found, key=lambda one: (-one.share, one.ref))


def _k_means(points: Doubles, groups: int) -> Ints:
    """Return a group for each point, by Lloyd's algorithm from k-means++ with a fixed seed."""
    rng = np.random.default_rng(0)
    centres = points[[rng.integers(len(points))]]
    for _ in range(1, groups):
        nearest = _distances(points, centres).min(axis=1)
        if not nearest.sum():
            break
        chosen = np.searchsorted(np.cumsum(nearest), rng.random() * nearest.sum())
        centres = np.concatenate([centres, points[[min(int(chosen), len(points) - 1)]]])
    labels = np.full(len(points), -1)
    for _ in range(_STEPS):
        found = _distances(points, centres).argmin(axis=1)
        if (found == labels).all():
            break
        labels = found
        for label in np.unique(labels):
            centres[label] = points[labels == label].mean(axis=0)
    return labels.astype(np.int64)


def _distances(points: Doubles, centres: Doubles) -> Doubles:
    """Return the squared distances of points from centres, (N, groups)."""
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.asarray(np.maximum(squares - 2 * points @ centres.T, 0))


def _join_alike(labels: Ints, means: dict[int, Doubles]) -> Ints:
    """Return labels in which groups with alike mean maps have become one, the closest first."""
    labels = labels.copy()
    sizes = {label: int((labels == label).sum()) for label in means}
    while len(means) > 1:
        order = sorted(means)
        pairs = [(one, other) for one in order for other in order if one < other]
        firsts, seconds = (
            np.stack([means[own] for own in side])[:, None] for side in zip(*pairs, strict=True)
        )
        apart = jensen_shannon(firsts, seconds)
        closest = int(np.argmin(apart))
        if apart[closest] >= _ALIKE:
            break
        one, other = pairs[closest]
        total = sizes[one] + sizes[other]
        means[one] = (sizes[one] * means[one] + sizes[other] * means.pop(other)) / total
        sizes[one] = total
        labels[labels == other] = one
    return labels
