"""The words that producers and workers share.

A producer sends an `ExplainRequest` (one image, somebody waits) or a `ChunkRef` (a reference to
one part of a job's manifest). A worker answers with `Result`: one per image and target. Only
URIs and scalars travel through Redis, never pixels.

Decoding is strict in both directions: every field must be present, none may be unknown, and
`InvalidRequest` names the one that is wrong.
"""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from camfleet.errors import InvalidRequest

SCHEMA_VERSION = 1

INTERACTIVE_QUEUE = "camfleet.interactive"
BULK_QUEUE = "camfleet.bulk"

EXPLAIN_TASK = "camfleet.explain"
CHUNK_TASK = "camfleet.chunk"
CHECK_TASK = "camfleet.check"

MAX_TARGETS = 100

Method = Literal["gradcam", "cam", "hirescam", "layercam", "xgradcam", "gradcam++"]
Colormap = Literal["viridis", "inferno", "turbo", "jet"]
OutputKind = Literal["heatmap", "overlay", "raw"]
Name = Annotated[str, Meta(min_length=1, max_length=4096)]
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Status(StrEnum):
    """How one image and target ended."""

    OK = "ok"
    NO_EVIDENCE = "no_evidence"  # nothing in the image speaks for this class: the map is not > 0
    FAILED = "failed"


class Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all that crosses Redis or object storage."""


class Outputs(Wire, frozen=True, kw_only=True):
    """Which pictures to write, and how an overlay looks."""

    kinds: tuple[OutputKind, ...]
    colormap: Colormap
    opacity: Annotated[float, Meta(ge=0, le=1)]
    max_side: Annotated[int, Meta(ge=0)]  # longest side of an overlay in pixels, 0: as the photo


DEFAULT_OUTPUTS = Outputs(
    kinds=("heatmap", "overlay"), colormap="turbo", opacity=0.5, max_side=1024
)


class ExplainRequest(Wire, frozen=True, kw_only=True):
    """One image, one model, one target expression: the message of `EXPLAIN_TASK`."""

    image_uri: Name
    model: Name  # "id" (the version registered last) or "id@version"
    target: Name
    method: Method
    layer: (
        Name  # "auto": the card's layer, else the last spatial tensor; or a path "backbone/layer"
    )
    outputs: Outputs


class ChunkRef(Wire, frozen=True, kw_only=True):
    """One part of a job's manifest, for one of its models: the message of `CHUNK_TASK`."""

    job_id: Name
    model: Annotated[int, Meta(ge=0)]
    part: Annotated[int, Meta(ge=0)]


class ModelRef(Wire, frozen=True, kw_only=True):
    """A registered model, pinned: the digest is that of its card, which names the artifact's."""

    id: Name
    version: Name
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class JobRecord(Wire, frozen=True, kw_only=True):
    """`job.json`: what was asked. Written after the manifest: without it there is no job."""

    schema_version: Literal[1]
    job_id: Name
    created_at: float  # seconds since the epoch
    models: tuple[ModelRef, ...]
    target: Name
    method: Method
    layer: Name
    outputs: Outputs
    items: int  # rows of the manifest
    chunk_size: int
    parts: int

    @property
    def images(self) -> int:
        """Explanations asked for: every item with every model."""
        return self.items * len(self.models)

    @property
    def chunks(self) -> int:
        return self.parts * len(self.models)


class Item(Wire, frozen=True, kw_only=True):
    """One row of a manifest part."""

    item_id: Name
    image_uri: Name
    target: Name | None  # overrides the job's


class Geometry(Wire, frozen=True, kw_only=True):
    """Where the model looked: a rectangle of the upright original image, in its pixels.

    The model's input (`input_height` x `input_width` pixels) shows exactly the rectangle from
    (left, top) to (right, bottom). With `pad` it reaches beyond the image, with `crop` it is
    smaller, with `stretch` it is the image. So input (u, v) shows original
    x = left + u * (right - left) / input_width, y likewise; pixel centres are at half integers.
    """

    image_height: int
    image_width: int
    input_height: int
    input_width: int
    left: float
    top: float
    right: float
    bottom: float


class Timings(Wire, frozen=True, kw_only=True):
    """Milliseconds that one image took; `explain` is its share of the batch."""

    fetch: float
    decode: float
    explain: float
    render: float
    store: float


class Result(Wire, frozen=True, kw_only=True):
    """One image and one target (`rank` 0 is the first target; a failed image has rank 0 only).

    `map` is the raw signed class activation map at its native grid, row by row: it's in the
    Parquet parts of a job (float16) and null in an interactive answer. The map in the method's
    own units is `map` * `map_scale`; the scale is 1 unless float16 can't hold the values.
    `raw_max` is the maximum of the exact float32 map: negative or zero means no evidence.
    """

    item_id: str
    image_uri: str
    image_etag: str | None
    model_id: str
    model_version: str
    model_digest: str
    method: str
    layer: str | None
    target: str
    rank: int
    class_index: int | None
    class_name: str | None
    probability: float | None
    logit: float | None
    status: Status
    error_code: str | None
    error_message: str | None
    grid_height: int | None
    grid_width: int | None
    raw_max: float | None
    map_scale: float | None
    map: tuple[float, ...] | None
    geometry: Geometry | None
    heatmap_uri: str | None
    overlay_uri: str | None
    raw_uri: str | None
    timings: Timings


class ErrorInfo(Wire, frozen=True, kw_only=True):
    code: str
    message: str


class Reply(Wire, frozen=True, kw_only=True):
    """What an interactive task returns: results, or the one error that prevented them."""

    results: tuple[Result, ...]
    error: ErrorInfo | None


class CheckRequest(Wire, frozen=True, kw_only=True):
    """Ask a worker to load a model that was uploaded, before its id is given out."""

    digest: str


class CheckReply(Wire, frozen=True, kw_only=True):
    report: dict[str, Any] | None
    error: ErrorInfo | None


class Target(Wire, frozen=True, kw_only=True):
    """A parsed target expression."""

    kind: Literal["top", "index", "label"]
    count: int
    index: int
    label: str


def parse_target(text: str) -> Target:
    """Parse `top`, `top:K`, a class index, a label, or `label:NAME` for a label of digits."""
    if text == "top":
        return Target(kind="top", count=1, index=-1, label="")
    if text.startswith("top:"):
        count = text.removeprefix("top:")
        if not count.isdecimal() or not 1 <= int(count) <= MAX_TARGETS:
            raise InvalidRequest(f"target {text!r}: K in top:K is a number from 1 to {MAX_TARGETS}")
        return Target(kind="top", count=int(count), index=-1, label="")
    if text.isdecimal():
        return Target(kind="index", count=1, index=int(text), label="")
    label = text.removeprefix("label:")
    if not label.strip():
        raise InvalidRequest("target is empty: use top, top:3, a class index or a label")
    return Target(kind="label", count=1, index=-1, label=label)


W = TypeVar("W")


def decode(data: object, kind: type[W]) -> W:
    """Return `data` (of a JSON message or a table row) as `kind`, or raise `InvalidRequest`."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{kind.__name__}: {error}") from error


def decode_json(data: bytes, kind: type[W]) -> W:
    """Return the JSON document `data` as `kind`, or raise `InvalidRequest`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{kind.__name__}: {error}") from error


def encode(message: Wire) -> dict[str, Any]:
    """Return `message` as plain dicts, lists, strings and numbers."""
    plain: dict[str, Any] = msgspec.to_builtins(message)
    return plain


def encode_json(message: Wire) -> bytes:
    return msgspec.json.format(msgspec.json.encode(message), indent=2)
