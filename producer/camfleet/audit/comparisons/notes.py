"""What a reader of a comparison must know beside its verdict, a sentence each."""

from collections.abc import Iterator

from camfleet.audit.comparisons.document import Canary, Comparison, Movement, Noise, PairCounts
from camfleet.audit.movement import FEWEST, SAME
from camfleet.contract.studies import Copy

LEFT_OUT = (  # counts of what isn't compared
    ("only_one", "images of the first alone"),
    ("only_other", "images of the second alone"),
    ("failed", "images that failed on a side: not compared"),
    ("changed", "images that have changed in between: not compared"),
    ("other_class", "rows of a class that the other side didn't explain"),
    ("against", "rows of targets not:CLASS: not compared"),
)
_NAMED = 5  # classes
_COPIES: dict[Copy, str] = {
    "jpeg": "JPEG at quality 75",
    "shift 1": "a shift by 1 pixel",
    "shift 2": "a shift by 2 pixels",
    "resize": "a resize to 90 %",
}


def notes(found: Comparison) -> Iterator[str]:
    """Yield which classes moved, what noise does, and what a comparison with itself doesn't say.

    And which images weren't compared, where that's most of them or for want of a common class.
    """
    if moved := [one.name for one in found.classes if one.moved]:
        said = f"{len(moved):,} of {len(found.classes):,} classes moved more than the others"
        counted = any(reason.startswith(said) for reason in found.reasons)
        more = f" and {len(moved) - _NAMED:,} more" if len(moved) > _NAMED else ""
        yield f"{'moved' if counted else said}: {', '.join(moved[:_NAMED])}{more}"
    yield from _left_out(found.counts)
    if found.itself:
        yield "a job is compared with itself, by the same model, which says nothing"
    if found.one.precision != found.other.precision:
        same = found.one.digest == found.other.digest
        what = "of the same model: what moves, moves for that reason" if same else "of two models"
        yield f"{found.one.precision} beside {found.other.precision}, {what}"
    if found.canary:
        yield _canary(found.canary)
    if not found.calibrated:
        yield _uncalibrated(found.noise)
    elif found.noise and found.movement:
        yield _measured(found.noise, found.movement)
    if found.noise:
        yield from _trouble(found.noise)
    if not found.flips.answers:
        yield "first answers weren't asked for (target top), so that nothing is known of them"


def _left_out(counts: PairCounts) -> Iterator[str]:
    """Yield what wasn't compared, the most first, if that's most, and what has no common class."""
    every = sorted(((getattr(counts, name), word) for name, word in LEFT_OUT), reverse=True)
    said = [f"{number:,} {word.removesuffix(': not compared')}" for number, word in every if number]
    if said and (2 * counts.measured < counts.images or not counts.images):
        yield f"not compared: {', '.join(said)}"
    if apart := _of_other_classes(counts):
        yield (
            f"{apart:,} of {counts.images:,} images were explained for different classes, so they "
            "aren't compared: ask both sides for the same ones, with a target such as label:NAME "
            "or a manifest's column target"
        )


def _of_other_classes(counts: PairCounts) -> int:
    """Return of how many images, at least, the sides explained no class in common."""
    if not counts.other_class:
        return 0
    pairs = counts.evidence_lost + counts.evidence_gained + counts.no_evidence
    pairs += counts.unseen + counts.unplaced
    return max(0, counts.images - counts.measured - counts.failed - counts.changed - pairs)


def _canary(found: Canary) -> str:
    what = "both sides are the same model, and no pair lies farther apart than"
    other = f"its runtime has changed (up to {SAME:g} is usual)"
    end = "it answers as before" if found.same else other
    return f"{what} {found.largest:.4f} bits: {end}"


def _uncalibrated(found: Noise | None) -> str:
    if found is None:
        return "uncalibrated: no noise was measured for this set, a usual one stands in (--floor)"
    return (
        f"uncalibrated: only {found.copies} changed copies could be explained, {FEWEST} are "
        "needed; a usual noise stands in"
    )


def _measured(found: Noise, movement: Movement) -> str:
    kinds = sorted(found.medians.items(), key=lambda one: -one[1])
    each = ", ".join(
        f"{_COPIES[kind]} {median:.4f} (95 % below {found.highs[kind]:.4f})"
        for kind, median in kinds
    )
    return (
        f"noise was measured on {found.copies:,} copies of {found.images:,} images: median "
        f"{movement.floor:.4f} bits, threshold of a pair {movement.threshold:.4f}, of a class's "
        f"median {movement.medians:.4f}; by kind: {each}"
    )


def _trouble(found: Noise) -> Iterator[str]:
    if found.again is not None and not found.same:
        yield (
            f"maps of unchanged images, made anew for the noise, lie up to {found.again:.4f} bits "
            "from those in the results: the runtime has changed since, or decodes otherwise"
        )
    for one in found.failures:
        yield f"{one.copies:,} copies are missing: {one.code}, such as {one.message}"
