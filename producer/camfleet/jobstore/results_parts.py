"""What became of a chunk: its results part in storage, written once, replaced only by retries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.contract.results import Result
from camfleet.errors import ObjectChanged, ObjectDamaged, ObjectMissing
from camfleet.jobstore import keys, objects, parquet
from camfleet.jobstore.totals import Image, Totals
from camfleet.storage.place import StoredObject
from camfleet.storage.storage import Storage

_PARQUET = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class Outcome:
    """A results part: how its images ended, and by which retry it was written."""

    data: bytes
    etag: str | None
    images: Sequence[Image]
    retry: int


class Outcomes:
    """The results parts of all jobs. Safe to share by threads.

    `reach` is called at the named point of the fault suite.
    """

    def __init__(
        self, storage: Storage, reach: Callable[[str], None] = lambda _point: None
    ) -> None:
        self._storage = storage
        self._reach = reach

    def find(self, record: JobRecord, ref: ChunkRef) -> Outcome | None:
        """Return a chunk's present results part, None where there is none.

        Raises `ObjectDamaged` unless all of it can be read and it has a row for each of the
        chunk's images.
        """
        key = keys.results_part(record, ref)
        with objects.naming(key):
            try:
                stored = objects.read_part(self._storage, key)
            except ObjectMissing:
                return None
            parquet.prove_readable(stored.data)
            return _complete(_read(stored), record.items_of(ref.part))

    def find_readable(self, record: JobRecord, ref: ChunkRef) -> Outcome | None:
        """Return what `find` does, None also where the part is damaged: `store` replaces it."""
        try:
            return self.find(record, ref)
        except ObjectDamaged:
            return None

    def store(
        self, record: JobRecord, ref: ChunkRef, rows: Sequence[Result], before: Outcome | None
    ) -> Outcome:
        """Write a chunk's results part in the place of `before`; return what lies there then.

        Where another worker was faster its part stays, so that what is counted is what lies there;
        a damaged part is replaced. A retry's predecessor is kept in the job's history.
        """
        key = keys.results_part(record, ref)
        data = parquet.write_results(rows, ref.retry, record.schema_version)
        try:
            if before is None:
                self._storage.create(key, data, _PARQUET)
            else:
                self._storage.put(keys.history_part(record, ref), before.data, _PARQUET)
                self._reach("history-written")
                self._storage.replace(key, data, _PARQUET, etag=before.etag or "")
        except ObjectChanged:
            return self._settle(record, ref, data)
        return _read(StoredObject(data, None))

    def totals(self, record: JobRecord, ref: ChunkRef, now: Outcome) -> Totals:
        """Return what a chunk adds to the job's totals: of a retry, the differences."""
        totals = Totals.of(now.images)
        before = self.before(record, ref) if ref.retry else None
        return totals.since(Totals.of(before.images)) if before else totals

    def before(self, record: JobRecord, ref: ChunkRef) -> Outcome | None:
        """Return a chunk's part as it was before a retry.

        None where nothing has replaced it, or what is left of it can't be read.
        """
        try:
            return _read(objects.read_part(self._storage, keys.history_part(record, ref)))
        except (ObjectMissing, ObjectDamaged):
            return None

    def _settle(self, record: JobRecord, ref: ChunkRef, data: bytes) -> Outcome:
        """Return the part that another worker wrote meanwhile, or replace a damaged one."""
        key = keys.results_part(record, ref)
        there = self._there(key)
        try:
            if there:
                return _complete(_read(there), record.items_of(ref.part))
        except ObjectDamaged:
            pass
        try:
            if there:
                self._storage.replace(key, data, _PARQUET, etag=there.etag or "")
            else:
                self._storage.create(key, data, _PARQUET)
        except ObjectChanged:  # by another worker that has met the damage
            return _read(objects.read_part(self._storage, key))
        return _read(StoredObject(data, None))

    def _there(self, key: str) -> StoredObject | None:
        """Return an object; None once one that is too large to be read is deleted."""
        try:
            return objects.read_part(self._storage, key)
        except ObjectDamaged:
            self._storage.delete([key])
            return None


def fits(rows: Sequence[Result]) -> bool:
    """Return whether a results part of these rows can be read again."""
    values = 0
    for row in rows:
        maps = [row.map, *(layer.map for layer in row.layer_maps or ())]
        values += sum(len(cells or ()) for cells in maps)
    return values <= objects.MOST_VALUES // 2


def _read(stored: StoredObject) -> Outcome:
    images, retry = parquet.read_images(stored.data)
    return Outcome(stored.data, stored.etag, images, retry)


def _complete(outcome: Outcome, images: int) -> Outcome:
    if len(outcome.images) != images:
        raise ObjectDamaged(f"it has rows of {len(outcome.images)} images instead of {images}")
    return outcome
