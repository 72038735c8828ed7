"""Compare two jobs, or two models of one, and say whether the model looks elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import BinaryIO

import numpy as np
import pyarrow.parquet as pq

from camfleet.audit.comparisons import movement
from camfleet.audit.comparisons.comparer import COLUMNS, PAIRS, Comparer
from camfleet.audit.comparisons.document import (
    COMPARISON_VERSION,
    Compared,
    ComparedClass,
    Comparison,
    Flips,
    MovedPair,
    Movement,
    PairCounts,
)
from camfleet.audit.comparisons.movement import Floor
from camfleet.audit.comparisons.sides import Side, joined
from camfleet.audit.document import Quartiles
from camfleet.audit.heat import Doubles
from camfleet.audit.samples import Samples
from camfleet.errors import CamfleetError, InvalidRequest
from camfleet.registry.registry import Registry
from camfleet.storage.storage import Storage

PASS, MOVED, UNDECIDABLE = "pass", "moved", "undecidable"
_MOST_FLIPS = 20
_LEAST_SHARE = 0.5  # of the images that both have: what wasn't compared doesn't pass
_DIGITS = 6


@dataclass(frozen=True)
class Limits:
    """What is too much: `movement` as in `movement.movement`, the others shares from 0 to 1."""

    movement: float = movement.LIMIT
    flips: float | None = None  # of first answers
    lost: float | None = None  # of pairs, whose evidence is gone


def compare(
    one: Side,
    other: Side,
    storage: Storage,
    *,
    limits: Limits,
    floor: Floor = movement.UNCALIBRATED,
    pairs: BinaryIO | None = None,
    on_part: Callable[[], object] = lambda: None,
) -> Comparison:
    """Return the comparison; what came of each pair goes to `pairs`, as Parquet.

    Raises `InvalidRequest` where the sides were explained in different ways.
    """
    _check(one, other)
    comparer = Comparer(by_name=_have_labels(storage, one, other))
    tables = joined(one.tables(storage, COLUMNS), other.tables(storage, COLUMNS), on_part)
    with pq.ParquetWriter(pairs, PAIRS, compression="zstd") if pairs else nullcontext() as writer:
        for own, others in tables:
            if own is None or others is None:
                comparer.alone(own, others)
            elif (found := comparer.compare(own, others)).num_rows and writer:
                writer.write_table(found)
    return _Conclusion(one, other, comparer, limits, floor).document(storage)


def _check(one: Side, other: Side) -> None:
    """Raise `InvalidRequest` unless maps of both sides mean the same."""
    for name in ("method", "fuse"):
        own, others = getattr(one.record, name), getattr(other.record, name)
        if own != others:
            raise InvalidRequest(
                f"job {one.record.job_id} has {name} {own}, {other.record.job_id} {others}: their "
                "maps aren't comparable; submit one of them again with the other's"
            )


def _have_labels(storage: Storage, *sides: Side) -> bool:
    """Return whether both models name their classes: then they're the same by name."""
    registry = Registry(storage)
    try:
        return all(registry.card(side.ref.digest).label_list for side in sides)
    except CamfleetError:
        return True  # names are all that's known


