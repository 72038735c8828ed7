"""A job's results parts, read one after another with flat memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile

from camfleet import keys, tables
from camfleet.contract import ChunkRef, JobRecord, Status
from camfleet.errors import ObjectMissing
from camfleet.selection import Selection
from camfleet.storage import Storage

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4  # parts that are fetched and decoded while the caller is busy with one


@dataclass(frozen=True)
class Part:
    """What was selected of one results part."""

    table: pa.Table | None  # None where the part isn't there (yet)
    failed: int  # images that failed, selected or not


def read(record: JobRecord, storage: Storage, selection: Selection) -> Generator[Part]:
    """Yield the parts of the selected models in order, missing ones too."""
    refs = (ref for ref in record.refs() if ref.model in selection.models)
    yield from _in_order(partial(_read, record, storage, selection), refs)


def _read(record: JobRecord, storage: Storage, selection: Selection, ref: ChunkRef) -> Part:
    try:
        data = storage.get(keys.results_part(record, ref)).data
    except ObjectMissing:
        return Part(None, 0)
    return select(data, selection)


def select(data: bytes, selection: Selection) -> Part:
    """Read only the selected columns, and these only where a row passes the tests."""
    with tables.open_results(data) as file:
        tested = file.read(columns=[*selection.tested, "status"], use_threads=False)
        failed = pc.sum(pc.equal(tested["status"], str(Status.FAILED))).as_py() or 0
        mask = selection.mask(tested)
        if mask is None:
            return Part(_columns(file, selection), failed)
        if not pc.any(mask).as_py():
            return Part(selection.schema.empty_table(), failed)
        return Part(_columns(file, selection).filter(mask), failed)


def _columns(file: ParquetFile, selection: Selection) -> pa.Table:
    names = selection.schema.names
    return file.read(columns=names, use_threads=False).select(names)


def _in_order(function: Callable[[T], R], each: Iterable[T]) -> Iterator[R]:
    """Map in threads and yield in order, never more than `_AHEAD` in advance."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(_AHEAD, "results")
    try:
        for one in each:
            waiting.append(pool.submit(function, one))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
