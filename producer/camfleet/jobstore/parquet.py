"""The two Parquet tables of a job, manifest parts and results parts, and how they may grow.

A column that came after form 1 (see `contract.codec`) is written only into parts of jobs whose
record says that form, so that older programs read all other jobs.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Annotated, Any, Self, TypeAlias, TypeVar, get_args, get_origin

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from camfleet.contract.codec import NEWEST_FORM, VERSIONS, Wire, form_of_field
from camfleet.contract.geometry import Focus, Geometry, Region
from camfleet.contract.records import Item
from camfleet.contract.results import LayerMap, Pack, Result, Span, Status, Timings
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.jobstore import keys, objects
from camfleet.jobstore.parquet_bounds import Bounds
from camfleet.jobstore.parquet_growth import check_growth
from camfleet.jobstore.totals import Image

W = TypeVar("W", bound=Wire)
Table: TypeAlias = pa.Table
naming = objects.naming

_NUMBERS = {float: pa.float64(), int: pa.int32(), str: pa.string(), bool: pa.bool_()}
_HALF = pa.list_(pa.float16())
_RETRY = b"camfleet.retry"
_BROKEN = (pa.ArrowException, OSError, ValueError, msgspec.ValidationError)
_VERSION = b"camfleet.version"  # of the program that wrote a part; 0.1.0 didn't say


def _struct(kind: type[Wire], form: int, **special: pa.DataType) -> pa.DataType:
    """Return the Arrow struct of a contract type; `special` types the fields that aren't scalar."""
    return pa.struct(
        [
            (field.name, special.get(field.name) or _scalar(field.type))
            for field in msgspec.structs.fields(kind)
            if form_of_field(kind, field.name) <= form
        ]
    )


def _scalar(annotation: Any) -> pa.DataType:
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    plain = next((inner for inner in get_args(bare) if inner is not type(None)), bare)
    return _NUMBERS[str if get_origin(plain) or issubclass(plain, str) else plain]


@cache
def manifest_schema(form: int) -> pa.Schema:
    """Return the schema of a manifest part in this form."""
    return pa.schema(_struct(Item, form))


@cache
def results_schema(form: int) -> pa.Schema:
    """Return the schema of a results part in this form."""
    timings = pa.struct([(field.name, pa.float32()) for field in msgspec.structs.fields(Timings)])
    spans = dict.fromkeys(keys.PICTURES, _struct(Span, form))
    return pa.schema(
        _struct(
            Result,
            form,
            status=pa.string(),
            map=_HALF,
            layer_maps=pa.list_(_struct(LayerMap, form, map=_HALF)),
            geometry=_struct(Geometry, form),
            focus=_struct(Focus, form),
            regions=pa.list_(
                _struct(Region, form, polygon=pa.list_(pa.list_(pa.float32()))),
            ),
            pack=_struct(Pack, form, **spans),
            timings=timings,
        )
    )


def _schema(kind: type[Wire], form: int) -> pa.Schema:
    return {Item: manifest_schema, Result: results_schema}[kind](form)


MANIFEST = manifest_schema(NEWEST_FORM)
RESULTS = results_schema(NEWEST_FORM)
# The columns that hold raw maps: all that has halves of a float, itself or in its structs.
MAPS = tuple(field.name for field in RESULTS if str(pa.float16()) in str(field.type))


def columns(names: Iterable[str] | None) -> pa.Schema:
    """Return the schema of some columns of the results, None: all; raise `InvalidRequest`."""
    chosen = RESULTS.names if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in RESULTS.names:
            there = ", ".join(RESULTS.names)
            raise InvalidRequest(f"results have no column {name!r}; the columns are {there}")
    return pa.schema([RESULTS.field(name) for name in chosen])


def narrowed(schema: pa.Schema, within: Mapping[str, Sequence[str]]) -> pa.Schema:
    """Return a schema whose structs have only the fields that `within` says, where it does."""
    fields = list(schema)
    for place, field in enumerate(fields):
        if field.name in within:
            inner = [one for one in field.type if one.name in within[field.name]]
            fields[place] = pa.field(field.name, pa.struct(inner))
    return pa.schema(fields)


def write_items(items: Sequence[Item], form: int) -> bytes:
    """Return items as a manifest part in this form; raise `InvalidRequest` for broken text."""
    return _write(items, manifest_schema(form), use_dictionary=False)  # all values are different


def write_results(rows: Sequence[Result], retry: int, form: int = 1) -> bytes:
    """Return rows as a results part in this form; it remembers the retry that wrote it, or 0."""
    kept = {_RETRY: str(retry).encode(), _VERSION: version("camfleet").encode()}
    return _write(rows, results_schema(form).with_metadata(kept), use_dictionary=True)


def read_manifest(data: bytes, count: int | None = None) -> list[Item]:
    """Return a manifest part's items; raise `ObjectDamaged`, also unless it has so many."""
    items = _rows(PartFile(data, Item).read(), Item)
    if count is not None and len(items) != count:
        raise ObjectDamaged(f"Item table has {len(items)} rows, not {count}")
    return items


def read_results(data: bytes) -> list[Result]:
    return to_results(open_results(data).read())


def open_results(data: bytes) -> "PartFile":
    """Return a results part of which columns can be read.

    Raises `ObjectDamaged`, and `InvalidRequest` for a part of a version unknown here.
    """
    return PartFile(data, Result)


