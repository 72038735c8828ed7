"""Errands: what somebody has a worker make of a job's results after its end.

The same errand of the same results has the same id, and is done once.
"""

import hashlib
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

from camfleet.contract.codec import Document, Wire, encode
from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.outputs import Name
from camfleet.contract.records import Count
from camfleet.contract.results import Status
from camfleet.contract.times import Seconds

KIND = "kind"  # what an errand's struct is told by
ERRAND_ID = r"^[0-9a-f]{32}\Z"
MOST_BYTES = 2**20  # of an errand as JSON
Share = Annotated[float, Meta(ge=0, le=1)]
PICTURES = "pictures"
ExportFormat = Literal[
    "coco", "coco-results", "label-studio", "voc", "yolo", "cvat", "fiftyone", "pictures"
]
Packed = Literal["overlay", "heatmap", "thumbnail", "raw"]


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
    limit_places: Count = 0


class ExportOrder(Wire, frozen=True, kw_only=True):
    """What to export of a job, and how: the options of `camfleet export`, and its filters.

    `pictures` are packed as they were stored; all other formats are those of annotation tools.
    `labels` are the names that classes have there, where they have others; null leaves a class out.
    """

    format: ExportFormat
    pictures: tuple[Packed, ...] = ()
    shape: Literal["box", "polygon", "rle"] | None = None
    heat: bool = False
    labels: dict[str, str | None] = msgspec.field(default_factory=dict)
    config: str | None = None  # a label config of Label Studio
    root: str = ""
    prefix: str = ""
    per_file: Annotated[int, Meta(ge=1)] | None = None
    status: tuple[Status, ...] = ()
    code: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    class_: tuple[str, ...] = msgspec.field(default=(), name="class")
    rank: tuple[Annotated[int, Meta(ge=0, lt=2**31)], ...] = ()
    min_probability: Share | None = None
    max_probability: Share | None = None
    item: tuple[str, ...] = ()
    image: str | None = None
    where: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


class ExportErrand(ExportOrder, frozen=True, kw_only=True, tag_field=KIND, tag="export"):
    """Write an export as one archive."""

    results: Results


Errand: TypeAlias = GalleryErrand | ReportErrand | ComparisonErrand | ExportErrand
KINDS = tuple(str(kind.__struct_config__.tag) for kind in get_args(Errand))


class ErrandRecord(Document, frozen=True, kw_only=True):
    """`errands/<id>.json`: what was asked, by whom, and how it went.

    `share` is how much of it is done, where that's known.
    """

    job_id: Name
    id: Annotated[str, Meta(pattern=ERRAND_ID)]
    errand: Errand
    owner: Annotated[str, Meta(max_length=100)] | None
    asked_at: Seconds
    attempts: Count
    outcome: FollowUp
    share: Share | None = None


def kind_of(errand: Errand) -> str:
    return str(errand.__struct_config__.tag)


def id_of(errand: Errand) -> str:
    return hashlib.sha256(encoded(errand)).hexdigest()[:32]


def encoded(errand: Errand) -> bytes:
    return msgspec.json.encode(encode(errand))
