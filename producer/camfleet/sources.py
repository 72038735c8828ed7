"""Where the images of a job come from: any source becomes one stream of items."""

import csv
import glob
import json
from collections.abc import Iterator
from os import fspath, walk
from pathlib import Path
from typing import Any

import msgspec

from camfleet.contract import Item
from camfleet.errors import InvalidRequest
from camfleet.expressions import parse_inputs, parse_target
from camfleet.storage import Storage

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MANIFEST_SUFFIXES = (".csv", ".jsonl", ".parquet")


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a manifest that a user wrote."""

    image_uri: str
    target: str | int | float | None = None
    id: str | int | float | None = None
    inputs: str | dict[str, float | tuple[float, ...]] | None = None


def items(source: str, storage: Storage) -> Iterator[Item]:
    """Yield the items of one source, in order, with flat memory.

    A source is an image (path or URI), a folder, a glob, `s3://bucket/prefix/`, or a manifest
    (.csv, .jsonl or .parquet with `image_uri` and optional `target`, `id` and `inputs`; relative
    paths in it start at its own folder). Raises `InvalidRequest` naming source and line.
    """
    path = Path(source)
    if path.suffix.lower() in MANIFEST_SUFFIXES and "://" not in source:
        yield from _manifest(path)
    else:
        for uri in _uris(source, path, storage):
            yield Item(item_id=uri, image_uri=uri, target=None, inputs=None)


def _uris(source: str, path: Path, storage: Storage) -> Iterator[str]:
    if source.startswith("s3://") and source.endswith("/"):
        yield from _below_prefix(source, storage)
    elif "://" in source:
        yield source
    elif path.is_dir():
        yield from _below_folder(path)
    elif path.is_file():
        yield fspath(path.resolve())
    else:
        yield from _matching(source)


def _below_prefix(source: str, storage: Storage) -> Iterator[str]:
    bucket = source.removeprefix("s3://").partition("/")[0]
    count = 0
    for key in storage.keys(source):
        if key.lower().endswith(IMAGE_SUFFIXES):
            count += 1
            yield f"s3://{bucket}/{key}"
    if not count:
        raise InvalidRequest(f"{source}: no images ({', '.join(IMAGE_SUFFIXES)}) below this prefix")


def _below_folder(folder: Path) -> Iterator[str]:
    count = 0
    for parent, folders, files in walk(folder.resolve()):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(IMAGE_SUFFIXES):
                count += 1
                yield fspath(Path(parent, name))
    if not count:
        raise InvalidRequest(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) in this folder")


def _matching(pattern: str) -> Iterator[str]:
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # the pattern may be absolute
    if not found:
        kind = "nothing matches" if glob.has_magic(pattern) else "no such file or folder"
        raise InvalidRequest(f"{pattern}: {kind}")
    for name in found:
        if Path(name).is_file():
            yield fspath(Path(name).resolve())


def _manifest(path: Path) -> Iterator[Item]:
    if not path.is_file():
        raise InvalidRequest(f"{path}: no such manifest")
    read = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix.lower()]
    number = 0
    for number, (place, fields) in enumerate(read(path), start=1):
        yield _item(path, number - 1, place, fields)
    if not number:
        raise InvalidRequest(f"{path}: the manifest has no rows")


def _item(path: Path, index: int, place: int, fields: Any) -> Item:
    try:
        line = msgspec.convert(fields, Line)
        if not line.image_uri:
            raise InvalidRequest("`image_uri` is empty")  # noqa: TRY301  # named with its line below
        target = _text(line.target)
        if target:
            parse_target(target)
        given = line.inputs or None
        uri = line.image_uri
        if "://" not in uri:
            uri = fspath((path.parent / uri).resolve())
        inputs = given if isinstance(given, str | None) else json.dumps(given)
        parse_inputs(inputs)
    except (msgspec.ValidationError, ValueError, InvalidRequest) as error:
        reason = str(error).removeprefix("Object ")
        hint = (
            f" (the columns are {', '.join(Line.__struct_fields__)})" if "field" in reason else ""
        )
        raise InvalidRequest(f"{path}, line {place}: {reason}{hint}") from error
    item_id = _text(line.id) or str(index)
    return Item(item_id=item_id, image_uri=uri, target=target, inputs=inputs)


def _text(value: str | float | None) -> str | None:
    """Return a cell as text; whole numbers that a tool wrote as 3.0 as 3."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value in (None, "") or value != value else str(value)  # noqa: PLR0124  # NaN


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, restkey="(more cells than columns)", strict=True)
        try:
            for row in rows:
                yield rows.line_num, {key: value for key, value in row.items() if value is not None}
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{path}: save it as UTF-8: {error}") from error
        except csv.Error as error:
            raise InvalidRequest(f"{path}, line {rows.line_num}: {error}") from error


def _jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError as error:
                    raise InvalidRequest(f"{path}, line {number}: {error}") from error


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for number, row in enumerate(batch.to_pylist(), start=number + 1):  # noqa: B020
                    yield number, row
    except pa.ArrowInvalid as error:
        raise InvalidRequest(f"{path}: not a Parquet file: {error}") from error
