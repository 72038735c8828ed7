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
from msgspec.structs import replace

from camfleet.contract.outputs import LONGEST
from camfleet.contract.records import Item
from camfleet.contract.targets import parse_inputs, parse_target
from camfleet.errors import InvalidRequest
from camfleet.sources.columns import Columns, Line, skip_marks, whole, whole_text, without_mark

SUFFIXES = (".csv", ".jsonl", ".parquet")

_MISTAKES = (InvalidRequest, msgspec.ValidationError, ValueError, RecursionError, csv.Error)
_NO_MORE = Columns()
_Row: TypeAlias = Line | Exception  # what is wrong with a line stands in its place


def items(
    path: Path,
    name: str,
    folder: str,
    on_broken: Callable[[InvalidRequest], None] | None,
    columns: Columns = _NO_MORE,
) -> Iterator[Item]:
    """Yield the items of the manifest at `path`, which messages call `name`.

    Relative URIs are resolved against `folder`, a path without links or `s3://bucket/prefix`.
    Raises `InvalidRequest` naming the line; with `on_broken`, the error is passed to that instead
    and the line skipped. A file that isn't a manifest at all, or that lacks a column which is to be
    kept, is refused either way.
    """
    place = index = -1
    unseen = set(columns.keep)
    for index, (place, row) in enumerate(_READERS[path.suffix.lower()](path, name, columns)):
        if unseen and isinstance(row, Line):
            unseen = columns.missing(row, unseen)
        try:
            item = _item(index, row, folder)
            if columns.keep and isinstance(row, Line):
                item = replace(item, **columns.kept(row))
        except _MISTAKES as error:
            broken = InvalidRequest(f"{name}, line {place}: {_reason(error, columns)}")
            if on_broken is None:
                raise broken from error
            on_broken(broken)
        else:
            yield item
    if index < 0:
        raise InvalidRequest(
            f"{name} names no image: it's an empty manifest, without a row below its header"
        )
    if unseen:
        raise InvalidRequest(f"{name}: no line has the column `{min(unseen)}`, which is to be kept")


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
        text = whole_text(text)
        parse_target(text)
    return text


def _inputs(given: str | dict[str, Any]) -> str | None:
    text = given if isinstance(given, str) else json.dumps(given)
    parse_inputs(text)
    return None if text in ("", "{}") else text


def _text(value: str | float) -> str | None:
    """Return a cell as text; a whole number that a tool wrote as 3.0 becomes 3."""
    value = value if isinstance(value, str) else whole(value)
    text = "" if value != value else str(value)  # noqa: PLR0124  # NaN
    if len(text) > LONGEST:
        raise InvalidRequest(f"a cell has {len(text)} characters, at most {LONGEST}")
    return text or None


def _reason(error: Exception, columns: Columns) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"save it as UTF-8: {error}"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    reason = str(error).removeprefix("Object ")
    is_bare = " field `" in reason and columns.hint() not in reason
    return f"{reason} {columns.hint()}" if is_bare else reason


def _csv(path: Path, name: str, columns: Columns) -> Iterator[tuple[int, _Row]]:
    with path.open(encoding="utf-8", newline="") as file:
        try:
            skip_marks(file)
            reader = csv.reader(file, strict=True)
            records = _records(reader)
            header = next(records, [])
            if isinstance(header, csv.Error):
                raise header
            if header and (wrong := columns.wrong(header)):
                raise InvalidRequest(f"{name}, line {reader.line_num}: {wrong}")
            places = {column: place for place, column in enumerate(header)}
            pick = operator.itemgetter(*(places.get(name, -1) for name in columns.names))
            for row in records:
                yield reader.line_num, _from_cells(row, len(header), pick, columns.line)
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


def _from_cells(row: Any, width: int, pick: Callable[[Any], Any], line: type[Line]) -> _Row:
    if isinstance(row, csv.Error):
        return row
    if len(row) > width:
        return InvalidRequest("more cells than columns")
    row += [None] * (width + 1 - len(row))  # the last one is what a column has that isn't there
    return line(*pick(row))


def _jsonl(path: Path, _name: str, columns: Columns) -> Iterator[tuple[int, _Row]]:
    decode = msgspec.json.Decoder(columns.line).decode
    # msgspec takes the last of several values of one key, and says nothing.
    keys = [json.dumps(name, ensure_ascii=False).encode() for name in columns.names]
    with path.open("rb") as file:
        for place, text in enumerate(file, start=1):
            try:
                row: _Row = decode(text)
            except (msgspec.DecodeError, ValueError, RecursionError):
                if not text.strip():
                    continue
                row = _from_text(text, columns.line)
            else:
                for key in keys:
                    if text.count(key) > 1:
                        row = _from_text(text, columns.line)
                        break
            yield place, row


def _from_text(text: bytes, line: type[Line]) -> _Row:
    """Return a line read with care: NaN and byte order marks are allowed, a key twice is not."""
    try:
        row = msgspec.convert(json.loads(text, object_pairs_hook=_object), line)
        msgspec.json.encode(row)  # refuses half a surrogate pair
    except _MISTAKES as error:
        return error
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of a line, or one inside it; raise `InvalidRequest` for a key twice."""
    found: dict[str, Any] = {}
    for name, value in zip(without_mark([name for name, _ in pairs]), pairs, strict=True):
        if name in found:
            raise InvalidRequest(f"`{name}` comes twice")
        found[name] = value[1]
    return found


def _parquet(path: Path, name: str, columns: Columns) -> Iterator[tuple[int, _Row]]:
    import pyarrow as pa

    from camfleet.jobstore.parquet_pages import Untrue
    from camfleet.sources.parquet_rows import ParquetRows

    try:
        with ParquetRows(path) as file:
            header = without_mark(file.header)
            if wrong := columns.wrong(header):
                raise InvalidRequest(f"{name}: {wrong}")
            batches = file.batches(header)
            rows = (row for batch in batches for row in _from_dicts(batch, columns.line))
            yield from enumerate(rows, start=1)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name}: text that is not UTF-8: {error}") from error
    except Untrue as error:
        raise InvalidRequest(
            f"{name}: not a Parquet file that can be read safely: {error}; "
            "write it anew, or as JSONL"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise InvalidRequest(f"{name}: not a Parquet file: {error}") from error


def _from_dicts(rows: list[dict[str, Any]], line: type[Line]) -> Iterable[_Row]:
    try:
        return msgspec.convert(rows, list[line])  # type: ignore[valid-type]  # a value here
    except msgspec.ValidationError:
        return (_from_dict(row, line) for row in rows)


def _from_dict(row: dict[str, Any], line: type[Line]) -> _Row:
    try:
        return msgspec.convert(row, line)
    except msgspec.ValidationError as error:
        return error


_READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
