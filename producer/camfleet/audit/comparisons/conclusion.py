"""What follows from what was measured of all pairs: the verdict, classes that moved, flips."""

from collections.abc import Iterator
from functools import cached_property
from heapq import nsmallest
from importlib.metadata import version

import numpy as np

from camfleet.audit import movement
from camfleet.audit.comparisons import new_places
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
    NewPlace,
    Noise,
    PairCounts,
)
from camfleet.audit.comparisons.measured import MEASURES, Measured
from camfleet.audit.comparisons.moved import DIGITS, Moved
from camfleet.audit.comparisons.sides import Side
from camfleet.audit.comparisons.verdict import Known, Limits, decide
from camfleet.audit.document import Quartiles
from camfleet.audit.movement import Reals, floor_of
from camfleet.audit.samples import Samples
from camfleet.contract.studies import FloorRecord
from camfleet.storage.storage import Storage

_MOST_FLIPS = 20


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
        self._moved = Moved(comparer, measured, self._floor, limits.movement)

    def document(self, storage: Storage) -> Comparison:
        moved, counts, flips = self._moved.movement(), self._counts(), self._flips()
        missing = sum(side.missing for side in self._sides)
        lost, places = tuple(self._lost()), tuple(self._places(storage))
        why = self._moved.why_undecidable()
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
        if same_run or how[0] != how[1] or not len(self._moved.distances):
            return None
        largest = float(self._moved.distances.max())
        return Canary(largest=round(largest, DIGITS), same=largest < movement.SAME)

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
            chance=round(movement.mcnemar(*self._measured.turns()), DIGITS),
        )

    @cached_property
    def _classes(self) -> tuple[ComparedClass, ...]:
        """Return the classes that can be judged, those that moved and the farthest first."""
        if not len(self._moved.distances):
            return ()
        names, numbers = list(self._comparer.names), self._measured.read("class")
        classes = movement.by_class(self._moved.distances, numbers)
        groups = self._moved.groups
        independent, own = (
            (self._moved.distances, numbers)
            if groups is None
            else movement.middles(self._moved.distances, numbers, groups)
        )
        judged = movement.judged(movement.by_class(independent, own))
        moved = movement.moved_classes(independent, judged, self._floor.medians)
        found = [
            ComparedClass(
                name=names[number],
                pairs=len(own),
                median=round(float(np.median(own)), DIGITS),
                beyond=round(float((own > self._floor.threshold).mean()), DIGITS),
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
        if not len(self._moved.distances):
            return
        names, read = list(self._comparer.names), self._measured.read
        before, groups = read("peak_before"), self._moved.groups
        peaks = new_places.Peaks(
            before,
            new_places.stay(
                before, read("peak_after"), self._moved.distances <= self._floor.threshold
            ),
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
                    yield MovedPair(distance=round(value, DIGITS), one=one, other=other)


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
        medians={kind: round(float(np.median(values)), DIGITS) for kind, values in own.items()},
        highs={kind: round(float(np.quantile(own[kind], 0.95)), DIGITS) for kind in own},
        again=None if found.again is None else round(found.again, DIGITS),
        same=found.again is not None and found.again < movement.SAME,
        failures=found.failures,
    )


def _quartiles(values: Reals) -> Quartiles:
    known = values[np.isfinite(values)]
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75]).round(DIGITS).tolist()
    return Quartiles(low=low, median=median, high=high)
