"""What follows from what was measured of all pairs: the verdict, classes that moved, flips."""

from collections.abc import Iterator
from functools import cached_property
from heapq import nsmallest
from importlib.metadata import version

import numpy as np

from camfleet.audit.comparisons import movement, new_places
from camfleet.audit.comparisons.comparer import Comparer
from camfleet.audit.comparisons.document import (
    COMPARISON_VERSION,
    Canary,
    Compared,
    ComparedClass,
    Comparison,
    Flips,
    LostClass,
    MovedPair,
    Movement,
    NewPlace,
    Noise,
    PairCounts,
)
from camfleet.audit.comparisons.measured import MEASURES, Measured
from camfleet.audit.comparisons.movement import Ceiling, Interval, Reals, floor_of
from camfleet.audit.comparisons.sides import Side
from camfleet.audit.comparisons.verdict import Known, Limits, decide
from camfleet.audit.document import Quartiles
from camfleet.audit.heat import Ints
from camfleet.audit.samples import Samples
from camfleet.contract.studies import FloorRecord
from camfleet.storage.storage import Storage

_MOST_FLIPS = 20
_DIGITS = 6


class Conclusion:
    """What follows from what was measured."""

    def __init__(
        self,
        one: Side,
        other: Side,
        comparer: Comparer,
        measured: Measured,
        limits: Limits,
        noise: FloorRecord | None,
    ) -> None:
        self._sides = one, other
        self._comparer = comparer
        self._measured = measured
        self._limits = limits
        self._noise = noise
        self._floor = (floor_of(noise) if noise else None) or movement.UNCALIBRATED

    @cached_property
    def _distances(self) -> Reals:
        found: Reals = self._measured.read("distance")
        return found

    def document(self, storage: Storage) -> Comparison:
        moved, counts, flips = self._movement(), self._counts(), self._flips()
        missing = sum(side.missing for side in self._sides)
        lost, places = tuple(self._lost()), tuple(self._places(storage))
        why = self._why_undecidable()
        verdict, reasons = decide(
            Known(moved, why, counts, flips, self._classes, missing, lost, places), self._limits
        )
        return Comparison(
            comparison_version=COMPARISON_VERSION,
            camfleet=version("camfleet"),
            one=_compared(self._sides[0]),
            other=_compared(self._sides[1]),
            verdict=verdict,
            reasons=tuple(reasons),
            calibrated=self._floor.measured,
            counts=counts,
            movement=moved,
            noise=None if self._noise is None else _noise(self._noise),
            canary=self._canary(),
            measures=dict(self._measures()),
            flips=flips,
            classes=self._classes,
            lost=lost,
            places=places,
            most_moved=tuple(self._most_moved(storage)),
        )

    def _measures(self) -> Iterator[tuple[str, Quartiles]]:
        for name in MEASURES:
            values = self._measured.read(name)
            if np.isfinite(values).any():
                yield name, _quartiles(values)

    def _canary(self) -> Canary | None:
        """Return whether one model answered alike in two runs; None where there are two models."""
        same_run = len({(side.record.job_id, side.model) for side in self._sides}) == 1
        how = [(side.ref.digest, side.record.layer, side.record.precision) for side in self._sides]
        if same_run or how[0] != how[1] or not len(self._distances):
            return None
        largest = float(self._distances.max())
        return Canary(largest=round(largest, _DIGITS), same=largest < movement.SAME)

    @cached_property
    def _ceiling(self) -> Ceiling | None:
        """Return how far maps of different images lie apart; None without any."""
        found, groups = self._comparer.ceiling.distances()
        if not len(found):
            return None
        # Both ways of a pair are hardly two observations.
        low, high = movement.grouped_interval(found.ravel(), np.repeat(groups, 2))
        return Ceiling(float(np.median(found)), low, high)

    @cached_property
    def _groups(self) -> Ints | None:
        return self._comparer.group_numbers()

    @property
    def _independent(self) -> int:
        """Return how many pairs, or groups of them, count as independent."""
        return len(self._distances) if self._groups is None else len(np.unique(self._groups))

    def _movement(self) -> Movement | None:
        """Return how far maps moved; None where it can't be said."""
        floor, found, ceiling = self._floor, self._distances, self._ceiling
        if self._independent < movement.FEWEST or ceiling is None:
            return None
        groups = self._groups
        low, high = movement.interval_of(found, groups)
        median = float(np.median(found))
        value = movement.movement(median, floor.median, ceiling.median)
        if value is None:
            return None
        low, high = movement.interval(Interval(low, high), floor.median, ceiling)
        return Movement(
            value=round(value, _DIGITS),
            low=round(low, _DIGITS),
            high=round(high, _DIGITS),
            limit=self._limits.movement,
            median=round(median, _DIGITS),
            floor=round(floor.median, _DIGITS),
            ceiling=round(ceiling.median, _DIGITS),
            threshold=round(floor.threshold, _DIGITS),
            medians=round(floor.medians, _DIGITS),
            beyond=round(float((found > floor.threshold).mean()), _DIGITS),
            grouped=groups is not None,
        )

    def _why_undecidable(self) -> str:
        """Return why nothing can be said of movement, where nothing can."""
        pairs = len(self._distances)
        if pairs < movement.FEWEST:
            return f"only {pairs} pairs could be compared, {movement.FEWEST} are needed"
        if self._independent < movement.FEWEST:
            return (
                f"the pairs are of {self._independent} images or groups of images, of which "
                f"{movement.FEWEST} are needed: pairs of one aren't independent"
            )
        if self._ceiling is None:
            return "no class has maps of two images, so that nobody knows how far maps can move"
        return "maps of different images are hardly less alike than those of slightly changed ones"

    def _counts(self) -> PairCounts:
        counts, outcomes = self._comparer.counts, self._comparer.outcomes
        names = (
            "images",
            "measured",
            "only_one",
            "only_other",
            "failed",
            "changed",
            "against",
            "other_class",
        )
        return PairCounts(
            **{name: getattr(counts, name) for name in names},
            compared=outcomes["compared"],
            evidence_lost=outcomes["evidence lost"],
            evidence_gained=outcomes["evidence gained"],
            no_evidence=outcomes["no evidence"],
            unseen=outcomes["unseen"],
            unplaced=outcomes["unplaced"],
        )

    def _flips(self) -> Flips:
        counts, names = self._comparer.counts, list(self._comparer.names)
        found = zip(*(column.tolist() for column in self._measured.flips()), strict=True)
        flips = ((-count, names[old], names[new]) for old, new, count in found)
        return Flips(
            answers=counts.answers,
            differ=counts.differ,
            most=tuple((old, new, -count) for count, old, new in nsmallest(_MOST_FLIPS, flips)),
            both_right=counts.both_right,
            lost=counts.lost,
            gained=counts.gained,
            both_wrong=counts.both_wrong,
            several_labels=counts.several_labels,
            chance=round(movement.mcnemar(*self._measured.turns()), _DIGITS),
        )

    @cached_property
    def _classes(self) -> tuple[ComparedClass, ...]:
        """Return the classes that can be judged, those that moved and the farthest first."""
        if not len(self._distances):
            return ()
        names, numbers = list(self._comparer.names), self._measured.read("class")
        classes = movement.by_class(self._distances, numbers)
        groups = self._groups
        independent, own = (
            (self._distances, numbers)
            if groups is None
            else movement.middles(self._distances, numbers, groups)
        )
        judged = movement.judged(movement.by_class(independent, own))
        moved = movement.moved_classes(independent, judged, self._floor.medians)
        found = [
            ComparedClass(
                name=names[number],
                pairs=len(own),
                median=round(float(np.median(own)), _DIGITS),
                beyond=round(float((own > self._floor.threshold).mean()), _DIGITS),
                moved=number in moved,
            )
            for number, own in classes.items()
            if number in judged
        ]
        return tuple(sorted(found, key=lambda one: (not one.moved, -one.median, one.name)))

    def _lost(self) -> Iterator[LostClass]:
        """Yield the classes of which most pairs lost their evidence, the largest first."""
        comparer, names = self._comparer, list(self._comparer.names)
        for number, lost in sorted(comparer.lost.items(), key=lambda one: (-one[1], one[0])):
            pairs = comparer.pairs[number]
            if pairs >= movement.FEWEST and 2 * lost > pairs:
                yield LostClass(name=names[number], pairs=pairs, lost=lost)

    def _places(self, storage: Storage) -> Iterator[NewPlace]:
        """Yield the suspicious places that only the second model has."""
        if not len(self._distances):
            return
        names, read = list(self._comparer.names), self._measured.read
        before, groups = read("peak_before"), self._groups
        peaks = new_places.Peaks(
            before,
            new_places.stay(before, read("peak_after"), self._distances <= self._floor.threshold),
            read("class"),
            groups,
            read("ref"),
        )
        found = new_places.find(peaks, list(self._comparer.grids))
        samples = Samples(self._sides[1].record, storage)
        yield from new_places.describe(found, names, samples, self._limits.known)

    def _most_moved(self, storage: Storage) -> Iterator[MovedPair]:
        worst, partners = self._comparer.worst, self._comparer.partners
        own, others = (Samples(side.record, storage) for side in self._sides)
        refs = worst.refs.tolist()
        own.load(refs)
        others.load([partners[ref] for ref in refs])
        for ref, value in zip(refs, worst.values.tolist(), strict=True):
            if value < movement.SAME:
                continue  # it didn't move
            for one in own.of([ref]):
                for other in others.of([partners[ref]]):
                    yield MovedPair(distance=round(value, _DIGITS), one=one, other=other)


def _compared(side: Side) -> Compared:
    return Compared(
        job_id=side.record.job_id,
        model=f"{side.ref.id}@{side.ref.version}",
        digest=side.ref.digest,
        method=side.record.method,
        layer=side.record.layer,
        missing=side.missing,
        precision=side.record.precision,
    )


def _noise(found: FloorRecord) -> Noise:
    """Return what was measured of slightly changed copies."""
    own = {kind: values for kind, values in found.distances.items() if values}
    return Noise(
        images=found.explained,
        copies=sum(map(len, own.values())),
        medians={kind: round(float(np.median(values)), _DIGITS) for kind, values in own.items()},
        highs={kind: round(float(np.quantile(own[kind], 0.95)), _DIGITS) for kind in own},
        again=None if found.again is None else round(found.again, _DIGITS),
        same=found.again is not None and found.again < movement.SAME,
        failures=found.failures,
    )


def _quartiles(values: Reals) -> Quartiles:
    known = values[np.isfinite(values)]
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75]).round(_DIGITS).tolist()
    return Quartiles(low=low, median=median, high=high)
