"""Errands: what somebody has a worker make of a job's results after its end.

The same errand of the same results has the same id, and is done once.
"""

import hashlib
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from camfleet.contract.codec import Document, Wire, encode
from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.outputs import Name
from camfleet.contract.records import Count

KIND = "kind"  # what an errand's struct is told by
ERRAND_ID = r"^[0-9a-f]{32}\Z"
Share = Annotated[float, Meta(ge=0, le=1)]


class Results(Wire, frozen=True, kw_only=True):
    """Which results of a job are meant: after which retry, and of how many chunks."""

    retry: Count
    chunks: Count


class GalleryErrand(Wire, frozen=True, kw_only=True, tag_field=KIND, tag="gallery"):
    """Write an index of the rows, see `results.gallery`."""

    results: Results


class ReportErrand(Wire, frozen=True, kw_only=True, tag_field=KIND, tag="report"):
    """Write the report."""

    results: Results


class ComparisonErrand(Wire, frozen=True, kw_only=True, tag_field=KIND, tag="comparison"):
    """Compare with another job; models are numbers of models of their job, limits as there."""

    results: Results
    model: Count
    other: Name
    other_results: Results
    other_model: Count
    limit: Share
    limit_flips: Share | None = None
    limit_lost: Share | None = None
    limit_classes: Share | None = None


Errand: TypeAlias = GalleryErrand | ReportErrand | ComparisonErrand


class ErrandRecord(Document, frozen=True, kw_only=True):
    """`errands/<id>.json`: what was asked, by whom, and how it went. Times are epoch seconds."""

    job_id: Name
    id: Annotated[str, Meta(pattern=ERRAND_ID)]
    errand: Errand
    owner: Annotated[str, Meta(max_length=100)] | None
    asked_at: float
    attempts: Count
    outcome: FollowUp


def id_of(errand: Errand) -> str:
    return hashlib.sha256(msgspec.json.encode(encode(errand))).hexdigest()[:32]
