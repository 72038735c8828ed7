"""The rows of a Parquet manifest, a batch at a time, as many as fit into memory.

Whoever wrote the file is a stranger, and a kilobyte of Parquet can stand for gigabytes. So the
pages of a row group are looked at before it's read: what pyarrow holds of them at a time has a
bound, and so have a batch's values. A file may be as large as it likes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from camfleet.jobstore.parquet_pages import Group, ReadAt, Untrue, groups
from camfleet.sources.parquet_columns import MOST_HELD, MeasuredColumn

_MOST_FOOTER = 2**23  # bytes
_MOST_ELEMENTS = 2**14  # of the schema
_MOST_CHUNKS = 2**17  # columns of row groups
_MOST_REPEATED = 2**26  # bytes of a batch's values, were each as long as any
_MOST_ROWS = 2**25  # bytes of rows that are made Python's at a time, where they take more
_BATCHES = (4096, 1024, 256, 64, 16, 4, 1)  # rows
_ELEMENT = 100  # bytes that a value inside of a list takes in Python
_OPTIONS: dict[str, Any] = {"pre_buffer": False, "buffer_size": 2**20}  # else all is in memory

Row: TypeAlias = dict[str, Any]


class ParquetRows:
    """An open Parquet file, whose columns are called as its `header` says.

    Raises `Untrue` for what takes too much memory, and what pyarrow raises for what isn't Parquet.
    """

    def __init__(self, path: Path) -> None:
        with ExitStack() as stack:
            raw = stack.enter_context(path.open("rb")).fileno()
            self._read: ReadAt = lambda place, size: os.pread(raw, size, place)
            self._size = os.fstat(raw).st_size
            self._groups = _groups(self._read, self._size)
            self._file = stack.enter_context(pq.ParquetFile(path, **_OPTIONS))
            self.header: list[str] = self._file.schema_arrow.names
            self._opened = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def batches(self, header: Sequence[str]) -> Iterator[list[Row]]:
        """Yield all rows, with the names of `header` for their columns."""
        for number, group in enumerate(self._groups):
            if not group.rows:
                continue
            size = _batch_size(self._read, self._size, group)
            lists = any(column.repeated for column in group.columns)
            for batch in self._file.iter_batches(size, row_groups=[number], use_threads=False):
                yield from _rows(batch.rename_columns(header), lists)


def _groups(read: ReadAt, size: int) -> list[Group]:
    found = groups(read, size, _MOST_FOOTER, _MOST_ELEMENTS)
    if sum(len(group.columns) for group in found) > _MOST_CHUNKS:
        raise Untrue(f"it has {len(found):,} row groups")
    return found


def _batch_size(read: ReadAt, size: int, group: Group) -> int:
    """Return how many rows of a row group fit into memory; raise `Untrue`."""
    columns = []
    for column in group.columns:
        columns.append(MeasuredColumn(read, size, column, group.rows))
        if sum(measured.held for measured in columns) > MOST_HELD:
            raise Untrue(f"its row groups take more than {MOST_HELD:,} bytes of memory")
    held = sum(measured.held for measured in columns)
    each = sum(measured.each for measured in columns)
    for rows in _BATCHES:
        texts = sum(measured.texts(rows) for measured in columns)
        if rows * each <= _MOST_REPEATED and held + texts <= MOST_HELD:
            return rows
    raise Untrue("a single row of it may take too much memory")


def _rows(batch: pa.RecordBatch, lists: bool) -> Iterator[list[Row]]:
    """Yield a batch's rows, in so many pieces that none is large."""
    taken = batch.nbytes
    if lists:
        taken += _ELEMENT * sum(_elements(column) for column in batch.columns)
    if taken <= _MOST_ROWS:
        yield batch.to_pylist()
    elif batch.num_rows == 1:
        raise Untrue(f"a row takes {taken:,} bytes")
    else:
        half = batch.num_rows // 2
        yield from _rows(batch.slice(0, half), lists)
        yield from _rows(batch.slice(half), lists)


def _elements(array: pa.Array) -> int:
    """Return how many values are inside of an array's lists."""
    if pa.types.is_struct(array.type):
        return sum(_elements(child) for child in array.flatten())
    if not pa.types.is_nested(array.type):
        return 0
    inside = array.flatten()
    return len(inside) + _elements(inside)
