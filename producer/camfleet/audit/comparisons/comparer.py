"""Compare the maps of two models, pair by pair: distances, and what became of the rest."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from camfleet.audit import distances, heat
from camfleet.audit.comparisons.ceiling import Ceiling
from camfleet.audit.comparisons.common_ground import Common, resample
from camfleet.audit.comparisons.measured import MEASURES, Measured
from camfleet.audit.comparisons.new_places import code
from camfleet.audit.comparisons.pairing import Counts, Pairs, Turns, count_alone, pair
from camfleet.audit.comparisons.sides import KEY, MARK, REF
from camfleet.audit.hashes import Hashes, hashes, hashes_of
from camfleet.audit.heat import Doubles, Flags, Ints
from camfleet.audit.reports.tally import reduced
from camfleet.audit.worst import Worst

COLUMNS = (
    *("image_uri", "image_etag", "status", "target", "rank", "class_index", "class_name"),
    *("first_index", "first_name"),
    *("probability", "geometry", "label", "group", *heat.COLUMNS),
)
_MOST_UNSEEN = 0.5  # of a map's heat: pairs with more aren't compared
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, without a pattern

PAIRS = pa.schema(
    [
        *((name, pa.string()) for name in ("image_uri", "class_name", "outcome")),
        *((name, pa.float64()) for name in MEASURES),
    ]
)


class Comparer:
    """Compares tables of rows that hold the same images, in whatever order they come.

    What's measured of each pair goes to `measured`; the rest is small, however many there are.
    """

    def __init__(self, measured: Measured, *, by_name: bool) -> None:
        self.counts = Counts()
        self.outcomes: Counter[str] = Counter()  # of pairs: compared, evidence lost, ...
        self.worst = Worst()  # the pairs that moved most, by the rows of the first side
        self.partners: dict[int, int] = {}  # their rows of the other side
        self.names: dict[str, int] = {}  # of classes
        self.pairs: Counter[int] = Counter()  # by class
        self.lost: Counter[int] = Counter()  # pairs that lost their evidence, by class
        self.grids: dict[tuple[int, int], int] = {}  # on which peaks are counted
        self.ceiling = Ceiling()
        self._by_name = by_name
        self._measured = measured
        self._has_groups = False  # as far as one can see: then it takes memory to know

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
        numbers = self._number(pairs.names)
        classes = numbers[pairs.classes]
        self._measured.flip(*(numbers[answers] for answers in pairs.flips))
        self._turn(pairs.turns, one, other)
        marks, groups = _marks(own, pairs), _groups(own, others)
        peaks = np.zeros((len(values), 2), np.int64)
        outcomes = self._measure(own, others, values, peaks, _Kept(classes, marks, groups))
        compared = outcomes == "compared"
        self.outcomes.update(outcomes.tolist())
        self.pairs.update(classes.tolist())
        self.lost.update(classes[outcomes == "evidence lost"].tolist())
        for at, name in enumerate(MEASURES):
            self._measured.add(name, values[compared, at])
        self._measured.add("class", classes[compared])
        self._measured.add("peak_before", peaks[compared, 0])
        self._measured.add("peak_after", peaks[compared, 1])
        self._measured.add("ref", others[REF].to_numpy()[compared])
        mask = pa.array(compared)
        self.counts.measured += len(own[KEY].filter(mask).unique())
        self._group(groups[compared], own[MARK].to_numpy()[compared])
        self._rank(own, others, values[:, 0], marks, compared)
        return _table(own, pairs, outcomes, values)

    def group_numbers(self) -> Ints | None:
        """Return the number of each pair's group, or else its image's; None where each has its own.

        Pairs of one image, for several classes, are no more independent than those of a patient.
        """
        if not self._has_groups:
            return None
        groups, numbers = np.unique(self._measured.read("group"), return_inverse=True)
        return None if len(groups) == len(numbers) else np.asarray(numbers.ravel(), np.int64)

    def _number(self, names: list[str]) -> Ints:
        """Return the numbers of classes in all of the comparison, (N,)."""
        found = [self.names.setdefault(name, len(self.names)) for name in names]
        self.ceiling.name(self.names)
        return np.array(found, np.int64)

    def _measure(
        self, own: pa.Table, others: pa.Table, values: Doubles, peaks: Ints, kept: "_Kept"
    ) -> Any:
        """Fill in what can be measured of pairs, and return what came of each, (N,)."""
        covers = [heat.covers(table["geometry"]) for table in (own, others)]
        found = [list(heat.heats(table)) for table in (own, others)]
        outcomes = _outcomes(len(values), *found)
        placed = _placed(covers[0]) & _placed(covers[1])
        outcomes[(outcomes == "compared") & ~placed] = "unplaced"
        images = own[KEY].to_pylist()
        for places, common in _common(placed, covers, *found):
            at = places[common.places]
            values[at, 6] = common.unseen
            seen = common.unseen <= _MOST_UNSEEN
            outcomes[at[~seen]] = "unseen"
            at, p, q = at[seen], common.p[seen], common.q[seen]
            values[at, :5] = _measures(p, q)
            peaks[at] = np.stack([self._peaks(p), self._peaks(q)], axis=1)
            own_kept = _Kept(kept.classes[at], kept.marks[at], kept.groups[at])
            self.ceiling.offer(*own_kept, [images[place] for place in at.tolist()], p, q)
        return outcomes

    def _peaks(self, shares: Doubles) -> Ints:
        """Return in which cell each map peaks, (N,), as a code."""
        small = reduced(shares)
        grid = (small.shape[1], small.shape[2])
        return code(self.grids.setdefault(grid, len(self.grids)), heat.peaks(small))

    def _turn(self, turns: Turns, one: pa.Table, other: pa.Table) -> None:
        """Note which first answers became right or wrong, and of which group their images are."""
        self._measured.add("turn", turns.signs)
        own, others = (table.select(["image_uri", "group"]) for table in (one, other))
        self._measured.add("turned", _groups(own.take(turns.one), others.take(turns.other)))

    def _group(self, groups: Hashes, images: Hashes) -> None:
        """Note which groups pairs belong to, and whether one may have several.

        Where a group is an image its pairs come together.
        """
        self._measured.add("group", groups)
        self._has_groups |= bool((groups != images).any()) or len(np.unique(groups)) < len(groups)

    def _rank(
        self, own: pa.Table, others: pa.Table, moved: Doubles, marks: Hashes, compared: Flags
    ) -> None:
        refs = own[REF].to_numpy()[compared]
        self.partners |= dict(zip(refs.tolist(), others[REF].to_numpy()[compared], strict=True))
        self.worst.add(moved[compared], marks[compared], refs)
        kept = set(self.worst.refs.tolist())
        self.partners = {ref: int(also) for ref, also in self.partners.items() if ref in kept}


class _Kept(NamedTuple):
    """What is kept of each pair beside its measures, (N,) each."""

    classes: Ints
    marks: Hashes
    groups: Hashes


def _groups(own: pa.Table, others: pa.Table) -> Hashes:
    """Return a hash of what each pair belongs to, (N,): a side's word for its group, or its image.

    Where both sides have one, the first side's counts.
    """
    groups = pc.coalesce(own["group"], others["group"])
    known = groups.is_valid().to_numpy()
    found = hashes_of(own["image_uri"]).copy()
    found[known] = hashes([f"group {name}" for name in groups.drop_null().to_pylist()])
    return found


def _marks(own: pa.Table, pairs: Pairs) -> Hashes:
    """Return a hash of each pair's image and class, (N,): the same in every comparison."""
    return np.asarray(own[MARK].to_numpy() ^ hashes(pairs.names)[pairs.classes] * _MIX)


