"""Rows of results parts that somebody asks about by their numbers."""

import hashlib
import threading
from collections.abc import Sequence
from weakref import WeakValueDictionary

from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.contract.results import Result
from camfleet.errors import InvalidRequest, ObjectChanged
from camfleet.jobstore import keys, objects, parquet
from camfleet.lru import LRU
from camfleet.storage.storage import Storage

_KEPT_BYTES = 2**26  # of parts, for the next requests


class StoredRows:
    """Reads rows of results parts, and keeps the parts that were read last. Safe to share.

    Requests for rows of one part come together, from several slots: it's read for all of them once.
    """

    def __init__(self, storage: Storage, most_bytes: int = _KEPT_BYTES) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._kept: LRU[tuple[str, str], parquet.Table] = LRU(most_bytes)
        self._turns: WeakValueDictionary[tuple[str, str], _Turn] = WeakValueDictionary()

    def read(
        self, record: JobRecord, chunk: ChunkRef, digest: str, rows: Sequence[int]
    ) -> list[Result]:
        """Return the rows of these numbers of the part whose bytes have this sha256.

        Raises `ObjectChanged` where the part is another one by now, and `InvalidRequest` for a row
        that it doesn't have.
        """
        if chunk.model >= len(record.models) or chunk.part >= record.parts:
            raise InvalidRequest(f"job {record.job_id} has no {chunk}")
        table = self._table(keys.results_part(record, chunk), digest)
        if any(row >= table.num_rows for row in rows):
            raise InvalidRequest(f"{chunk} has no more than {table.num_rows} rows")
        return parquet.to_results(table.take(list(rows)))

    def _table(self, key: str, digest: str) -> parquet.Table:
        with self._lock:
            turn = self._turns.setdefault((key, digest), _Turn())
        with turn.lock:
            if (kept := self._kept.get((key, digest))) is not None:
                return kept
            table = self._read(key, digest)
            return self._kept.put((key, digest), table, table.nbytes)

    def _read(self, key: str, digest: str) -> parquet.Table:
        with objects.naming(key):
            data = objects.read_part(self._storage, key).data
            if hashlib.sha256(data).hexdigest() != digest:
                raise ObjectChanged(f"{key} was written anew meanwhile: ask again")
            with parquet.open_results(data) as file:
                return file.read()


class _Turn:
    """Whose turn it is to read a part."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
