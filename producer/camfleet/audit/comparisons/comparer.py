"""Compare the maps of two models, pair by pair: distances, and what became of the rest."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from camfleet.audit import distances, heat
from camfleet.audit.comparisons.common_ground import Common, resample
from camfleet.audit.comparisons.pairing import Counts, Pairs, count_alone, pair
from camfleet.audit.comparisons.sides import KEY, REF
from camfleet.audit.heat import Doubles, Flags, Ints
from camfleet.audit.reports.collect import Worst
from camfleet.audit.reports.tally import Hashes, hashes

COLUMNS = (
    *("image_uri", "image_etag", "status", "target", "rank", "class_index", "class_name"),
    *("probability", "geometry", "label", "group", *heat.COLUMNS),
)
_MOST_UNSEEN = 0.5  # of a map's heat: pairs with more aren't compared
_SAMPLES = 32  # pairs of a class that are also paired wrongly
MEASURES = ("distance", "similarity", "centre", "transport", "entropy", "probability", "unseen")

PAIRS = pa.schema(
    [
        *((name, pa.string()) for name in ("image_uri", "class_name", "outcome")),
        *((name, pa.float64()) for name in MEASURES),
    ]
)


class _Sample(NamedTuple):
    """A pair's maps, kept to be paired wrongly."""

    mark: int
    image: str
    p: Doubles
    q: Doubles


class Comparer:
    """Compares tables of rows that hold the same images, in whatever order they come."""

    def __init__(self, *, by_name: bool) -> None:
        self.counts = Counts()
        self.outcomes: Counter[str] = Counter()  # of pairs: compared, evidence lost, ...
        self.worst = Worst()  # the pairs that moved most, by the rows of the first side
        self.partners: dict[int, int] = {}  # their rows of the other side
        self.groups: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self._by_name = by_name
        self._has_groups = False
        self._values: list[Doubles] = []  # (N, 7) of compared pairs
        self._classes: list[Ints] = []
        self._groups: list[Ints] = []
        self._samples: dict[int, list[_Sample]] = {}

    def alone(self, one: pa.Table | None, other: pa.Table | None) -> None:
        """Count images that one side alone has."""
        count_alone(self.counts, one, other)

    def compare(self, one: pa.Table, other: pa.Table) -> pa.Table:
        """Compare the rows of the same images; return what came of each pair, as `PAIRS`."""
        one, other = one.combine_chunks(), other.combine_chunks()
        pairs = pair(self.counts, one, other, by_name=self._by_name)
        own, others = one.take(pairs.one), other.take(pairs.other)
        values = np.full((len(pairs.classes), len(MEASURES)), np.nan)
        values[:, 5] = heat.numbers(others["probability"]) - heat.numbers(own["probability"])
        found = [list(heat.heats(table)) for table in (own, others)]
        outcomes = _outcomes(len(pairs.classes), *found)
        classes = _numbers(self.names, pairs.classes)
        images = own[KEY].to_pylist()
        marks = hashes([f"{key}\n{name}" for key, name in zip(images, pairs.classes, strict=True)])
        for places, common in _common(own, others, *found):
            at = places[common.places]
            values[at, 6] = common.unseen
            seen = common.unseen <= _MOST_UNSEEN
            outcomes[at[~seen]] = "unseen"
            at, p, q = at[seen], common.p[seen], common.q[seen]
            values[at, :5] = _measures(p, q)
            self._keep(classes[at], marks[at], [images[place] for place in at.tolist()], p, q)
        compared = outcomes == "compared"
        self.outcomes.update(outcomes.tolist())
        self._values.append(values[compared].astype(np.float32))
        self._classes.append(classes[compared].astype(np.int32))
        self._group(own, images, compared)
        self._rank(own, others, values[:, 0], marks, compared)
        return _table(own, pairs, outcomes, values)

    def values(self) -> dict[str, Doubles]:
        """Return what was measured of all pairs that could be compared, (N,) each."""
        found = np.concatenate([np.zeros((0, len(MEASURES)), np.float32), *self._values])
        return {name: found[:, place].astype(float) for place, name in enumerate(MEASURES)}

    def classes(self) -> Ints:
        return np.concatenate([np.zeros(0, np.int32), *self._classes]).astype(np.int64)

    def group_numbers(self) -> Ints | None:
        """Return the number of each pair's group, by their names; None where there are no groups.

        An image without a group is one of its own.
        """
        if not self._has_groups or len(self.groups) < 2:
            return None
        ranks = np.argsort(np.argsort(np.array(list(self.groups))))
        return np.asarray(ranks[np.concatenate(self._groups)], np.int64)

    def _group(self, own: pa.Table, images: list[str], compared: Flags) -> None:
        """Note which group each compared pair belongs to."""
        names = own["group"].to_pylist()
        chosen = np.flatnonzero(compared).tolist()
        self._has_groups |= any(names[place] is not None for place in chosen)
        found = [
            f"image {images[place]}" if names[place] is None else f"group {names[place]}"
            for place in chosen
        ]
        self._groups.append(_numbers(self.groups, found).astype(np.int32))

    def ceiling(self) -> Doubles:
        """Return distances of maps of different images of the same class, both ways."""
        found = []
        for samples in self._samples.values():
            for one, other in zip(samples, samples[1:] + samples[:1], strict=True):
                if one.image != other.image and one.p.shape == other.q.shape:
                    found.append(distances.jensen_shannon(one.p[None], other.q[None]))
                    found.append(distances.jensen_shannon(other.p[None], one.q[None]))
        return np.concatenate([np.zeros(0), *found])

    def _keep(
        self, classes: Ints, marks: Hashes, images: list[str], p: Doubles, q: Doubles
    ) -> None:
        """Keep the pairs with the smallest hashes of each class."""
        for place, number in enumerate(classes.tolist()):
            own = self._samples.setdefault(number, [])
            mark = int(marks[place])
            if len(own) < _SAMPLES or mark < own[-1].mark:
                own.append(_Sample(mark, images[place], p[place].copy(), q[place].copy()))
                own.sort(key=lambda sample: sample.mark)
                del own[_SAMPLES:]

    def _rank(
        self, own: pa.Table, others: pa.Table, moved: Doubles, marks: Hashes, compared: Flags
    ) -> None:
        refs = own[REF].to_numpy()[compared]
        self.partners |= dict(zip(refs.tolist(), others[REF].to_numpy()[compared], strict=True))
        self.worst.add(moved[compared], marks[compared], refs)
        kept = set(self.worst.refs.tolist())
        self.partners = {ref: int(also) for ref, also in self.partners.items() if ref in kept}


