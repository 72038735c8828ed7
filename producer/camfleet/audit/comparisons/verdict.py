"""The verdict of a comparison: what's beyond a limit, and what can't be said."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

from camfleet.audit.comparisons.document import ComparedClass, Flips, Movement, PairCounts
from camfleet.audit.comparisons.movement import FEWEST, LIMIT
from camfleet.errors import InvalidRequest

PASS, MOVED, UNDECIDABLE = "pass", "moved", "undecidable"
_LEAST_SHARE = 0.5  # of the images that both have: what wasn't compared doesn't pass


@dataclass(frozen=True)
class Limits:
    """What is too much: `movement` as in `movement.movement`, the others shares from 0 to 1.

    Raises `InvalidRequest` for a limit that nothing can be beyond, or nothing within.
    """

    movement: float = LIMIT
    flips: float | None = None  # of first answers
    lost: float | None = None  # of pairs, whose evidence is gone
    classes: float | None = None  # of classes, that moved more than the others

    def __post_init__(self) -> None:
        for name, limit in asdict(self).items():
            most = math.inf if name == "movement" else 1
            if limit is not None and not 0 <= limit <= most:
                raise InvalidRequest(f"limit {name} is {limit}: give a number from 0 to 1")


class Known(NamedTuple):
    """What is known; `why` says why there's no movement, where there is none."""

    movement: Movement | None
    why: str
    counts: PairCounts
    flips: Flips
    classes: tuple[ComparedClass, ...]
    missing: int  # images without results


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
            f"maps moved by {moved.value:.2f} ({moved.low:.2f} to {moved.high:.2f}), more than "
            f"{limits.movement:g}"
        )
    for share in _shares(known, limits):
        if share.limit is not None and share.number > share.limit * share.total:
            what = f"{share.number:,} of {share.total:,} {share.what}"
            yield f"{what}, more than {100 * share.limit:g} %"


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
    return f"; {pairs} lost their evidence, of which --limit-lost would make an alarm"


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
    lost = counts.evidence_lost
    yield _Share("pairs lost their evidence", lost, pairs, limits.lost, "there are no pairs")
    unknown = f"no class has {FEWEST} pairs, which --limit-classes needs"
    what = "classes moved more than the others"
    yield _Share(what, sum(moved), len(moved), limits.classes, unknown)
