"""Manifests as users write them: CSV, JSONL and Parquet become one stream of items."""

import csv
import json
import operator
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from camfleet.contract.outputs import LONGEST
from camfleet.contract.records import Item
from camfleet.contract.targets import parse_inputs, parse_target
from camfleet.errors import InvalidRequest

SUFFIXES = (".csv", ".jsonl", ".parquet")

_PARQUET_ROWS = 4096
_PARQUET = {"pre_buffer": False, "buffer_size": 2**20}  # else the whole file comes into memory


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a manifest."""

    image_uri: str
    target: str | int | float | None = None
    id: str | int | float | None = None
    inputs: str | dict[str, float | tuple[float, ...]] | None = None


_MISTAKES = (InvalidRequest, msgspec.ValidationError, ValueError, RecursionError, csv.Error)
_Row: TypeAlias = Line | Exception  # what is wrong with a line stands in its place


def items(
    path: Path, name: str, folder: str, on_broken: Callable[[InvalidRequest], None] | None
) -> Iterator[Item]:
    """Yield the items of the manifest at `path`, which messages call `name`.

    Relative URIs are resolved against `folder`, a path without links or `s3://bucket/prefix`.
    Raises `InvalidRequest` naming the line; with `on_broken`, the error is passed to that instead
    and the line skipped. A file that isn't a manifest at all is refused either way.
    """
    place = index = -1
    for index, (place, row) in enumerate(_READERS[path.suffix.lower()](path, name)):
        try:
            item = _item(index, row, folder)
        except _MISTAKES as error:
            broken = InvalidRequest(f"{name}, line {place}: {_reason(error)}")
            if on_broken is None:
                raise broken from error
            on_broken(broken)
        else:
            yield item
    if index < 0:
        raise InvalidRequest(f"{name}: the manifest has no rows")


def _item(index: int, row: _Row, folder: str) -> Item:
    if isinstance(row, Exception):
        raise row
    uri = row.image_uri
    if not uri:
        raise InvalidRequest("`image_uri` is empty")
    if "://" not in uri:
        uri = _absolute(uri, folder)
    if len(uri) > LONGEST:
        raise InvalidRequest(f"`image_uri` has {len(uri)} characters, at most {LONGEST}")
    return Item(
        item_id=str(index) if row.id is None else _text(row.id) or str(index),
        image_uri=uri,
        target=None if row.target is None else _target(row.target),
        inputs=None if row.inputs is None else _inputs(row.inputs),
    )


def _absolute(uri: str, folder: str) -> str:
    if "\0" in uri:
        raise InvalidRequest("null byte in `image_uri`")
    if folder.startswith("s3://") and not uri.startswith("/"):
        bucket, _, prefix = folder.removeprefix("s3://").partition("/")
        return f"s3://{bucket}" + posixpath.normpath(f"/{prefix}/{uri}")
    path = os.path.join(folder, uri)  # noqa: PTH118  # Path is slow, and rows are many
    return os.path.realpath(path) if ".." in uri else os.path.normpath(path)


@lru_cache(maxsize=4096)
def _target(value: str | float) -> str | None:
    text = _text(value)
    if text:
        parse_target(text)
    return text


def _inputs(given: str | dict[str, Any]) -> str | None:
    text = given if isinstance(given, str) else json.dumps(given)
    parse_inputs(text)
    return None if text in ("", "{}") else text


def _text(value: str | float) -> str | None:
    """Return a cell as text; a whole number that a tool wrote as 3.0 becomes 3."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value != value else str(value)  # noqa: PLR0124  # NaN
    if len(text) > LONGEST:
        raise InvalidRequest(f"a cell has {len(text)} characters, at most {LONGEST}")
    return text or None


def _reason(error: Exception) -> str:
    reason = str(error).removeprefix("Object ")
    return f"{reason} {_hint()}" if " field `" in reason else reason


def _hint() -> str:
    return f"(the columns are {', '.join(Line.__struct_fields__)})"


def _wrong_columns(names: Iterable[str]) -> str | None:
    """Return what is wrong with a table's columns, or None."""
    for name in names:
        if name not in Line.__struct_fields__:
            return f"contains unknown field `{name}` {_hint()}"
    return None if "image_uri" in names else f"missing required field `image_uri` {_hint()}"


def _csv(path: Path, name: str) -> Iterator[tuple[int, _Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            records = _records(reader)
            header = next(records, [])
            if isinstance(header, csv.Error):
                raise header
            wrong = _wrong_columns(header)
            places = {column: place for place, column in enumerate(header)}
            pick = operator.itemgetter(*(places.get(name, -1) for name in Line.__struct_fields__))
            for row in records:
                if wrong:
                    raise InvalidRequest(f"{name}, line {reader.line_num}: {wrong}")
                yield reader.line_num, _from_cells(row, len(header), pick)
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{name}: save it as UTF-8: {error}") from error
        except csv.Error as error:
            raise InvalidRequest(f"{name}, line {reader.line_num}: {error}") from error


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    """Yield the rows that aren't blank, and for one that can't be parsed its error."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield error
        else:
            if row:
                yield row


def _from_cells(row: Any, width: int, pick: Callable[[Any], Any]) -> _Row:
    if isinstance(row, csv.Error):
        return row
    if len(row) > width:
        return InvalidRequest("more cells than columns")
    row += [None] * (width + 1 - len(row))  # the last one is what a column has that isn't there
    return Line(*pick(row))


def _jsonl(path: Path, _name: str) -> Iterator[tuple[int, _Row]]:
    decode = msgspec.json.Decoder(Line).decode
    with path.open("rb") as file:
        for place, text in enumerate(file, start=1):
            try:
                row: _Row = decode(text)
            except (msgspec.DecodeError, ValueError, RecursionError):
                if not text.strip():
                    continue
                row = _from_text(text)
            yield place, row


def _from_text(text: bytes) -> _Row:
    """Return a line that msgspec refuses: NaN and a byte order mark are allowed after all."""
    try:
        row = msgspec.convert(json.loads(text), Line)
        msgspec.json.encode(row)  # refuses half a surrogate pair
    except _MISTAKES as error:
        return error
    return row


def _parquet(path: Path, name: str) -> Iterator[tuple[int, _Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, **_PARQUET) as file:
            if wrong := _wrong_columns(file.schema_arrow.names):
                raise InvalidRequest(f"{name}: {wrong}")
            batches = file.iter_batches(batch_size=_PARQUET_ROWS, use_threads=False)
            rows = (row for batch in batches for row in _from_dicts(batch.to_pylist()))
            yield from enumerate(rows, start=1)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name}: text that is not UTF-8: {error}") from error
    except (pa.ArrowException, OSError) as error:
        raise InvalidRequest(f"{name}: not a Parquet file: {error}") from error


def _from_dicts(rows: list[dict[str, Any]]) -> Iterable[_Row]:
    try:
        return msgspec.convert(rows, list[Line])
    except msgspec.ValidationError:
        return map(_from_dict, rows)


def _from_dict(row: dict[str, Any]) -> _Row:
    try:
        return msgspec.convert(row, Line)
    except msgspec.ValidationError as error:
        return error


_READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
