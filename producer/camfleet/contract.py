"""The words that producers and workers share.

A producer sends an `ExplainRequest` (one image, somebody waits) or a `ChunkRef` (a reference to
one part of a job's manifest). A worker answers with `Result`: one per image and target. Only
URIs and scalars travel through Redis, never pixels.

Decoding (`camfleet.wire`) is strict in both directions: every field must be present, none may be
unknown, and `InvalidRequest` names the one that is wrong.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import Meta

from camfleet.geometry import Focus, Geometry, Region
from camfleet.wire import Wire

SCHEMA_VERSION = 1

INTERACTIVE_QUEUE = "camfleet.interactive"
BULK_QUEUE = "camfleet.bulk"

EXPLAIN_TASK = "camfleet.explain"
CHUNK_TASK = "camfleet.chunk"
CHECK_TASK = "camfleet.check"
PROBE_TASK = "camfleet.probe"

Method = Literal["gradcam", "cam", "hirescam", "layercam", "xgradcam", "gradcam++"]
Colormap = Literal["viridis", "inferno", "turbo", "jet"]
Fuse = Literal["mean", "max"]
OutputKind = Literal["heatmap", "overlay", "raw"]
LONGEST = 4096  # characters of a URI, an id, a target
Name = Annotated[str, Meta(min_length=1, max_length=LONGEST)]
Values = tuple[float, ...]
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Status(StrEnum):
    """How one image and target ended."""

    OK = "ok"
    NO_EVIDENCE = "no_evidence"  # nothing in the image speaks for this class: the map is not > 0
    FAILED = "failed"


class Regions(Wire, frozen=True, kw_only=True):
    """Which shapes to derive from a map: where the heat reaches a threshold."""

    threshold: (
        Annotated[float, Meta(gt=0, le=1)] | Literal["otsu"]
    )  # or part of the hottest pixel's
    components: Literal["largest", "all"]
    shapes: tuple[Literal["box", "rle", "polygon"], ...]


class Outputs(Wire, frozen=True, kw_only=True):
    """Which pictures to write, how an overlay looks, and which shapes to derive."""

    kinds: tuple[OutputKind, ...]
    colormap: Colormap
    opacity: Annotated[float, Meta(ge=0, le=1)]
    max_side: Annotated[int, Meta(ge=0)]  # longest side of an overlay in pixels, 0: as the photo
    regions: Regions | None


DEFAULT_OUTPUTS = Outputs(
    kinds=("heatmap", "overlay"), colormap="turbo", opacity=0.5, max_side=1024, regions=None
)


class ExplainRequest(Wire, frozen=True, kw_only=True):
    """One image, one model, one target expression: the message of `EXPLAIN_TASK`."""

    image_uri: Name
    inputs: str | None  # values of the model's other inputs, see `expressions`
    model: Name  # "id" (the version registered last) or "id@version"
    target: Name  # see `expressions`
    method: Method
    layer: Name  # see `expressions`
    fuse: Fuse | None  # how the maps of several layers become one; null: as the card says
    outputs: Outputs


class ChunkRef(Wire, frozen=True, kw_only=True):
    """One part of a job's manifest, for one of its models: the message of `CHUNK_TASK`.

    `retry` is 0 for the first run, and the number of the retry that runs its failed rows again.
    """

    job_id: Name
    model: Annotated[int, Meta(ge=0)]
    part: Annotated[int, Meta(ge=0)]
    retry: Annotated[int, Meta(ge=0)]

    def __str__(self) -> str:
        again = f" retry {self.retry}" if self.retry else ""
        return f"job {self.job_id} model {self.model} part {self.part}{again}"


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
    fuse: Fuse | None
    outputs: Outputs
    items: int  # rows of the manifest
    duplicates: int  # rows of the source that were there before, and are not in the manifest
    chunk_size: int
    parts: int
    callback: str | None  # URL that is told of the end

    @property
    def images(self) -> int:
        """Explanations asked for: every item with every model."""
        return self.items * len(self.models)

    @property
    def chunks(self) -> int:
        return self.parts * len(self.models)

    def number(self, ref: ChunkRef) -> int:
        """Return the chunk's number within the job, model by model."""
        return ref.model * self.parts + ref.part

    def chunk(self, number: int, retry: int) -> ChunkRef:
        """Return the chunk of a number."""
        model, part = divmod(number, self.parts)
        return ChunkRef(job_id=self.job_id, model=model, part=part, retry=retry)

    def refs(self) -> Iterator[ChunkRef]:
        """Yield all chunks, model by model, so that a worker keeps its model."""
        for model in range(len(self.models)):
            for part in range(self.parts):
                yield ChunkRef(job_id=self.job_id, model=model, part=part, retry=0)


class RetryRecord(Wire, frozen=True, kw_only=True):
    """`retries/00001.json`: which failed rows of a complete job are run again, in which chunks."""

    schema_version: Literal[1]
    job_id: Name
    number: Annotated[int, Meta(ge=1)]
    created_at: float  # seconds since the epoch
    codes: tuple[str, ...]  # error codes; none: every failed row
    chunks: tuple[tuple[int, int], ...]  # model and part of each

    def refs(self) -> Iterator[ChunkRef]:
        for model, part in self.chunks:
            yield ChunkRef(job_id=self.job_id, model=model, part=part, retry=self.number)

    def wants(self, code: str | None) -> bool:
        """Say whether a row that failed with this code is run again."""
        return code is not None and (not self.codes or code in self.codes)


class Item(Wire, frozen=True, kw_only=True):
    """One row of a manifest part."""

    item_id: Name
    image_uri: Name
    target: Name | None  # overrides the job's
    inputs: str | None  # values of the model's other inputs, see `expressions`


class Timings(Wire, frozen=True, kw_only=True):
    """Milliseconds that one image took; `explain` is its share of the batch."""

    fetch: float
    decode: float
    explain: float
    render: float
    store: float


class LayerMap(Wire, frozen=True, kw_only=True):
    """One layer's own map, where maps of several layers were fused; fields as in `Result`."""

    layer: str
    grid_height: int
    grid_width: int
    raw_max: float
    map_scale: float
    map: tuple[float, ...] | None


class Result(Wire, frozen=True, kw_only=True):
    """One image and one target (`rank` 0 is the first target; a failed image has rank 0 only).

    `map` is the raw signed class activation map at its native grid, row by row: it's in the
    Parquet parts of a job (float16) and null in an interactive answer. The map in the method's
    own units is `map` * `map_scale`; the scale is 1 unless float16 can't hold the values.
    `raw_max` is the maximum of the exact float32 map: negative or zero means no evidence. A map
    that fuses several layers is made of their positive parts, each divided by its maximum, on the
    finest of their grids; `layer_maps` then holds each layer's own.

    A multi-label target that no class reaches gives one row with status `no_evidence` and no
    class. For a counterfactual target the map speaks against the class, the logit stays as it is.
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
    layer_maps: tuple[LayerMap, ...] | None
    geometry: Geometry | None
    focus: Focus | None
    regions: tuple[Region, ...] | None
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


class ProbeRequest(Wire, frozen=True, kw_only=True):
    """Ask a worker whether it can read some images."""

    uris: tuple[str, ...]


class ProbeReply(Wire, frozen=True, kw_only=True):
    """For each image why it can't be read, null where it can."""

    errors: tuple[ErrorInfo | None, ...]
    error: ErrorInfo | None
