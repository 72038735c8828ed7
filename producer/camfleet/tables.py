"""The two Parquet tables of a job: manifest parts and results parts."""

import io
from collections.abc import Sequence
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from camfleet.contract import Focus, Geometry, Item, LayerMap, Region, Result, Status, Timings
from camfleet.errors import InvalidRequest
from camfleet.wire import Wire

W = TypeVar("W", bound=Wire)

_NUMBERS = {float: pa.float64(), int: pa.int32(), str: pa.string(), bool: pa.bool_()}
_HALF = pa.list_(pa.float16())


def _struct(kind: type[Wire], **special: pa.DataType) -> pa.DataType:
    """Return the Arrow struct of a contract type; `special` types the fields that aren't scalar."""
    fields = msgspec.structs.fields(kind)
    return pa.struct([(each.name, special.get(each.name) or _scalar(each.type)) for each in fields])


def _scalar(kind: Any) -> pa.DataType:
    optional = [each for each in get_args(kind) if each is not type(None)]
    plain = optional[0] if optional else kind
    return _NUMBERS[str if get_origin(plain) or issubclass(plain, str) else plain]


_TIMINGS = pa.struct([(each.name, pa.float32()) for each in msgspec.structs.fields(Timings)])
_REGION = _struct(Region, polygon=pa.list_(pa.list_(pa.float32())))

MANIFEST = pa.schema([(name, pa.string()) for name in Item.__struct_fields__])
RESULTS = pa.schema(
    _struct(
        Result,
        status=pa.string(),
        map=_HALF,
        layer_maps=pa.list_(_struct(LayerMap, map=_HALF)),
        geometry=_struct(Geometry),
        focus=_struct(Focus),
        regions=pa.list_(_REGION),
        timings=_TIMINGS,
    )
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


def read_images(data: bytes) -> list[tuple[str, Status]]:
    """Return item id and status of a results part's images, in order.

    Each image counts as its first target does.
    """
    table = pq.read_table(pa.BufferReader(data), columns=["rank", "item_id", "status"])
    rows = (row for row in table.to_pylist() if row["rank"] == 0)
    return [(row["item_id"], Status(row["status"])) for row in rows]


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
