"""The two Parquet tables of a job: manifest parts and results parts."""

import io
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from camfleet.contract.codec import Wire
from camfleet.contract.geometry import Focus, Geometry, Region
from camfleet.contract.records import Item
from camfleet.contract.results import LayerMap, Result, Status, Timings
from camfleet.errors import InvalidRequest
from camfleet.jobstore.totals import Image

W = TypeVar("W", bound=Wire)
Table = pa.Table

_NUMBERS = {float: pa.float64(), int: pa.int32(), str: pa.string(), bool: pa.bool_()}
_HALF = pa.list_(pa.float16())
_RETRY = b"camfleet.retry"


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
# The columns that hold raw maps: all that has halves of a float, itself or in its structs.
MAPS = tuple(each.name for each in RESULTS if str(pa.float16()) in str(each.type))


def columns(names: Iterable[str] | None) -> pa.Schema:
    """Return the schema of some columns of the results, None: all; raise `InvalidRequest`."""
    chosen = RESULTS.names if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in RESULTS.names:
            there = ", ".join(RESULTS.names)
            raise InvalidRequest(f"results have no column {name!r}; the columns are {there}")
    return pa.schema([RESULTS.field(name) for name in chosen])


def write_table(rows: Sequence[Wire], schema: pa.Schema) -> bytes:
    """Return `rows` as one Parquet file (Zstandard); raise `InvalidRequest` for broken text."""
    try:
        columns = [
            pa.array(msgspec.to_builtins([getattr(row, each.name) for row in rows]), each.type)
            for each in schema
        ]
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{error.object!r} can't be written as UTF-8") from error
    table, sink = pa.Table.from_arrays(columns, schema=schema), io.BytesIO()
    repeating = schema is not MANIFEST  # whose values are all different
    pq.write_table(table, sink, compression="zstd", use_dictionary=repeating)
    return sink.getvalue()


def read_manifest(data: bytes) -> list[Item]:
    return _rows(_open(data, MANIFEST, Item).read(), Item)


def read_results(data: bytes) -> list[Result]:
    return to_results(open_results(data).read())


def open_results(data: bytes) -> pq.ParquetFile:
    """Return a results part of which columns can be read; raise `InvalidRequest`."""
    return _open(data, RESULTS, Result)


def to_results(table: pa.Table) -> list[Result]:
    """Return the rows of a table of all columns."""
    return _rows(table, Result)


def write_results(rows: Sequence[Result], retry: int) -> bytes:
    """Return a results part that remembers by which retry it was written, 0: by none."""
    return write_table(rows, RESULTS.with_metadata({_RETRY: str(retry).encode()}))


def read_images(data: bytes) -> tuple[list[Image], int]:
    """Return how a results part's images ended, in order, and by which retry it was written."""
    with open_results(data) as file:
        table = file.read(columns=["rank", "item_id", "status", "error_code"], use_threads=False)
        retry = int((file.schema_arrow.metadata or {}).get(_RETRY, 0))
    rows = (row for row in table.to_pylist() if row["rank"] == 0)
    return [Image(row["item_id"], Status(row["status"]), row["error_code"]) for row in rows], retry


def _open(data: bytes, schema: pa.Schema, kind: type[Wire]) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
    except pa.ArrowInvalid as error:
        raise InvalidRequest(f"{kind.__name__} table is not Parquet: {error}") from error
    _compare(file.schema_arrow, schema, kind)
    return file


def _compare(found: pa.Schema, wanted: pa.Schema, kind: type[Wire]) -> None:
    types, right = (dict(zip(each.names, each.types, strict=True)) for each in (found, wanted))
    for name in {**right, **types}:
        if types.get(name) != right.get(name):
            raise InvalidRequest(
                f"{kind.__name__} table: column {name!r} is unknown, missing or of another type; "
                "it was written by another version of camfleet"
            )


def _rows(table: pa.Table, kind: type[W]) -> list[W]:
    rows: list[dict[str, Any]] = table.to_pylist()
    return msgspec.convert(rows, list[kind])  # type: ignore[valid-type]  # kind is a value here
