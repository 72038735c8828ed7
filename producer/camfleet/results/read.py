"""A job's results parts, read one after the other with flat memory."""

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

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


def read_parts(record: JobRecord, storage: Storage, selection: Selection) -> Generator[Part]:
    """Yield the parts of the selected models in order, missing ones too.

    Raises `ObjectDamaged` naming the part that can't be read.
    """
    refs = (ref for ref in record.refs() if ref.model in selection.models)
    work = partial(_read, record, storage, selection)
    yield from in_order(work, refs, threads=_AHEAD, ahead=_AHEAD)


def _read(record: JobRecord, storage: Storage, selection: Selection, ref: ChunkRef) -> Part:
    key = keys.results_part(record, ref)
    with objects.naming(key):
        try:
            data = objects.read_part(storage, key).data
        except ObjectMissing:
            return Part(ref, None, 0)
        return Part(ref, *select(data, selection))


def select(data: bytes, selection: Selection) -> tuple[pa.Table, int]:
    """Return what is selected of a part, and how many of its images failed.

    Only the selected columns are read, and these only where a row passes the tests.
    """
    with parquet.open_results(data) as file:
        tested = kept.read(file, [*selection.tested, "status"])
        failed = pc.sum(pc.equal(tested["status"], str(Status.FAILED))).as_py() or 0
        mask = selection.mask(tested)
        if mask is None:
            return kept.read(file, selection.schema.names), failed
        if not pc.any(mask).as_py():
            return selection.schema.empty_table(), failed
        return kept.read(file, selection.schema.names).filter(mask), failed
