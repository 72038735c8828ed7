"""The verdict of a comparison: what's beyond a limit, and what can't be said."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from camfleet.audit.comparisons.document import (
    ComparedClass,
    Flips,
    LostClass,
    Movement,
    NewPlace,
    PairCounts,
)
from camfleet.audit.movement import FEWEST, LIMIT
from camfleet.contract.reviews import SeenPlace, show_movement
from camfleet.errors import InvalidRequest

PASS, MOVED, UNDECIDABLE = "pass", "moved", "undecidable"
LOST = 0.10  # of pairs, whose evidence may be gone
_LEAST_SHARE = 0.5  # of the images that both have: what wasn't compared doesn't pass


@dataclass(frozen=True)
class Limits:
    """What is too much: `movement` as in `movement.movement`, the others shares from 0 to 1.

    Raises `InvalidRequest` for a limit that nothing can be beyond, or nothing within.
    """

    movement: float = LIMIT
    flips: float | None = None  # of first answers
    lost: float | None = None  # of pairs, whose evidence is gone; None: `LOST`
    classes: float | None = None  # of classes, that moved more than the others
    places: int = 0  # so many suspicious places may be new
    known: tuple[SeenPlace, ...] = ()  # that were accepted, and don't count as new

    def __post_init__(self) -> None:
        for name in ("movement", "flips", "lost", "classes"):
            limit, most = getattr(self, name), math.inf if name == "movement" else 1
            if limit is not None and not 0 <= limit <= most:
                raise InvalidRequest(f"limit {name} is {limit}: give a number from 0 to 1")
        if not isinstance(self.places, int) or self.places < 0:
            raise InvalidRequest(f"limit places is {self.places}: give a whole number, 0 or more")


class Known(NamedTuple):
    """What is known; `why` says why there's no movement, where there is none."""

    movement: Movement | None
    why: str
    counts: PairCounts
    flips: Flips
    classes: tuple[ComparedClass, ...]
    missing: int  # images without results
    lost: tuple[LostClass, ...] = ()
    places: tuple[NewPlace, ...] = ()


def decide(known: Known, limits: Limits) -> tuple[str, list[str]]:
    """Return the verdict and its reasons; what wasn't measured never passes."""
    beyond = list(_beyond(known, limits))
    if beyond:
        return MOVED, beyond
    unknown = list(_unknown(known, limits))
    return (UNDECIDABLE, unknown[:1]) if unknown else (PASS, [])


def _beyond(known: Known, limits: Limits) -> Iterator[str]:
    moved = known.movement
    if moved and moved.low > limits.movement:
        yield (
            f"maps moved by {show_movement(moved.value)} ({show_movement(moved.low)} to "
            f"{show_movement(moved.high)}), more than {limits.movement:g}"
        )
    yield from _new(known.places, limits.places)
    yield from _lost_classes(known.lost, limits)
    for share in _shares(known, limits):
        if share.limit is not None and share.number > share.limit * share.total:
            most = f"more than {100 * share.limit:g} %" if share.limit else "and none may"
            yield f"{share.number:,} of {share.total:,} {share.what}, {most}"


def _new(places: tuple[NewPlace, ...], limit: int) -> Iterator[str]:
    new = [place for place in places if not place.known]
    if len(new) <= limit:
        return
    first, more = new[0], len(new) - 1
    whose = "all classes" if first.class_name is None else f"class {first.class_name}"
    row, column = (number + 1 for number in first.cell)
    rest = f"; and in {more:,} more place{'s' if more > 1 else ''}" if more else ""
    yield (
        f"a suspicious place is new: {first.after:,} of {first.maps:,} maps of {whose} peak in row "
        f"{row}, column {column} of {first.grid[0]} x {first.grid[1]} cells, the first model's "
        f"{first.before:,} times there or beside it{rest}"
    )


def _lost_classes(lost: tuple[LostClass, ...], limits: Limits) -> Iterator[str]:
    most = max(_LEAST_SHARE, LOST if limits.lost is None else limits.lost)
    beyond = [one for one in lost if one.lost > most * one.pairs]
    if beyond:
        first, more = beyond[0], len(beyond) - 1
        rest = f", and {more:,} more class{'es' if more > 1 else ''}" if more else ""
        yield (
            f"class {first.name} lost its evidence in {first.lost:,} of {first.pairs:,} pairs{rest}"
        )


def _unknown(known: Known, limits: Limits) -> Iterator[str]:
    """Yield what keeps anything from being said."""
    lost = _lost(known.counts)
    if known.movement is None:
        yield known.why + lost
    elif _hidden(known.movement, limits.movement):
        yield (
            "slightly changed images have maps as unlike as the limit allows for versions, and so "
            "have these versions: larger or clearer pictures, or a steadier baseline, would tell"
        )
    if known.missing:
        yield f"the results of {known.missing:,} images are missing"
    measured, images = known.counts.measured, known.counts.images
    if measured < _LEAST_SHARE * images:
        yield f"only {measured:,} of {images:,} images could be compared{lost}"
    for share in _shares(known, limits):
        if share.limit is not None and not share.total:
            yield share.unknown


def _hidden(moved: Movement, limit: float) -> bool:
    """Return whether noise is so large that maps beyond the limit could hide in it.

    Maps that are alike all the same, as those of a twin are, need no such scale.
    """
    most = limit * moved.ceiling
    return moved.floor > most and moved.median > most


def _lost(counts: PairCounts) -> str:
    """Return how many pairs lost their evidence, which is why they couldn't be compared."""
    if not counts.evidence_lost:
        return ""
    pairs = "1 pair" if counts.evidence_lost == 1 else f"{counts.evidence_lost:,} pairs"
    return f"; {pairs} lost their evidence"


class _Share(NamedTuple):
    """So many of a total, what they did, what's too much, and what to say where there are none."""

    what: str
    number: int
    total: int
    limit: float | None
    unknown: str


def _shares(known: Known, limits: Limits) -> Iterator[_Share]:
    """Yield what may be limited besides movement."""
    counts, flips, moved = known.counts, known.flips, [one.moved for one in known.classes]
    unknown = "nobody knows both models' first answers (target top), which --limit-flips needs"
    yield _Share("first answers differ", flips.differ, flips.answers, limits.flips, unknown)
    pairs = counts.compared + counts.evidence_lost + counts.evidence_gained
    pairs += counts.no_evidence + counts.unseen + counts.unplaced
    lost, limit = counts.evidence_lost, limits.lost
    if limit is None and pairs >= FEWEST:
        limit = LOST
    yield _Share("pairs lost their evidence", lost, pairs, limit, "there are no pairs")
    unknown = f"no class has {FEWEST} pairs, which --limit-classes needs"
    what = "classes moved more than the others"
    yield _Share(what, sum(moved), len(moved), limits.classes, unknown)
