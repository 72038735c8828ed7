"""How far maps of different images lie apart: pairs of each class, paired wrongly."""

from bisect import bisect_left
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from camfleet.audit import distances
from camfleet.audit.hashes import Hashes, hashes
from camfleet.audit.heat import Doubles, Ints

_SAMPLES = 32  # pairs of a class
_PAIRS = 1024  # of all classes, where these are few: then there are more of each
_CLASSES = 512  # that are sampled: what's kept is bounded, however many there are
Floats: TypeAlias = NDArray[np.float32]
_NOTHING, _ALL = np.uint64(0), np.uint64(2**64 - 1)


class _Sample(NamedTuple):
    mark: int
    group: int
    image: str
    p: Floats
    q: Floats


class Ceiling:
    """Keeps the pairs with the smallest hashes of some classes: the same whatever the order."""

    def __init__(self) -> None:
        self._samples: dict[int, list[_Sample]] = {}
        self._marks: dict[int, int] = {}  # of the classes that are sampled
        self._limits = np.zeros(0, np.uint64)  # by class: what's above it isn't kept

    def name(self, names: dict[str, int]) -> None:
        """Learn the numbers of classes, those that were known before first."""
        new = list(names)[len(self._limits) :]
        self._limits = np.concatenate([self._limits, np.full(len(new), _NOTHING)])
        for name, mark in zip(new, hashes(new).tolist(), strict=True):
            self._marks[names[name]] = mark
            self._limits[names[name]] = _ALL
            if len(self._marks) > _CLASSES:
                dropped = max(self._marks, key=lambda number: self._marks[number])
                self._limits[dropped] = _NOTHING
                del self._marks[dropped]
                self._samples.pop(dropped, None)

    def offer(
        self,
        classes: Ints,
        marks: Hashes,
        groups: Hashes,
        images: list[str],
        p: Doubles,
        q: Doubles,
    ) -> None:
        """Keep what is to be kept of N pairs with their maps, (N, h, w) each."""
        most = self._each
        for place in np.flatnonzero(marks < self._limits[classes]).tolist():
            number, mark = int(classes[place]), int(marks[place])
            own = self._samples.setdefault(number, [])
            at = bisect_left(own, (mark,))
            if at < len(own) and own[at].mark == mark:
                continue  # an image that comes twice
            if at < most:
                maps = (one[place].astype(np.float32) for one in (p, q))
                own.insert(at, _Sample(mark, int(groups[place]), images[place], *maps))
            del own[most:]
            if len(own) == most:
                self._limits[number] = own[-1].mark

    @property
    def _each(self) -> int:
        """Return how many pairs of each class are kept: it shrinks as classes are met."""
        return max(_SAMPLES, _PAIRS // max(len(self._marks), 1))

    def distances(self) -> tuple[Doubles, Ints]:
        """Return distances of maps of different images of the same class, (N, 2): both ways.

        With them comes the number of the first image's group, (N,).
        """
        wrong: dict[tuple[int, ...], list[tuple[Floats, ...]]] = {}
        groups: dict[tuple[int, ...], list[int]] = {}
        for number in sorted(self._samples, key=lambda number: self._marks[number]):
            samples = self._samples[number][: self._each]
            for one, other in zip(samples, samples[1:] + samples[:1], strict=True):
                if one.image != other.image and one.p.shape == other.q.shape:
                    maps = one.p, other.q, other.p, one.q
                    wrong.setdefault(one.p.shape, []).append(maps)
                    groups.setdefault(one.p.shape, []).append(one.group)
        stacked = (np.array(pairs, float) for pairs in wrong.values())
        apart = [
            [distances.jensen_shannon(pairs[:, at], pairs[:, at + 1]) for at in (0, 2)]
            for pairs in stacked
        ]
        firsts = np.array([group for own in groups.values() for group in own], np.uint64)
        _, numbers = np.unique(firsts, return_inverse=True)
        both = np.concatenate([np.zeros((2, 0)), *apart], axis=1).T
        return both, np.asarray(numbers.ravel(), np.int64)
