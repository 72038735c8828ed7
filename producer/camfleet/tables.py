"""The two Parquet tables of a job: manifest parts and results parts."""

import io
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from camfleet.contract import Geometry, Item, Result, Timings, Wire
from camfleet.errors import InvalidRequest

W = TypeVar("W", bound=Wire)

MANIFEST = pa.schema(
    [("item_id", pa.string()), ("image_uri", pa.string()), ("target", pa.string())]
)

_FLOATS = {float: pa.float64(), int: pa.int32()}
_GEOMETRY = pa.struct(
    [(each.name, _FLOATS[each.type]) for each in msgspec.structs.fields(Geometry)]
)
_TIMINGS = pa.struct([(each.name, pa.float32()) for each in msgspec.structs.fields(Timings)])

RESULTS = pa.schema(
    [
        ("item_id", pa.string()),
        ("image_uri", pa.string()),
        ("image_etag", pa.string()),
        ("model_id", pa.string()),
        ("model_version", pa.string()),
        ("model_digest", pa.string()),
        ("method", pa.string()),
        ("layer", pa.string()),
        ("target", pa.string()),
        ("rank", pa.int32()),
        ("class_index", pa.int32()),
        ("class_name", pa.string()),
        ("probability", pa.float64()),
        ("logit", pa.float64()),
        ("status", pa.string()),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
        ("grid_height", pa.int32()),
        ("grid_width", pa.int32()),
        ("raw_max", pa.float64()),
        ("map_scale", pa.float64()),
        ("map", pa.list_(pa.float16())),
        ("geometry", _GEOMETRY),
        ("heatmap_uri", pa.string()),
        ("overlay_uri", pa.string()),
        ("raw_uri", pa.string()),
        ("timings", _TIMINGS),
    ]
)


def write_table(rows: Sequence[Wire], schema: pa.Schema) -> bytes:
    """Return `rows` as one Parquet file (Zstandard)."""
    plain = [msgspec.to_builtins(row) for row in rows]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(plain, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def read_manifest(data: bytes) -> list[Item]:
    return _read(data, MANIFEST, Item)


def read_results(data: bytes) -> list[Result]:
    return _read(data, RESULTS, Result)


def _read(data: bytes, schema: pa.Schema, kind: type[W]) -> list[W]:
    try:
        table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowInvalid as error:
        raise InvalidRequest(f"{kind.__name__} table is not Parquet: {error}") from error
    wrong = set(table.schema.names) ^ set(schema.names)
    if wrong:
        raise InvalidRequest(f"{kind.__name__} table: unknown or missing column {min(wrong)!r}")
    rows: list[dict[str, Any]] = table.to_pylist()
    return msgspec.convert(rows, list[kind])  # type: ignore[valid-type]  # kind is a value here
