"""What follows a job's end by itself: what was asked for, and how it went."""

from typing import Annotated, Literal

from msgspec import Meta

from camfleet.contract.codec import Document, Wire
from camfleet.contract.outputs import Name

REPORT = "report"
FAITHFULNESS = "faithfulness"
REVIEW = "review"
MOST_SAMPLED = 10_000  # images of a study


class FollowUps(Wire, frozen=True, kw_only=True):
    """What a worker does once a job is complete."""

    report: bool = False
    place: Name | None = None  # s3://bucket/prefix of the report; null: the job's own folder
    faithfulness: Annotated[int, Meta(ge=1, le=MOST_SAMPLED)] | None = None  # images of the sample
    review: Name | None = None  # the review whose run the job is

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return what is asked for, in the order in which it's done: the report shows the study."""
        asked = {FAITHFULNESS: self.faithfulness, REPORT: self.report, REVIEW: self.review}
        return tuple(kind for kind, wanted in asked.items() if wanted)


class FollowUp(Wire, frozen=True, kw_only=True):
    """How far something is that follows a job's end.

    It's `dropped` if the job was cancelled. `uri` is where it lies, `note` the verdict, or why it
    failed or waits.
    """

    state: Literal["waiting", "in_work", "done", "failed", "dropped"]
    uri: str | None = None
    note: str | None = None


class FollowedUp(Document, frozen=True, kw_only=True):
    """`followups.json`: how it went, after which retry of the job; without it nothing is done."""

    job_id: Name
    retry: Annotated[int, Meta(ge=0)]
    report: FollowUp | None = None
    faithfulness: FollowUp | None = None
    review: FollowUp | None = None
