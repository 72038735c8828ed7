"""Submit, resume and retry: what a producer writes and sends for a job, and in which order.

A job is made in steps, and a producer may die after any of them: manifest parts, `job.json`
(without it there is no job), the ledger. Submitting the same id again completes what is missing;
once the ledger knows the job, workers send its chunks. A claim on the job's id keeps
other producers out meanwhile.
"""

from collections.abc import Callable, Iterable
from typing import Any

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import decode, encode_json, sealed
from camfleet.contract.records import Item, JobRecord, LeftOut
from camfleet.errors import (
    InvalidRequest,
    ObjectChanged,
    UnknownJob,
    UnknownModel,
    check_codes,
)
from camfleet.faultpoints import FaultPoints
from camfleet.jobs import recovery
from camfleet.jobs.cancelling import refuse_cancelled, settle_note
from camfleet.jobs.job import Job
from camfleet.jobstore import keys
from camfleet.jobstore.cancellations import forget_cancelled
from camfleet.jobstore.claim import Claim
from camfleet.jobstore.manifest_parts import write_manifest
from camfleet.jobstore.records import adopt, check_id, read_record, write_source
from camfleet.rebuild import run_failed_again
from camfleet.registry.names import Names
from camfleet.settings import Settings
from camfleet.storage.storage import Storage

_JSON = "application/json"
_BEFORE = "was submitted before: nothing was done"
_ADOPTED = (
    "was run by way of another Redis until now: if workers still run it there, cancel it there"
)
_COMPLETED = "was submitted before, but not to the end: what was missing is queued now"
_WOULD_DO_NOTHING = "was submitted before: a submit does nothing"
_WOULD_COMPLETE = "was submitted before, but not to the end: a submit queues what is missing"


