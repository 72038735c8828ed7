"""A job's results parts, read one after the other with flat memory."""

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.contract.results import Status
from camfleet.errors import ObjectMissing
from camfleet.jobstore import keys, objects, parquet
from camfleet.prefetch import in_order
from camfleet.results import kept
from camfleet.results.query import Selection
from camfleet.storage.storage import Storage

_AHEAD = 4  # parts that are fetched and decoded while the caller is busy with one


@dataclass(frozen=True)
class Part:
    """What was selected of one results part."""

    ref: ChunkRef
    table: pa.Table | None  # None where the part isn't there (yet)
    failed: int  # images that failed, selected or not
    digest: str = ""  # sha256 of the whole part's bytes, and
    numbers: tuple[int, ...] = ()  # those of the rows in it: both where they were asked for


def read_parts(
    record: JobRecord,
    storage: Storage,
    selection: Selection,
    *,
    numbered: bool = False,
    start: int = 0,
) -> Generator[Part]:
    """Yield the parts of the selected models in order, missing ones too.

    `numbered`: with what it takes to name their rows to a worker. `start` is the number of the
    chunk to begin with. Raises `ObjectDamaged` naming the part that can't be read.
    """
    wanted = set(selection.models)
    numbers = range(start, record.chunks)
    refs = (record.chunk(number, 0) for number in numbers if number // record.parts in wanted)
    work = partial(_read, record, storage, selection, numbered)
    yield from in_order(work, refs, threads=_AHEAD, ahead=_AHEAD)


def read_part(record: JobRecord, storage: Storage, ref: ChunkRef) -> Part:
    """Return a whole results part, with what it takes to name its rows to a worker."""
    return _read(record, storage, Selection.of(record, None, {}), True, ref)


def _read(
    record: JobRecord, storage: Storage, selection: Selection, numbered: bool, ref: ChunkRef
) -> Part:
    key = keys.results_part(record, ref)
    with objects.naming(key):
        try:
            data = objects.read_part(storage, key).data
        except ObjectMissing:
            return Part(ref, None, 0)
        table, failed, mask = _select(data, selection)
    if not numbered:
        return Part(ref, table, failed)
    numbers = range(table.num_rows) if mask is None else pc.indices_nonzero(mask).to_pylist()
    return Part(ref, table, failed, hashlib.sha256(data).hexdigest(), tuple(numbers))


def select(data: bytes, selection: Selection) -> tuple[pa.Table, int]:
    """Return what is selected of a part, and how many of its images failed.

    Only the selected columns are read, and these only where a row passes the tests.
    """
    return _select(data, selection)[:2]


def _select(data: bytes, selection: Selection) -> tuple[pa.Table, int, Any]:
    """Return what `select` does, and which rows these are; None: all."""
    with parquet.open_results(data) as file:
        whole = partial(kept.read, file, selection.schema.names, selection.within)
        if not selection.tests and "status" in selection.schema.names:
            table = whole()
            return table, _failed(table), None
        tested = kept.read(file, [*selection.tested, "status"])
        failed, mask = _failed(tested), selection.mask(tested)
        if mask is None:
            return whole(), failed, mask
        if not pc.any(mask).as_py():
            return selection.schema.empty_table(), failed, mask
        return whole().filter(mask), failed, mask


def _failed(table: pa.Table) -> int:
    found: int = pc.sum(pc.equal(table["status"], str(Status.FAILED))).as_py() or 0
    return found
