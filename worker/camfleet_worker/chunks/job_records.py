"""The records of jobs that a worker has to do with, read once."""

from functools import lru_cache

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import decode_json
from camfleet.contract.records import ChunkRef, JobRecord, RetryRecord
from camfleet.errors import CallerError
from camfleet.jobstore import keys
from camfleet.jobstore.records import read_record
from camfleet.storage.storage import Storage

_KEPT = 64


class Records:
    """Job and retry records, which never change. Safe to share by threads."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger
        self.job = lru_cache(_KEPT)(self._job)
        self.retry = lru_cache(_KEPT)(self._retry)

    def needed(self, ref: ChunkRef) -> bool:
        """Say whether a chunk isn't counted, and its job not cancelled.

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
        return decode_json(self._storage.get(keys.retry(job_id, number)).data, RetryRecord)
