"""What follows a job's end by itself: what was asked for, and how it went."""

from typing import Annotated, Literal

from msgspec import Meta

from camfleet.contract.codec import Document, Wire
from camfleet.contract.outputs import Name

REPORT = "report"
FAITHFULNESS = "faithfulness"
REVIEW = "review"
LABEL_STUDIO = "label_studio"
KINDS = (FAITHFULNESS, REPORT, REVIEW, LABEL_STUDIO)  # in the order in which they're done
MOST_SAMPLED = 10_000  # images of a study


class WriteBack(Wire, frozen=True, kw_only=True):
    """Predictions for tasks of Label Studio, whose ids are those of the job's items.

    `labels` are the names that classes have there, where they have others; null leaves a class out.
    """

    url: Name  # of the server that is meant: a worker writes to no other than its own
    project: Annotated[int, Meta(ge=1)]
    config: Annotated[str, Meta(max_length=2**20)]  # the project's label config
    shape: Literal["box", "polygon", "rle"] | None
    heat: bool
    version: Name  # of the predictions
    labels: dict[str, str | None]


class FollowUps(Wire, frozen=True, kw_only=True):
    """What a worker does once a job is complete."""

    report: bool = False
    place: Name | None = None  # s3://bucket/prefix of the report; null: the job's own folder
    faithfulness: Annotated[int, Meta(ge=1, le=MOST_SAMPLED)] | None = None  # images of the sample
    review: Name | None = None  # the review whose run the job is
    label_studio: WriteBack | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return what is asked for, in the order in which it's done: the report shows the study."""
        return tuple(kind for kind in KINDS if getattr(self, kind))


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
    label_studio: FollowUp | None = None
