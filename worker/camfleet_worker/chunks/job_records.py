"""The records of the jobs that a worker works on, each read once."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from camfleet.broker.ledger import Ledger
from camfleet.contract.records import ChunkRef, JobRecord, RetryRecord
from camfleet.errors import CallerError, InvalidRequest, ObjectMissing, UnknownJob
from camfleet.jobstore import keys
from camfleet.jobstore.records import read_record, read_retry
from camfleet.storage.storage import Storage

_CACHED = 64


class Records:
    """Job and retry records, which never change as long as a job exists. Safe to share by threads.

    Where a job was deleted and its id was submitted anew, they're read again.
    """

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger
        self.job = lru_cache(_CACHED)(self._job)
        self.retry = lru_cache(_CACHED)(self._retry)

    def is_needed(self, ref: ChunkRef) -> bool:
        """Return whether a chunk isn't counted yet and its job not cancelled.

        Raises `CallerError` for a reference to nothing.
        """
        with self._noting(ref, ref.part, keys.job(ref.job_id)):
            record = self._current(ref.job_id)
        if ref.model >= len(record.models) or ref.part >= record.parts:
            raise CallerError(f"job {ref.job_id} has no part {ref.part} for model {ref.model}")
        done = self._ledger.is_done(ref.job_id, record.number(ref), ref.retry)
        return not done and not self._ledger.is_cancelled(ref.job_id)

    def retry_of(self, ref: ChunkRef, number: int) -> RetryRecord:
        """Return the record of the retry that a chunk belongs to, `number` in its job."""
        with self._noting(ref, number, keys.retry(ref.job_id, ref.retry)):
            return self.retry(ref.job_id, ref.retry)

    def _current(self, job_id: str) -> JobRecord:
        """Return the record of the job that Redis knows by this id now."""
        record = self.job(job_id)
        if self._ledger.created_at(job_id) in (None, record.created_at):
            return record
        self.job.cache_clear()
        self.retry.cache_clear()
        return self.job(job_id)

    @contextmanager
    def _noting(self, ref: ChunkRef, number: int, key: str) -> Iterator[None]:
        """Tell the job where a record is lost or damaged, as long as the chunk isn't counted."""
        try:
            yield
        except (UnknownJob, ObjectMissing, InvalidRequest) as error:
            lost = f"{key} can't be read ({error}): put it back, or submit the job's images again"
            self._ledger.note_trouble(ref.job_id, number, lost)
            raise

    def _job(self, job_id: str) -> JobRecord:
        return read_record(self._storage, job_id)

    def _retry(self, job_id: str, number: int) -> RetryRecord:
        return read_retry(self._storage, self.job(job_id), number)