def to_results(table: pa.Table) -> list[Result]:
    """Return the rows of a table of all columns."""
    return _rows(table, Result)


def prove_small(data: bytes) -> None:
    """Raise `ObjectDamaged` for a manifest part that is too large to be read."""
    with PartFile(data, Item) as file, _as_damage("Item table is too large"):
        file.bounds.check(MANIFEST.names)


def prove_readable(data: bytes) -> None:
    """Decode every column of a results part; raise `ObjectDamaged`."""
    with open_results(data) as file:
        table = file.read()
    with _as_damage("Result table holds what it can't"):
        table.validate(full=True)  # text is UTF-8, lists end where the next ones begin


def read_images(data: bytes) -> tuple[list[Image], int]:
    """Return how a results part's images ended, in order, and by which retry it was written."""
    with open_results(data) as file:
        table = file.read(["rank", "item_id", "status", "error_code"])
    with _as_damage("Result table holds what it can't"):
        rows = [row for row in table.to_pylist() if row["rank"] == 0]
        images = [Image(row["item_id"], Status(row["status"]), row["error_code"]) for row in rows]
        return images, int(file.metadata.get(_RETRY, 0))


class PartFile:
    """A part as this version reads it, whatever version wrote it.

    A nullable column or field that the writer didn't know is null. Raises `ObjectDamaged` where a
    part isn't Parquet or can't be decoded, and `InvalidRequest` where it lacks a column that can't
    be null, or has one that is unknown here or of another type; then it names the version to use.
    """

    def __init__(self, data: bytes, kind: type[Wire]) -> None:
        with _as_damage(f"{kind.__name__} table is not Parquet"):
            self.bounds = Bounds(data)
            self._file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            found = self._file.schema_arrow
        self._kind = kind
        self._schema = _schema(kind, NEWEST_FORM)
        self.metadata: dict[bytes, bytes] = found.metadata or {}
        self._there = {*found.names}
        if not any(found.equals(_schema(kind, form)) for form in VERSIONS):
            self._accept(found)

    def read(
        self, names: Sequence[str] | None = None, within: Mapping[str, Sequence[str]] | None = None
    ) -> pa.Table:
        """Return some columns, None: all, with the types of this version's schema.

        `within` says of structs which of their fields are read, none of which is nested.
        """
        wanted = self._schema.names if names is None else tuple(dict.fromkeys(names))
        fields = tuple((name, *inner) for name, inner in (within or {}).items())
        schema, paths = _asked(self._kind, tuple(wanted), fields)
        there = [name for name in wanted if name in self._there]
        table = self._decode([path for name in there for path in paths[name]])
        columns = [
            _as_type(table[field.name], field.type)
            if field.name in self._there
            else pa.nulls(table.num_rows, field.type)
            for field in schema
        ]
        return pa.Table.from_arrays(columns, schema=schema)

    def _accept(self, found: pa.Schema) -> None:
        """Raise unless what was found can be read: as damage where this version wrote it."""
        writer = self.metadata.get(_VERSION)
        try:
            check_growth(pa.struct(found), pa.struct(self._schema), self._kind, writer)
        except InvalidRequest as error:
            if writer == version("camfleet").encode():
                raise ObjectDamaged(str(error)) from error
            raise

    def _decode(self, names: list[str]) -> pa.Table:
        with _as_damage(f"{self._kind.__name__} table can't be decoded"):
            self.bounds.check(names)
            return self._file.read(columns=names, use_threads=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@lru_cache(64)
def _asked(
    kind: type[Wire], names: tuple[str, ...], within: tuple[tuple[str, ...], ...]
) -> tuple[pa.Schema, dict[str, list[str]]]:
    """Return the schema of columns, and for each what to read of a file."""
    fields = {name: inner for name, *inner in within}
    whole = _schema(kind, NEWEST_FORM)
    schema = narrowed(pa.schema([whole.field(name) for name in names]), fields)
    paths = {name: [f"{name}.{inner}" for inner in fields.get(name, ())] for name in names}
    return schema, {name: found or [name] for name, found in paths.items()}


def _as_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column if column.type.equals(kind) else column.cast(kind)


def _write(rows: Sequence[Wire], schema: pa.Schema, *, use_dictionary: bool) -> bytes:
    """Return `rows` as one Parquet file (Zstandard); raise `InvalidRequest` for broken text."""
    try:
        columns = [
            pa.array(msgspec.to_builtins([getattr(row, field.name) for row in rows]), field.type)
            for field in schema
        ]
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{error.object!r} can't be written as UTF-8") from error
    table, sink = pa.Table.from_arrays(columns, schema=schema), io.BytesIO()
    pq.write_table(
        table, sink, compression="zstd", use_dictionary=use_dictionary, write_page_checksum=True
    )
    return sink.getvalue()


def _rows(table: pa.Table, kind: type[W]) -> list[W]:
    with _as_damage(f"{kind.__name__} table holds what it can't"):
        rows: list[dict[str, Any]] = table.to_pylist()
        return msgspec.convert(rows, list[kind])  # type: ignore[valid-type]  # kind is a value here


@contextmanager
def _as_damage(what: str) -> Iterator[None]:
    """Turn whatever damaged bytes make pyarrow and msgspec raise into an `ObjectDamaged`."""
    try:
        yield
    except _BROKEN as error:
        raise ObjectDamaged(f"{what}: {error}") from error
