"""What comes of a run: it's compared with the baseline and with the first one, and judged."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from camfleet.contract.records import JobRecord
from camfleet.contract.results import Status
from camfleet.contract.reviews import (
    LONGEST_REASON,
    MOST_PLACES,
    Accepted,
    Moved,
    Review,
    ReviewVerdict,
    ReviewVerdictWord,
    SeenPlace,
    StartedRun,
)
from camfleet.errors import (
    CallerError,
    ImageNotFound,
    ImageTooLarge,
    ImageTooSlow,
    ImageUnreadable,
    SourceForbidden,
    SourceUnreachable,
)
from camfleet.jobstore import keys, review_keys
from camfleet.jobstore.records import read_record
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.audit.comparisons.document import Comparison
    from camfleet.audit.comparisons.verdict import Limits
    from camfleet.audit.reporting import Reporter

LIMIT = 0.30  # of movement, where no larger one was accepted
_ABOVE_ACCEPTED = 1.5  # times the largest movement that was accepted
_MOST_CHANGED = 0.01  # share of the set that may have changed, or failed
_MISSING = tuple(
    kind.code
    for kind in (
        *(ImageNotFound, ImageTooLarge, ImageTooSlow, ImageUnreadable),
        *(SourceForbidden, SourceUnreachable),
    )
)
_NAMED = 5  # reasons of a comparison, error codes
OnStep = Callable[[int], object]


def limit_of(review: Review) -> float:
    """Return how far maps may move."""
    if review.limits.movement is not None:
        return review.limits.movement
    return max(LIMIT, _ABOVE_ACCEPTED * review.accepted)


def classes_of(review: Review) -> float | None:
    """Return the share of classes that may move more than the others, None for no limit."""
    judged = review.set is not None and review.set.judged > 0
    return 0.0 if judged and review.limits.classes is None else review.limits.classes


def accept(review: Review, verdict: ReviewVerdict) -> Review:
    """Return the review with the version of a verdict as its baseline, and what that allows."""
    moved = verdict.movement.value if verdict.movement else 0.0
    places = dict.fromkeys((*verdict.places, *review.accepted_places))
    return replace(
        review,
        baseline=Accepted(model=verdict.model, job_id=verdict.job_id),
        accepted=max(review.accepted, min(moved, 1.0)),
        accepted_places=tuple(places)[:MOST_PLACES],
    )


def came_to_nothing(verdict: ReviewVerdict) -> bool:
    """Return whether a run may end better if it's repeated."""
    unreachable = verdict.verdict == "set_changed" and verdict.missing > 0
    return verdict.verdict == "failed" or unreachable


def say_the_same(one: ReviewVerdict | None, other: ReviewVerdict | None) -> bool:
    """Return whether two verdicts differ at most in when they were decided.

    Whoever waits for a run judges it, and so does a worker at the end of its job.
    """
    if one is None or other is None:
        return one is other
    return replace(one, decided_at=0.0) == replace(other, decided_at=0.0)


class Compared(NamedTuple):
    """How a run compares with an accepted version, and where the page of that lies."""

    found: "Comparison"
    page: str


@dataclass
class Known:
    """What is known of a run: how its images went, and both comparisons."""

    images: int
    failures: Counter[str] = field(default_factory=Counter)  # images by error code
    lost: int = 0  # images of parts that aren't there
    baseline: Compared | None = None
    first: Compared | None = None
    trouble: str | None = None  # why it couldn't be compared

    @property
    def changed(self) -> int:
        compared = (self.baseline, self.first)
        return max((one.found.counts.changed for one in compared if one), default=0)

    @property
    def missing(self) -> int:
        return sum(number for code, number in self.failures.items() if code in _MISSING)

    @property
    def failed(self) -> int:
        return sum(self.failures.values()) - self.missing


def decide(known: Known) -> tuple[ReviewVerdictWord, list[str]]:
    """Return a verdict and its reasons. What wasn't measured never passes."""
    most = _MOST_CHANGED * known.images
    excluded = list(_excluded(known))
    if known.trouble is not None:
        return "failed", [known.trouble, *excluded]
    if known.lost or known.failed > most:
        return "failed", excluded
    if known.changed + known.missing > most:
        return "set_changed", [*excluded, *_beyond(known, "moved")]
    for word in ("moved", "undecidable"):
        if reasons := list(_beyond(known, word)):
            return word, [*reasons, *excluded]
    return "pass", excluded


def _excluded(known: Known) -> Iterator[str]:
    """Yield which images aren't compared, and why."""
    if known.lost:
        yield f"the results of {known.lost:,} images are missing"
    of = f"of {known.images:,} images"
    if known.changed:
        yield f"{known.changed:,} {of} have changed and are excluded"
    if known.missing:
        codes = ", ".join(code for code in sorted(known.failures) if code in _MISSING)
        yield f"{known.missing:,} {of} can't be read any more and are excluded ({codes})"
    others = sorted(set(known.failures) - set(_MISSING))
    if others:
        yield f"{known.failed:,} {of} failed ({', '.join(others[:_NAMED])})"


