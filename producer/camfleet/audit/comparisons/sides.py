"""The rows of two jobs, or of two models, brought together by image: in any order, on disk."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from camfleet.audit.hashes import Hashes, hashes_of
from camfleet.audit.rows import first_ref
from camfleet.contract.records import ChunkRef, JobRecord, ModelRef
from camfleet.errors import CallerError, ObjectDamaged, ObjectMissing
from camfleet.jobstore import keys, objects, parquet
from camfleet.registry.registry import Registry
from camfleet.results.query import Selection
from camfleet.results.read import read_parts
from camfleet.storage.storage import Storage
from camfleet.temporary import temporary_folder

KEY = "key"  # the column that says which image and inputs a row is of
MARK = "mark"  # the column with a hash of `KEY`
REF = "ref"  # the column that says where it stands in its job's results
_MOST_PIECES = 256  # files of a side on disk, each of which is read at once
_LOW = np.uint64(2**32 - 1)  # bits of a hash that say in which piece an image is
_HIGH = np.uint64(32)  # by which the other bits are shifted, that divide a piece further
_IN_MEMORY = 50_000  # rows of a side
_AT_ONCE = 4_096  # rows of a side that are joined, or rather few more


@dataclass
class Side:
    """One model's rows in a job."""

    record: JobRecord
    model: int
    missing: int = 0  # images of parts that aren't there

    @property
    def ref(self) -> ModelRef:
        return self.record.models[self.model]

    def tables(self, storage: Storage, columns: tuple[str, ...]) -> Iterator[pa.Table]:
        """Yield the rows part by part, with the columns `KEY`, `MARK` and `REF`.

        Raises `ObjectDamaged` where a model has other inputs and a part's manifest, which holds
        them, is gone or doesn't fit.
        """
        selection = Selection.of(self.record, columns, {})
        selection = Selection((self.model,), selection.schema, selection.tests)
        given = _takes_inputs(storage, self.record.job_id, self.ref)
        with closing(read_parts(self.record, storage, selection)) as parts:
            for part in parts:
                if part.table is None:
                    self.missing += self.record.items_of(part.ref.part)
                elif part.table.num_rows:
                    inputs = _inputs(storage, part.ref) if given else None
                    yield self._keyed(part.ref, part.table, inputs)

    def _keyed(self, ref: ChunkRef, table: pa.Table, inputs: list[str] | None) -> pa.Table:
        names = table["image_uri"]
        if inputs is not None:
            item = np.cumsum(np.array(table["rank"].to_pylist()) == 0) - 1
            if item.min() < 0 or item.max() >= len(inputs):
                raise ObjectDamaged(f"the results of {ref} aren't of the items in its manifest")
            own = (inputs[at] for at in item.tolist())
            pairs = zip(names.to_pylist(), own, strict=True)
            texts = [f"{name}\n{text}" if text else name for name, text in pairs]
            names = pa.chunked_array([pa.array(texts, pa.string())])
        refs = first_ref(self.record.number(ref)) + np.arange(table.num_rows)
        added = {
            KEY: names,
            MARK: pa.array(hashes_of(names)),
            REF: pa.array(refs, pa.int64()),
        }
        for name, column in added.items():
            table = table.append_column(name, column)
        return table


Step = Callable[[], object]


