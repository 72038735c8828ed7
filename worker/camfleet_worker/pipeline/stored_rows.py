"""Rows of results parts that somebody asks about by their numbers."""

import hashlib
import threading
from collections.abc import Sequence

from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.contract.results import Result
from camfleet.errors import InvalidRequest, ObjectChanged
from camfleet.jobstore import keys, objects, parquet
from camfleet.storage.storage import Storage

_KEPT_BYTES = 2**26  # of a part, for the next request


class StoredRows:
    """Reads rows of results parts, and keeps the part that was read last. Safe to share."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._last: tuple[str, str, parquet.Table] | None = None

    def read(
        self, record: JobRecord, chunk: ChunkRef, digest: str, rows: Sequence[int]
    ) -> list[Result]:
        """Return the rows of these numbers of the part whose bytes have this sha256.

        Raises `ObjectChanged` where the part is another one by now, and `InvalidRequest` for a row
        that it doesn't have.
        """
        table = self._table(record, chunk, digest)
        if any(row >= table.num_rows for row in rows):
            raise InvalidRequest(f"{chunk} has no more than {table.num_rows} rows")
        return parquet.to_results(table.take(list(rows)))

    def _table(self, record: JobRecord, chunk: ChunkRef, digest: str) -> parquet.Table:
        if chunk.model >= len(record.models) or chunk.part >= record.parts:
            raise InvalidRequest(f"job {record.job_id} has no {chunk}")
        key = keys.results_part(record, chunk)
        with self._lock:
            if self._last and self._last[:2] == (key, digest):
                return self._last[2]
        with objects.naming(key):
            data = objects.read_part(self._storage, key).data
            if hashlib.sha256(data).hexdigest() != digest:
                raise ObjectChanged(f"{key} was written anew meanwhile: ask again")
            with parquet.open_results(data) as file:
                table = file.read()
        if table.nbytes <= _KEPT_BYTES:
            with self._lock:
                self._last = key, digest, table
        return table
