"""Records as they're told over HTTP, and in JSON: all times are ISO 8601 in UTC."""

from typing import TypeVar

from msgspec import Struct, convert
from msgspec.structs import replace

from camfleet.broker.heartbeats import WorkerState
from camfleet.broker.progress import Progress
from camfleet.contract import findings, reviews
from camfleet.contract.codec import Wire
from camfleet.contract.times import Time
from camfleet.registry.registry import ModelVersion

S = TypeVar("S", bound=Struct)

# What differs from the record is the type of a time, which mypy takes for a mistake.


class Worker(WorkerState, frozen=True, kw_only=True):
    __doc__ = WorkerState.__doc__
    started_at: Time  # type: ignore[assignment]


class Model(ModelVersion, frozen=True, kw_only=True):
    """A registered version; `usable`: its card is in the bucket."""

    added_at: Time  # type: ignore[assignment]
    usable: bool = True


class Decision(findings.Decision, frozen=True, kw_only=True):
    __doc__ = findings.Decision.__doc__
    at: Time  # type: ignore[assignment]


class Review(reviews.Review, frozen=True, kw_only=True):
    __doc__ = reviews.Review.__doc__
    created_at: Time  # type: ignore[assignment]


class ReviewChange(reviews.ReviewChange, frozen=True, kw_only=True):
    """A change of a review, and what it is since then."""

    changed_at: Time  # type: ignore[assignment]
    review: Review


class Trouble(reviews.Trouble, frozen=True, kw_only=True):
    __doc__ = reviews.Trouble.__doc__
    at: Time  # type: ignore[assignment]


class ReviewState(reviews.ReviewState, frozen=True, kw_only=True):
    """What was started, and for which time of the schedule."""

    last: Time  # type: ignore[assignment]
    trouble: Trouble | None = None


class ReviewVerdict(reviews.ReviewVerdict, frozen=True, kw_only=True):
    """What came of a run, and why."""

    decided_at: Time  # type: ignore[assignment]


def told(record: Struct, kind: type[S]) -> S:
    """Return a record as it's told: its seconds become times."""
    return convert(record, kind, from_attributes=True, strict=False)


_OF_REVIEWS: dict[type[Wire], type[Wire]] = {
    reviews.Review: Review,
    reviews.ReviewChange: ReviewChange,
    reviews.ReviewVerdict: ReviewVerdict,
    reviews.Trouble: Trouble,
}


def told_of_review(record: Wire) -> Wire:
    """Return what there is to tell of a review as it's told."""
    kind = _OF_REVIEWS.get(type(record))
    return told(record, kind) if kind else record


def told_progress(progress: Progress) -> Progress:
    """Return how far a job is, without the seconds that 0.1.0 has in the words on its callback."""
    return replace(progress, callback="sent") if progress.callback_sent_at else progress
