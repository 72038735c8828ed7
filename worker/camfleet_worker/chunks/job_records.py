"""The records of the jobs that a worker works on, each read once."""

from functools import lru_cache

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import decode_document
from camfleet.contract.records import ChunkRef, JobRecord, RetryRecord
from camfleet.errors import CallerError
from camfleet.jobstore import keys
from camfleet.jobstore.records import read_record
from camfleet.storage.storage import Storage

_CACHED = 64


class Records:
    """Job and retry records, which never change. Safe to share by threads."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger
        self.job = lru_cache(_CACHED)(self._job)
        self.retry = lru_cache(_CACHED)(self._retry)

    def is_needed(self, ref: ChunkRef) -> bool:
        """Return whether a chunk isn't counted yet and its job not cancelled.

        Raises `CallerError` for a reference to nothing.
        """
        record = self.job(ref.job_id)
        if ref.model >= len(record.models) or ref.part >= record.parts:
            raise CallerError(f"job {ref.job_id} has no part {ref.part} for model {ref.model}")
        done = self._ledger.is_done(ref.job_id, record.number(ref), ref.retry)
        return not done and not self._ledger.is_cancelled(ref.job_id)

    def _job(self, job_id: str) -> JobRecord:
        return read_record(self._storage, job_id)

    def _retry(self, job_id: str, number: int) -> RetryRecord:
        return decode_document(self._storage.get(keys.retry(job_id, number)).data, RetryRecord)
