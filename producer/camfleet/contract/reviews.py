"""Reviews: what is reviewed how and when, how it has changed, and what came of each run."""

from typing import Annotated, Literal

from msgspec import Meta

from camfleet.contract.codec import Document, Wire
from camfleet.contract.outputs import Fuse, Method, Name
from camfleet.contract.records import DIGEST, Count, ModelRef
from camfleet.contract.schedules import Schedule
from camfleet.contract.times import Seconds

REVIEW = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"  # a review's name: jobs, keys, schedules have it
RUN = r"^[0-9a-f]{16}\Z"
MOST_CHANGES = 99_999  # of a review
MOST_PLACES = 1_000  # that were accepted
MOST_FLOOR = 5_000  # images on which noise is measured
LONGEST_REASON = 1000  # characters, of people and of verdicts
_MOST_SOURCES = 100

ReviewName = Annotated[str, Meta(pattern=REVIEW)]
RunName = Annotated[str, Meta(pattern=RUN)]
Share = Annotated[float, Meta(ge=0, le=1)]
_Word = Annotated[str, Meta(max_length=100)]
_Reason = Annotated[str, Meta(max_length=LONGEST_REASON)]
_Digest = Annotated[str, Meta(pattern=DIGEST)]

Action = Literal["began", "created", "accepted", "paused", "resumed", "deleted"]
ReviewVerdictWord = Literal["pass", "moved", "undecidable", "set_changed", "failed"]


class SeenPlace(Wire, frozen=True, kw_only=True):
    """A cell in which a version looks suspiciously often at a class (null: at all of them)."""

    class_name: Annotated[str, Meta(max_length=LONGEST_REASON)] | None
    grid: tuple[Count, Count]
    cell: tuple[Count, Count]

    def is_near(self, other: "SeenPlace") -> bool:
        """Return whether another place is the same cell, or one beside it."""
        apart = [abs(one - also) for one, also in zip(self.cell, other.cell, strict=True)]
        same = (self.class_name, self.grid) == (other.class_name, other.grid)
        return same and max(apart) <= 1


_Places = Annotated[tuple[SeenPlace, ...], Meta(max_length=MOST_PLACES)]


class ReviewLimits(Wire, frozen=True, kw_only=True):
    """What is too much, as for comparisons.

    Null for `movement`: by what was accepted before; for `classes`: none, where any can be judged;
    for `lost` as in comparisons.
    """

    movement: Share | None = None
    flips: Share | None = None  # share of first answers that differ
    lost: Share | None = None  # share of pairs that lose their evidence
    classes: Share | None = None  # share of classes that move more than the others
    places: Count = 0  # suspicious places that are new


class Accepted(Wire, frozen=True, kw_only=True):
    """A version that was accepted, and the job that explained the set with it."""

    model: ModelRef
    job_id: Name


class FrozenSet(Wire, frozen=True, kw_only=True):
    """The images of a review, each with the class that the baseline gave it."""

    digest: _Digest  # of its parts
    form: Annotated[int, Meta(ge=1)]
    items: Annotated[int, Meta(ge=1)]
    parts: Annotated[int, Meta(ge=1)]
    chunk_size: Annotated[int, Meta(ge=1)]
    left_out: Count  # images that the baseline couldn't explain
    unwatched: Count  # images without an ETag: nobody can tell whether they change
    judged: Count  # classes with images enough to be judged on their own


class Review(Wire, frozen=True, kw_only=True):
    """What is reviewed, how and when."""

    name: ReviewName
    created_at: Seconds  # by Redis' clock, as all times here
    sources: Annotated[tuple[Name, ...], Meta(max_length=_MOST_SOURCES)]
    baseline: Accepted
    first: Accepted  # the first baseline
    set: FrozenSet | None  # null: it isn't complete yet
    model: Name  # `id` for the version that was added last, `id@alias` or `id@version`
    method: Method
    layer: Name
    fuse: Fuse | None
    limits: ReviewLimits
    accepted: Annotated[float, Meta(ge=0)]  # the largest movement that was accepted
    accepted_places: _Places = ()  # suspicious ones that were new, and accepted
    floor: Annotated[int, Meta(ge=1, le=MOST_FLOOR)]  # images on which noise is measured
    schedule: Schedule | None
    on_register: bool
    callback: Name | None
    paused: bool


class ReviewChange(Document, frozen=True, kw_only=True):
    """`reviews/<name>/changes/00001.json`: a change of a review, and what it is since then."""

    number: Annotated[int, Meta(ge=1, le=MOST_CHANGES)]
    action: Action
    changed_at: Seconds
    user: _Word
    host: _Word
    reason: _Reason | None
    movement: float | None  # of a version that was accepted
    review: Review


class StartedRun(Wire, frozen=True, kw_only=True):
    """The run that was started last."""

    run: RunName
    job_id: Name
    model: ModelRef


class Trouble(Wire, frozen=True, kw_only=True):
    """Why a review that's due came to nothing, and how often that was tried."""

    reason: _Reason
    at: Seconds  # of the last attempt
    attempts: Annotated[int, Meta(ge=1)]
    run: RunName | None  # null: none could be started


class ReviewState(Document, frozen=True, kw_only=True):
    """`reviews/<name>/state.json`: what was started, and for which time of the schedule."""

    name: ReviewName
    last: Seconds
    run: StartedRun | None
    trouble: Trouble | None = None


class Moved(Wire, frozen=True, kw_only=True):
    """How far maps moved, with an interval: 0 like noise, 1 like maps of other images."""

    value: float
    low: float
    high: float


def show_movement(value: float) -> str:
    """Return movement as people read it: less than noise is none."""
    return f"{max(value, 0.0):.2f}"


class ReviewVerdict(Document, frozen=True, kw_only=True):
    """`reviews/<name>/runs/<run>/verdict.json`: what came of a run, and why."""

    name: ReviewName
    run: RunName
    job_id: Name
    model: ModelRef
    baseline: ModelRef
    first: ModelRef
    set_digest: _Digest
    method: Method
    layer: Name
    decided_at: Seconds
    verdict: ReviewVerdictWord
    reasons: Annotated[tuple[_Reason, ...], Meta(max_length=100)]
    limit: float  # of movement
    calibrated: bool  # the baseline's noise was measured
    images: Count  # of the set
    changed: Count  # whose ETag is another one: not compared
    missing: Count  # that can't be read any more
    failed: Count  # that failed for other reasons
    movement: Moved | None  # from the baseline
    drift: Moved | None  # from the first baseline; null if that's the baseline itself
    page: Name | None  # the comparison with the baseline
    first_page: Name | None
    places: _Places = ()  # suspicious ones that are new, seen from either baseline
    report: Name  # where the job's report lies, as soon as it's written