def joined(
    one: Iterator[pa.Table],
    other: Iterator[pa.Table],
    on_part: Step = lambda: None,
    *,
    rows: int = _AT_ONCE * _MOST_PIECES,
) -> Iterator[tuple[pa.Table | None, pa.Table | None]]:
    """Yield tables of both sides that hold the same images; those of one side alone with a None.

    All rows of an image come together, in whatever parts they lie: large sides wait on disk, in
    pieces for about so many `rows`.
    """
    count = min(max(1, rows // _AT_ONCE), _MOST_PIECES)
    with temporary_folder() as folder:
        sides = [_Pieces(folder / name, count) for name in ("one", "other")]
        for pair in zip_longest(one, other):
            for pieces, table in zip(sides, pair, strict=True):
                pieces.add(table)
            on_part()
        if any(pieces.on_disk for pieces in sides):
            for number in range(count):
                yield from _split(*(pieces.read(number) for pieces in sides))
        else:
            yield from _split(*(pieces.waiting() for pieces in sides))


def _split(
    one: pa.Table | None, other: pa.Table | None
) -> Iterator[tuple[pa.Table | None, pa.Table | None]]:
    """Yield the rows whose images both have, then what is left of each, some at a time."""
    rows = [0 if table is None else table.num_rows for table in (one, other)]
    count = max(1, max(rows) // _AT_ONCE)
    for number in range(count):
        own, others = (_some(table, number, count) for table in (one, other))
        if own is None or others is None:
            if own is not None or others is not None:
                yield own, others
            continue
        shared = [
            pc.is_in(table[KEY], value_set=rest[KEY].combine_chunks())
            for table, rest in ((own, others), (others, own))
        ]
        if pc.any(shared[0]).as_py():
            yield own.filter(shared[0]), others.filter(shared[1])
        if not pc.all(shared[0]).as_py():
            yield own.filter(pc.invert(shared[0])), None
        if not pc.all(shared[1]).as_py():
            yield None, others.filter(pc.invert(shared[1]))


def _some(table: pa.Table | None, number: int, count: int) -> pa.Table | None:
    """Return the rows of some images: those of one number, of so many."""
    if table is None or count == 1:
        return table
    found = table.filter(pa.array((_marks(table) >> _HIGH) % count == number))
    return found if found.num_rows else None


def _marks(table: pa.Table) -> Hashes:
    marks: Hashes = table[MARK].to_numpy()
    return marks


class _Pieces:
    """A side's rows: in memory while they're few, then in files by a hash of their image."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir()
        self._count = count
        self._folder = folder
        self._writers: dict[int, Any] = {}
        self._tables: list[pa.Table] = []
        self._rows = 0

    @property
    def on_disk(self) -> bool:
        return bool(self._writers)

    def add(self, table: pa.Table | None) -> None:
        if table is None or not table.num_rows:
            return
        self._tables.append(table)
        self._rows += table.num_rows
        if self._rows >= _IN_MEMORY:
            self._write()

    def waiting(self) -> pa.Table | None:
        """Return the rows that aren't on disk."""
        found = pa.concat_tables(self._tables) if self._tables else None
        self._tables, self._rows = [], 0
        return found

    def read(self, number: int) -> pa.Table | None:
        """Return the rows of a piece; ask for one after the other."""
        self._write()
        writer = self._writers.pop(number, None)
        if writer is None:
            return None
        writer.close()
        path = self._folder / str(number)
        with pa.OSFile(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        path.unlink()
        return table

    def _write(self) -> None:
        table = self.waiting()
        if table is None:
            return
        numbers = (_marks(table) & _LOW) % self._count
        order = np.argsort(numbers, kind="stable")
        table, numbers = table.take(order), numbers[order]
        for number in np.unique(numbers).tolist():
            if number not in self._writers:
                path = str(self._folder / str(number))
                self._writers[number] = pa.ipc.new_file(path, table.schema)
            first, last = np.searchsorted(numbers, [number, number + 1]).tolist()
            self._writers[number].write_table(table.slice(first, last - first))


def _takes_inputs(storage: Storage, job_id: str, ref: ModelRef) -> bool:
    """Return whether a model has inputs beside the image, which tell its items apart.

    Where its card can't be read any more, the manifests say so, if there are any.
    """
    try:
        return bool(Registry(storage).card(ref.digest).inputs)
    except CallerError:
        return next(storage.keys(keys.manifest(job_id)), None) is not None


def _inputs(storage: Storage, ref: ChunkRef) -> list[str]:
    """Return the other inputs of each item of a part; raise `ObjectDamaged`."""
    key = keys.manifest_part(ref.job_id, ref.part)
    try:
        data = objects.read_part(storage, key).data
    except ObjectMissing as error:
        raise ObjectDamaged(
            f"{key} is gone, which says what inputs the results of {ref} are for"
        ) from error
    return [item.inputs or "" for item in parquet.read_manifest(data)]
