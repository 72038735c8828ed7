"""What a worker answers: one row per image and target."""

from enum import StrEnum
from typing import Annotated

from camfleet.contract.codec import Added, Wire
from camfleet.contract.geometry import Focus, Geometry, Region
from camfleet.contract.outputs import Precision


class Status(StrEnum):
    """How one image and target ended."""

    OK = "ok"
    NO_EVIDENCE = "no_evidence"  # nothing in the image speaks for this class: the map is not > 0
    FAILED = "failed"


class Timings(Wire, frozen=True, kw_only=True):
    """Milliseconds that one image took; `explain` is its share of the batch."""

    fetch: float
    decode: float
    explain: float
    render: float
    store: float


class Span(Wire, frozen=True, kw_only=True):
    """Where a picture's own bytes lie within a pack."""

    offset: int
    length: int


class Pack(Wire, frozen=True, kw_only=True):
    """Where a row's pictures lie in a ZIP file that holds those of many rows, uncompressed."""

    uri: str
    heatmap: Span | None = None
    overlay: Span | None = None
    raw: Span | None = None
    thumbnail: Span | None = None


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

    A multi-label target that no class reaches gives one row with status `no_evidence`, no class,
    and an `error_message` that says so without an `error_code`. For a counterfactual target the map
    speaks against the class, the logit stays as it is.

    `first_index` and `first_name` are the model's own first answer, whatever the target:
    only in the jobs of reviews.

    `precision` is "bf16" where the engine computed so, null where it did in float32.

    A picture is an object of its own, which its `_uri` names, or where the job packs pictures a
    range of an object, which `pack` names; its `_uri` is null then.

    `label`, `boxes`, `group` and `columns` are the item's own, as its manifest has them.
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
    thumbnail_uri: Annotated[str | None, Added(2)] = None
    pack: Annotated[Pack | None, Added(2)] = None
    timings: Timings
    label: Annotated[str | None, Added(2)] = None
    boxes: Annotated[str | None, Added(2)] = None
    group: Annotated[str | None, Added(2)] = None
    columns: Annotated[str | None, Added(2)] = None
    first_index: Annotated[int | None, Added(2)] = None
    first_name: Annotated[str | None, Added(2)] = None
    precision: Annotated[Precision | None, Added(2)] = None