def _placed(covers: Doubles) -> Flags:
    """Return which rows say what part of their image their map covers, (N,)."""
    left, top, right, bottom = covers.T
    return np.asarray(np.isfinite(covers).all(axis=1) & (left < right) & (top < bottom))


def _common(
    placed: Flags, covers: list[Doubles], heats: list[heat.Heats], other_heats: list[heat.Heats]
) -> Iterator[tuple[Ints, Common]]:
    """Yield pairs that both have heat on their common ground, with their places."""
    for one in heats:
        for other in other_heats:
            places, at, also = np.intersect1d(one.rows, other.rows, return_indices=True)
            fit = placed[places]
            places, at, also = places[fit], at[fit], also[fit]
            if len(places):
                given = one.heat[at], covers[0][places], other.heat[also], covers[1][places]
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


def _table(own: pa.Table, pairs: Pairs, outcomes: Any, values: Doubles) -> pa.Table:
    measured = {name: pa.array(values[:, at], from_pandas=True) for at, name in enumerate(MEASURES)}
    return pa.table(
        {
            "image_uri": own["image_uri"],
            "class_name": pa.array(pairs.names, pa.string()).take(pa.array(pairs.classes)),
            "outcome": pa.array(outcomes.tolist(), pa.string()),
            **measured,
        },
        schema=PAIRS,
    )