def _common(
    own: pa.Table, others: pa.Table, heats: list[heat.Heats], other_heats: list[heat.Heats]
) -> Iterator[tuple[Ints, Common]]:
    """Yield pairs that both have heat on their common ground, with their places."""
    covers, other_covers = (heat.covers(table["geometry"]) for table in (own, others))
    for one in heats:
        for other in other_heats:
            places, at, also = np.intersect1d(one.rows, other.rows, return_indices=True)
            if len(places):
                given = one.heat[at], covers[places], other.heat[also], other_covers[places]
                for common in resample(*given):
                    yield places, common


def _measures(p: Doubles, q: Doubles) -> Doubles:
    """Return distance, similarity, both moves, and by how much entropy grew, (N, 5)."""
    return np.stack(
        [
            distances.jensen_shannon(p, q),
            distances.similarity(p, q),
            distances.centre_distance(p, q),
            distances.transport_distance(p, q),
            heat.entropy(q) - heat.entropy(p),
        ],
        axis=1,
    )


def _outcomes(count: int, heats: list[heat.Heats], other_heats: list[heat.Heats]) -> Any:
    """Return what can come of each pair, (N,): whether there is heat on both sides."""
    there = []
    for found in (heats, other_heats):
        warm = np.zeros(count, int)
        for one in found:
            warm[one.rows] = 1
        there.append(warm)
    words = np.array(["no evidence", "evidence gained", "evidence lost", "compared"], object)
    return words[2 * there[0] + there[1]]


def _numbers(known: dict[str, int], names: list[str]) -> Ints:
    return np.array([known.setdefault(name, len(known)) for name in names], np.int64)


def _table(own: pa.Table, pairs: Pairs, outcomes: Any, values: Doubles) -> pa.Table:
    measured = {name: pa.array(values[:, at], from_pandas=True) for at, name in enumerate(MEASURES)}
    return pa.table(
        {
            "image_uri": own["image_uri"],
            "class_name": pa.array(pairs.classes, pa.string()),
            "outcome": pa.array(outcomes.tolist(), pa.string()),
            **measured,
        },
        schema=PAIRS,
    )