class _Conclusion:
    """What follows from what was measured."""

    def __init__(
        self, one: Side, other: Side, comparer: Comparer, limits: Limits, floor: Floor
    ) -> None:
        self._sides = one, other
        self._comparer = comparer
        self._limits = limits
        self._floor = floor
        self._values = comparer.values()
        self._distances = self._values["distance"]
        self._ceiling = comparer.ceiling()

    def document(self, storage: Storage) -> Comparison:
        moved = self._movement()
        verdict, reasons = self._verdict(moved)
        return Comparison(
            comparison_version=COMPARISON_VERSION,
            camfleet=version("camfleet"),
            one=_compared(self._sides[0]),
            other=_compared(self._sides[1]),
            verdict=verdict,
            reasons=tuple(reasons),
            calibrated=self._floor.measured,
            counts=self._counts(),
            movement=moved,
            measures={
                name: _quartiles(values)
                for name, values in self._values.items()
                if np.isfinite(values).any()
            },
            flips=self._flips(),
            classes=tuple(self._classes()),
            most_moved=tuple(self._most_moved(storage)),
        )

    def _movement(self) -> Movement | None:
        """Return how far maps moved; None where it can't be said."""
        floor, found = self._floor, self._distances
        if len(found) < movement.FEWEST or not len(self._ceiling):
            return None
        ceiling = float(np.median(self._ceiling))
        groups = self._comparer.group_numbers()
        low, high = (
            movement.median_interval(found)
            if groups is None
            else movement.grouped_interval(found, groups)
        )
        median = float(np.median(found))
        shares = [movement.movement(at, floor.median, ceiling) for at in (median, low, high)]
        if shares[0] is None or shares[1] is None or shares[2] is None:
            return None
        return Movement(
            value=round(shares[0], _DIGITS),
            low=round(shares[1], _DIGITS),
            high=round(shares[2], _DIGITS),
            limit=self._limits.movement,
            median=round(median, _DIGITS),
            floor=round(floor.median, _DIGITS),
            ceiling=round(ceiling, _DIGITS),
            threshold=round(floor.threshold, _DIGITS),
            beyond=round(float((found > floor.threshold).mean()), _DIGITS),
            grouped=groups is not None,
        )

    def _verdict(self, moved: Movement | None) -> tuple[str, list[str]]:
        """Return the verdict and its reasons; what wasn't measured never passes."""
        reasons = list(self._beyond(moved))
        if reasons:
            return MOVED, reasons
        if moved is None:
            return UNDECIDABLE, [self._why_undecidable()]
        missing = sum(side.missing for side in self._sides)
        if missing:
            return UNDECIDABLE, [f"the results of {missing:,} images are missing"]
        pairs, images = len(self._distances), self._comparer.counts.images
        if pairs < _LEAST_SHARE * images:
            return UNDECIDABLE, [f"only {pairs:,} pairs of {images:,} images could be compared"]
        return PASS, []

    def _beyond(self, moved: Movement | None) -> Iterator[str]:
        limits, counts = self._limits, self._comparer.counts
        if moved and moved.low > limits.movement:
            yield (
                f"maps moved by {moved.value:.2f} ({moved.low:.2f} to {moved.high:.2f}), more than "
                f"{limits.movement:g}"
            )
        flips, lost = counts.flips.total(), self._comparer.outcomes["evidence lost"]
        pairs = self._comparer.outcomes.total()
        for what, number, total, limit in (
            ("first answers differ", flips, counts.answers, limits.flips),
            ("pairs lost their evidence", lost, pairs, limits.lost),
        ):
            if limit is not None and total and number / total > limit:
                yield f"{number:,} of {total:,} {what}, more than {100 * limit:g} %"

    def _why_undecidable(self) -> str:
        pairs = len(self._distances)
        if pairs < movement.FEWEST:
            return f"only {pairs} pairs could be compared, {movement.FEWEST} are needed"
        if not len(self._ceiling):
            return "no class has maps of two images, so that nobody knows how far maps can move"
        return "maps of different images are hardly less alike than those of slightly changed ones"

    def _counts(self) -> PairCounts:
        counts, outcomes = self._comparer.counts, self._comparer.outcomes
        names = ("images", "only_one", "only_other", "failed", "changed", "against", "other_class")
        return PairCounts(
            **{name: getattr(counts, name) for name in names},
            compared=outcomes["compared"],
            evidence_lost=outcomes["evidence lost"],
            evidence_gained=outcomes["evidence gained"],
            no_evidence=outcomes["no evidence"],
            unseen=outcomes["unseen"],
        )

    def _flips(self) -> Flips:
        counts = self._comparer.counts
        most = sorted(counts.flips.items(), key=lambda found: (-found[1], found[0]))[:_MOST_FLIPS]
        return Flips(
            answers=counts.answers,
            differ=counts.flips.total(),
            most=tuple((old, new, number) for (old, new), number in most),
            both_right=counts.both_right,
            lost=counts.lost,
            gained=counts.gained,
            both_wrong=counts.both_wrong,
            chance=round(movement.mcnemar(counts.lost, counts.gained), _DIGITS),
        )

    def _classes(self) -> Iterator[ComparedClass]:
        """Yield the classes that can be judged, those that moved and the farthest first."""
        numbers, threshold = self._comparer.classes(), self._floor.threshold
        if not len(numbers):
            return
        moved, few = movement.moved_classes(self._distances, numbers, threshold)
        names = {number: name for name, number in self._comparer.names.items()}
        found = []
        for number in set(np.unique(numbers).tolist()) - set(few):
            own = self._distances[numbers == number]
            found.append(
                ComparedClass(
                    name=names[number],
                    pairs=len(own),
                    median=round(float(np.median(own)), _DIGITS),
                    beyond=round(float((own > threshold).mean()), _DIGITS),
                    moved=number in moved,
                )
            )
        yield from sorted(found, key=lambda one: (not one.moved, -one.median, one.name))

    def _most_moved(self, storage: Storage) -> Iterator[MovedPair]:
        worst, partners = self._comparer.worst, self._comparer.partners
        own, others = (Samples(side.record, storage) for side in self._sides)
        refs = worst.refs.tolist()
        own.load(refs)
        others.load([partners[ref] for ref in refs])
        for ref, value in zip(refs, worst.values.tolist(), strict=True):
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
    )


def _quartiles(values: Doubles) -> Quartiles:
    known = values[np.isfinite(values)]
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75]).tolist()
    low, median, high = (round(value, _DIGITS) for value in (low, median, high))
    return Quartiles(low=low, median=median, high=high)
