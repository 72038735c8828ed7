"""An archive of the pictures that a job stored, under the names that `camfleet get` gives them."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from camfleet.contract.errands import ExportOrder
from camfleet.contract.records import JobRecord
from camfleet.errors import CallerError, InvalidRequest, ObjectDamaged
from camfleet.exports.packing import Archive, open_archive
from camfleet.jobstore import keys, picture_names, stored_pictures
from camfleet.jobstore.stored_pictures import Stored
from camfleet.prefetch import in_order
from camfleet.results.coverage import Reading
from camfleet.results.query import Selection
from camfleet.storage.storage import Storage

_COLUMNS = (
    *("item_id", "image_uri", "model_id", "model_digest", "target", "rank", "class_index"),
    *("class_name", "status", "pack"),
)
_ONLY_OTHERS = ("shape", "heat", "labels", "config", "root", "prefix", "per_file")
_THREADS = 8
_FAILURES = "failed.jsonl"
_MOST_TOLD = 10_000  # pictures that aren't there, of which the archive says why


class _Wanted(NamedTuple):
    name: str
    picture: Stored
    digest: str  # of the row's model


def selection_of(record: JobRecord, order: ExportOrder, filters: Mapping[str, Any]) -> Selection:
    """Return the rows of an order; raise `InvalidRequest` naming what doesn't suit it."""
    for name in _ONLY_OTHERS:
        if getattr(order, name):
            raise InvalidRequest(f"{name} is not for the format {order.format}")
    there = ", ".join(record.outputs.pictures) or "none"
    if not order.pictures:
        raise InvalidRequest(f"pictures: say which; job {record.job_id} wrote {there}")
    for kind in order.pictures:
        if kind not in record.outputs.pictures:
            raise InvalidRequest(
                f"job {record.job_id} wrote no {kind} (its pictures: {there}): camfleet render "
                f"{record.job_id} draws overlays and heatmaps from its maps"
            )
    uris = (f"{kind}_uri" for kind in dict.fromkeys(order.pictures))
    return Selection.of(record, (*_COLUMNS, *uris), filters)


def write(
    record: JobRecord,
    storage: Storage,
    order: ExportOrder,
    reading: Reading,
    path: Path,
    on_step: Callable[[], object],
) -> str:
    """Write the pictures of the rows; return in words what became of them.

    Those that can't be had are listed in `failed.jsonl`.
    """
    written, failed = 0, _Failures()

    def read(wanted: _Wanted) -> tuple[str, bytes | CallerError]:
        try:
            return wanted.name, _read(wanted, storage, record.job_id)
        except CallerError as error:
            return wanted.name, error

    with open_archive(path) as archive, closing(reading.tables(on_step)) as tables:
        wanted = (one for table in tables for one in _wanted(table.to_pylist(), record, order))
        for name, data in in_order(read, wanted, threads=_THREADS, ahead=2 * _THREADS):
            if isinstance(data, CallerError):
                failed.add(name, data)
            else:
                archive.add(name, data)
                written += 1
            on_step()
        failed.write(archive)
    lost = f"; {failed.count:,} can't be had: {_FAILURES} says why" if failed.count else ""
    return f"{written:,} pictures{lost}"


class _Failures:
    """Pictures that can't be had, counted, and the first ones named."""

    def __init__(self) -> None:
        self.count = 0
        self._lines: list[bytes] = []

    def add(self, name: str, error: CallerError) -> None:
        self.count += 1
        if len(self._lines) < _MOST_TOLD:
            told = {"picture": name, "error_code": error.code, "error_message": error.message}
            self._lines.append(json.dumps(told).encode() + b"\n")

    def write(self, archive: Archive) -> None:
        if self._lines:
            archive.add(_FAILURES, b"".join(self._lines))


def _wanted(rows: list[dict[str, Any]], record: JobRecord, order: ExportOrder) -> Iterator[_Wanted]:
    found: dict[str, _Wanted] = {}
    for row in rows:
        for kind in dict.fromkeys(order.pictures):
            picture = None if row["status"] == "failed" else stored_pictures.find(row, kind)
            if picture is not None:
                end = keys.PICTURES[kind][0]
                name = picture_names.of_picture(
                    row, picture.key, end, with_model=len(record.models) > 1
                )
                found[name] = _Wanted(name, picture, row["model_digest"])
    yield from found.values()


def _read(wanted: _Wanted, storage: Storage, job_id: str) -> bytes:
    """Return a picture; rows lie in the bucket, so somebody may have them name any object there."""
    picture = wanted.picture
    if picture.span is None and not picture.uri.startswith(
        storage.uri(keys.pictures(wanted.digest))
    ):
        raise ObjectDamaged(f"the row names no {picture.kind} of its own")
    return picture.read(storage, job_id)
