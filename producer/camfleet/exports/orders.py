"""Exports that somebody orders of a worker: checked at once, and written as one archive later."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camfleet.contract.errands import PICTURES, ExportOrder
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest
from camfleet.exports import packing, pictures
from camfleet.exports.export import Export, Options
from camfleet.exports.images import Count
from camfleet.exports.job import options_of
from camfleet.exports.label_config import parse_config
from camfleet.results import classes
from camfleet.results.coverage import Counts, Coverage, Reading
from camfleet.storage.storage import Storage

Check = Callable[[], object]

_OPTIONS = ("shape", "heat", "root", "prefix", "per_file")
_FILTERS = (
    *("status", "code", "model", "class_", "rank", "min_probability", "max_probability"),
    *("item", "image", "where"),
)


@dataclass(frozen=True)
class Written:
    """What an archive has, in words, and how much of the job that is."""

    note: str
    coverage: Coverage


def file_name(record: JobRecord, order: ExportOrder) -> str:
    """Return the name of an order's archive."""
    return f"{record.job_id}-{order.format}.zip"


def check(record: JobRecord, storage: Storage, order: ExportOrder) -> None:
    """Raise `InvalidRequest` naming the option that doesn't suit the job or the format."""
    filters = _filters(order)
    if order.format == PICTURES:
        selection = pictures.selection_of(record, order, filters)
    else:
        options = _options(order)
        # Whoever checks needn't have what draws heat.
        selection = Export(record, storage, replace(options, heat=False), filters).selection
    classes.refuse_unknown(record, storage, selection, filters.get("class_"))


def write(
    record: JobRecord,
    storage: Storage,
    order: ExportOrder,
    counts: Counts,
    archive: Path,
    on_step: Check,
    on_share: Callable[[float], object] = lambda _share: None,
) -> Written:
    """Write an order's archive, by way of a folder beside it; `on_step` is called again and again.

    `on_share` is told how much of the rows is read, from 0 to 1.

    Raises `InvalidRequest` as `check` does, and where the archive would be too large.
    """
    filters = _filters(order)
    if order.format == PICTURES:
        selection = pictures.selection_of(record, order, filters)
        reading = Reading(record, storage, selection, on_share)
        note = pictures.write(record, storage, order, reading, archive, on_step)
        return Written(note, reading.coverage(counts))
    export = Export(record, storage, _options(order), filters)
    reading = Reading(record, storage, export.selection, on_share)
    folder, room = archive.with_suffix(""), packing.Room(archive.parent)
    found = Count()

    def on_part() -> None:
        room.refuse_full()
        packing.refuse_many(found.images if export.file_for_each else 0)
        on_step()

    with packing.naming_full(), closing(reading.tables(on_part)) as tables:
        export.write(tables, folder, found)
    unfit = packing.pack(folder, archive, on_step)
    shape = export.shape or "classes only"
    notes = [f"{found.images:,} images, {found.annotations:,} annotations ({shape})"]
    if found.failed:
        notes.append(f"{found.failed:,} images failed: failed.jsonl says why")
    if unfit:
        notes.append(f"{unfit:,} names don't suit Windows or macOS: {packing.UNFIT} says which")
    return Written("; ".join(notes), reading.coverage(counts))


def _options(order: ExportOrder) -> Options:
    if order.pictures:
        raise InvalidRequest(f"pictures is for the format {PICTURES}, not for {order.format}")
    given: dict[str, Any] = {name: getattr(order, name) for name in _OPTIONS}
    options, _ = options_of(order.format, given)
    # Nothing here is the name of a file, whose place would be this machine.
    labels: Mapping[str, Any] = {name: label or False for name, label in order.labels.items()}
    return replace(options, labels=labels or None, config=_config(order))


def _config(order: ExportOrder) -> Any:
    if order.config is None:
        return None
    if order.format != "label-studio":
        raise InvalidRequest(f"config is a label config of Label Studio, not for {order.format}")
    return parse_config(order.config, "config")


def _filters(order: ExportOrder) -> dict[str, Any]:
    given = {name: getattr(order, name) for name in _FILTERS}
    return {name: value for name, value in given.items() if value not in (None, (), {})}