class Submitter:
    """The writing side of jobs."""

    def __init__(self, settings: Settings, storage: Storage, ledger: Ledger) -> None:
        self._settings = settings
        self._storage = storage
        self._ledger = ledger
        self._names = Names(storage)
        self._reach = FaultPoints(settings.fault_dir).reach

    def submit(
        self,
        order: dict[str, Any],
        items: Iterable[Item],
        *,
        job_id: str,
        keep_duplicates: bool,
        on_progress: Callable[[int], None],
        left_out: Callable[[], tuple[LeftOut, ...]] = tuple,
    ) -> Job:
        """Write and queue a job; `order` holds the fields of its record that the caller chose.

        `left_out` is asked, once all items are read, what their sources hold besides them.
        If the id exists, a submit that was cut off is completed, and any other is left alone: the
        job's `note` says which.
        """
        check_id(job_id)
        with self._ledger.claim(job_id) as claim:
            if self._storage.exists(keys.job(job_id)):
                return self._again(job_id, claim)
            self._refuse_leftovers(job_id)
            record = self._write(
                order, items, job_id, on_progress, claim, keep_duplicates=keep_duplicates
            )
            claim.renew()
            self._reach("manifest-written")
            write_source(self._storage, job_id, left_out(), self._ledger.fleet_id())
            self._create(keys.job(job_id), encode_json(record), job_id)
            self._models_must_be_kept(record)
            self._reach("record-written")
            self._ledger.open(record)
            self._reach("ledger-open")
            self._publish(job_id)
            return Job(job_id, self._storage, self._ledger)

    def note_of(self, job_id: str) -> str | None:
        """Return what a submit does of a job that has this id, None if there's none.

        Raises `InvalidRequest` where a submit does.
        """
        check_id(job_id)
        if self._storage.exists(keys.job(job_id)):
            if self._ledger.is_published(job_id):
                return _WOULD_DO_NOTHING
            refuse_cancelled(job_id, self._storage, self._ledger)
            return _WOULD_COMPLETE
        self._refuse_leftovers(job_id)
        return None

    def resume(self, job_id: str, *, cancelled: bool = False, wait: bool = True) -> Job:
        """Rebuild a job's ledger and queue what is missing; raise `UnknownJob`.

        With `cancelled` also of a job of which the bucket alone knows that it was cancelled.
        Without `wait` a job that another producer is at is an `InvalidRequest`.
        """
        check_id(job_id)
        with self._ledger.claim(job_id, wait=wait) as claim:  # nobody deletes it meanwhile
            record = read_record(self._storage, job_id)
            if not cancelled:
                refuse_cancelled(job_id, self._storage, self._ledger)
            adopted = self._rebuild(record, claim)
        note = _ADOPTED if adopted else None
        return Job(job_id, self._storage, self._ledger, note=note)

    def retry(self, job_id: str, codes: tuple[str, ...]) -> tuple[Job, int]:
        """Run a complete job's failed rows again: all, or those with one of the error codes.

        Chunks whose results part is missing or damaged run again as a whole. Returns the job and
        the number of images. Raises `UnknownJob`, and `InvalidRequest` for an unknown code and
        unless the job is complete.
        """
        check_codes(codes)
        check_id(job_id)
        with self._ledger.claim(job_id) as claim:
            record = read_record(self._storage, job_id)
            self._must_be_complete(record, claim)
            images = run_failed_again(
                record, self._storage, self._ledger, claim, codes, self._reach
            )
        return Job(job_id, self._storage, self._ledger), images

    def _publish(self, job_id: str) -> None:
        """Send what of the job is due now; whoever takes a chunk sends the next one."""
        self._ledger.fill_queues()
        self._reach("published")
        self._ledger.mark_published(job_id)

    def _write(
        self,
        order: dict[str, Any],
        items: Iterable[Item],
        job_id: str,
        on_progress: Callable[[int], None],
        claim: Claim,
        *,
        keep_duplicates: bool,
    ) -> JobRecord:
        from camfleet.sources.duplicates import Unique

        size = self._settings.chunk_size
        with Unique() as unique:
            stream = items if keep_duplicates else unique(items)
            manifest = write_manifest(self._storage, job_id, stream, size, on_progress, claim)
            made = {
                "schema_version": 1,
                "job_id": job_id,
                "created_at": self._ledger.now(),
                "items": manifest.items,
                "duplicates": unique.dropped,
                "chunk_size": size,
                "parts": manifest.parts,
            }
        return sealed(decode({**order, **made}, JobRecord), manifest.form)

    def _create(self, key: str, data: bytes, job_id: str) -> None:
        """Write a record for the first time; raise `InvalidRequest` if somebody else did."""
        try:
            self._storage.create(key, data, _JSON)
        except ObjectChanged as error:
            if self._storage.get(key).data != data:  # else ours, whose answer got lost
                raise InvalidRequest(
                    f"another producer wrote {key} meanwhile: look at camfleet status {job_id}"
                ) from error

    def _models_must_be_kept(self, record: JobRecord) -> None:
        """Take the job back if one of its models is being removed; raise `UnknownModel`.

        Whoever removes it looks at jobs' records after having marked it, so one sees the other.
        """
        try:
            for ref in record.models:
                self._names.check_kept(ref)
        except UnknownModel:
            self._storage.delete([keys.job(record.job_id)])
            raise

    def _refuse_leftovers(self, job_id: str) -> None:
        """Raise `InvalidRequest` where results lie that the job would take for its own."""
        if next(self._storage.keys(keys.results(job_id)), None):
            raise InvalidRequest(
                f"results of an earlier job {job_id} lie in {keys.results(job_id)}, without its "
                f"job.json: camfleet delete {job_id} removes them; or submit with another id"
            )

    def _again(self, job_id: str, claim: Claim) -> Job:
        record = read_record(self._storage, job_id)
        if self._ledger.is_published(job_id):
            return Job(job_id, self._storage, self._ledger, note=_BEFORE)
        refuse_cancelled(job_id, self._storage, self._ledger)
        self._rebuild(record, claim)
        return Job(job_id, self._storage, self._ledger, note=_COMPLETED)

    def _rebuild(self, record: JobRecord, claim: Claim) -> bool:
        """Enter a job in Redis; return whether another fleet ran it until now."""
        forget_cancelled(self._storage, record.job_id)
        recovery.rebuild(record, self._storage, self._ledger, claim)
        settle_note(record.job_id, self._storage, self._ledger)
        adopted = adopt(self._storage, record.job_id, self._ledger.fleet_id())
        self._publish(record.job_id)
        return adopted

    def _must_be_complete(self, record: JobRecord, claim: Claim) -> None:
        try:
            progress = self._ledger.progress(record.job_id)
        except UnknownJob:
            refuse_cancelled(record.job_id, self._storage, self._ledger)
            self._rebuild(record, claim)
            progress = self._ledger.progress(record.job_id)
        if not progress.complete:
            raise InvalidRequest(
                f"job {record.job_id} is {progress.state}: its failed images can be run again when "
                "it is complete (camfleet watch follows it, camfleet resume continues it)"
            )