def _beyond(known: Known, word: str) -> Iterator[str]:
    """Yield the reasons of the comparisons with this verdict."""
    for whose, one in (("", known.baseline), ("since the first baseline: ", known.first)):
        if one and one.found.verdict == word:
            yield from (f"{whose}{reason}" for reason in one.found.reasons[:_NAMED])


class Judge:
    """Judges runs whose job is complete; `reporter` makes what compares, with pictures."""

    def __init__(self, storage: Storage, reporter: Callable[[], "Reporter"]) -> None:
        self._storage = storage
        self._reporter = reporter

    def judge(
        self, review: Review, run: StartedRun, now: float, on_step: OnStep = lambda _count: None
    ) -> ReviewVerdict:
        """Compare and judge a run; `on_step` is told of each part that was read.

        `now` is the time by Redis' clock. Raises `UnknownJob` where its job is gone.
        """
        record = read_record(self._storage, run.job_id)
        known = Known(record.items)
        try:
            self._look(known, record, on_step)
            known.baseline = self._compare(review, review.baseline, record, run, on_step)
            if review.first.job_id != review.baseline.job_id:
                known.first = self._compare(review, review.first, record, run, on_step)
        except CallerError as error:
            known.trouble = str(error)
        return _verdict(self._storage, review, run, known, now)

    def _look(self, known: Known, record: JobRecord, on_step: OnStep) -> None:
        """Count the images that failed, by their error codes."""
        from camfleet.results.query import Selection
        from camfleet.results.read import read_parts

        selection = Selection.of(record, ("error_code",), {"status": str(Status.FAILED)})
        with closing(read_parts(record, self._storage, selection)) as parts:
            for part in parts:
                on_step(1)
                if part.table is None:
                    known.lost += record.items_of(part.ref.part)
                else:
                    known.failures.update(part.table["error_code"].to_pylist())

    def _compare(
        self,
        review: Review,
        accepted: Accepted,
        record: JobRecord,
        run: StartedRun,
        on_step: OnStep,
    ) -> Compared:
        from camfleet.audit.comparisons.sides import Side

        first = accepted is review.first and accepted != review.baseline
        where = (review_keys.first if first else review_keys.run)(review.name, run.run)
        found, page = self._reporter().compare(
            Side(read_record(self._storage, accepted.job_id), 0),
            Side(record, 0),
            self._storage.uri(where),
            limits=_limits(review, first=first),
            ours=True,
            on_part=on_step,
        )
        return Compared(found, page)


def failed(
    storage: Storage, review: Review, run: StartedRun, reasons: list[str], now: float
) -> ReviewVerdict:
    """Return the verdict on a run that ended without one."""
    assert review.set
    known = Known(review.set.items, trouble="; ".join(reasons))
    return _verdict(storage, review, run, known, now)


def _verdict(
    storage: Storage, review: Review, run: StartedRun, known: Known, now: float
) -> ReviewVerdict:
    assert review.set
    baseline, first = known.baseline, known.first
    word, reasons = decide(known)
    return ReviewVerdict(
        schema_version=1,
        name=review.name,
        run=run.run,
        job_id=run.job_id,
        model=run.model,
        baseline=review.baseline.model,
        first=review.first.model,
        set_digest=review.set.digest,
        method=review.method,
        layer=review.layer,
        decided_at=now,
        verdict=word,
        reasons=tuple(reason[:LONGEST_REASON] for reason in reasons),
        limit=limit_of(review),
        calibrated=bool(baseline and baseline.found.calibrated),
        images=known.images,
        changed=known.changed,
        missing=known.missing,
        failed=known.failed,
        movement=_moved(baseline),
        drift=_moved(first),
        page=baseline and baseline.page,
        first_page=first and first.page,
        places=tuple(_places(baseline, first)),
        report=storage.uri(f"{keys.report_folder(run.job_id)}index.html"),
    )


def _limits(review: Review, *, first: bool) -> "Limits":
    """Return what is too much; seen from the `first` baseline accepted places aren't new."""
    from camfleet.audit.comparisons.verdict import Limits

    own = review.limits
    known = review.accepted_places if first else ()
    return Limits(limit_of(review), own.flips, own.lost, classes_of(review), own.places, known)


def _places(*compared: Compared | None) -> Iterator[SeenPlace]:
    """Yield the suspicious places that are new, once each."""
    every = (place for one in compared if one for place in one.found.places if not place.known)
    seen = list(dict.fromkeys(place.seen for place in every))
    yield from seen[:MOST_PLACES]


def _moved(compared: Compared | None) -> Moved | None:
    moved = compared.found.movement if compared else None
    return Moved(value=moved.value, low=moved.low, high=moved.high) if moved else None
