"""Deleting jobs, so that a kill at any moment leaves a whole job, or one that says it's going.

First the job's record says that it's being deleted: from then on no worker, producer or reader
takes it for a job. Then Redis forgets it, what it shared with no other job goes, then its own
folder, and its record at the very end. Whoever repeats the call finishes what is left.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from msgspec.structs import replace

from camfleet.broker.ledger import Ledger
from camfleet.broker.progress import Progress
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.records import JobRecord, Pruned
from camfleet.contract.results import Status
from camfleet.errors import InvalidRequest, JobDamaged, UnknownJob
from camfleet.jobs.retention.folder import is_result
from camfleet.jobs.retention.protected import still_protected
from camfleet.jobs.retention.sweep import Sweeper
from camfleet.jobstore import keys
from camfleet.jobstore.records import check_id, latest_retry, read_any_record
from camfleet.jobstore.totals import Totals
from camfleet.storage.storage import Storage

_JSON = "application/json"


class StillNeeded(InvalidRequest):
    """A job can't be deleted yet; the message says why, and the way out."""


@dataclass(frozen=True)
class Deleter:
    """Takes single jobs away. `protected` says of a job why something else needs it."""

    storage: Storage
    ledger: Ledger
    protected: Mapping[str, str]
    force: bool = False  # also if a report or callback is still to come

    def check(self, job_id: str) -> None:
        """Raise `UnknownJob`, or `StillNeeded` for a job that runs or that something needs."""
        check_id(job_id)
        if next(self.storage.keys(keys.folder(job_id)), None) is None:
            raise UnknownJob(f"no job {job_id!r} in {self.storage.uri(keys.jobs())}")
        protected = {**self.protected, **still_protected(self.storage, job_id)}
        if job_id in protected:
            raise StillNeeded(
                f"job {job_id} is needed by {protected[job_id]}, and stays as long as it is"
            )
        progress = self._progress(job_id)
        if progress and not progress.ended:
            raise StillNeeded(
                f"job {job_id} is {progress.state}: camfleet cancel {job_id} stops it, then it can "
                "be deleted"
            )
        pending = self.ledger.pending(job_id)
        if pending and (not self.force or "chunk" in pending):
            way_out = "wait a moment" if "chunk" in pending else "wait, or --force deletes it now"
            raise StillNeeded(f"job {job_id} has ended, but {pending}: {way_out}")

    def ended_at(self, job_id: str) -> float:
        """Return when a job ended, as far as Redis knows, or 0."""
        with suppress(UnknownJob):
            ended = self.ledger.progress(job_id).ended_at
            return ended.timestamp() if ended else 0.0
        return 0.0

    def mark(self, job_id: str, now: float) -> None:
        """Let a job say that it's being deleted, and Redis forget it."""
        if self._is_marked(job_id):  # by a call that was cut off, and may hold its claim still
            self.ledger.forget(job_id)
            return
        with self.ledger.claim(job_id, wait=False):
            self.check(job_id)
            record = self._record(job_id)
            if record and record.deleted_at is None:
                self._write(replace(record, deleted_at=now))
            self.ledger.forget(job_id)

    def prune(self, job_id: str, ended_at: float, now: float) -> None:
        """Let a job say that its results are gone, and how they were; Redis forgets it."""
        with self.ledger.claim(job_id, wait=False):
            self.check(job_id)
            record = read_any_record(self.storage, job_id)
            if not record.pruned and record.deleted_at is None:
                self._write(replace(record, pruned=self._summary(record, ended_at, now)))
            self.ledger.forget(job_id)

    def forget(self, job_id: str) -> None:
        """Have Redis forget a job of which the bucket says that it's none any more."""
        self.ledger.forget(job_id)

    def remove(self, job_id: str, sweeper: Sweeper) -> bool:
        """Delete a job's own folder, its record last; False: it was submitted anew meanwhile.

        Where a call that was killed holds the job's claim it waits until that has expired.
        """
        with self.ledger.claim(job_id, wait=self._is_marked(job_id)):
            found = self._record(job_id)
            if found and found.deleted_at is None:
                return False
            record = keys.job(job_id)
            for _ in range(2):  # a worker may have lost its lease long ago, and write now
                own = self.storage.objects(keys.folder(job_id))
                sweeper.delete(each for each in own if each.key != record)
            sweeper.delete(each for each in self.storage.objects(record) if each.key == record)
        return True

    def remove_results(self, job_id: str, sweeper: Sweeper) -> None:
        """Delete all of a job's own folder but its record and what tells of it."""
        own = self.storage.objects(keys.folder(job_id))
        sweeper.delete(each for each in own if is_result(each.key))

    def _is_marked(self, job_id: str) -> bool:
        with suppress(UnknownJob, InvalidRequest):
            return read_any_record(self.storage, job_id).deleted_at is not None
        return False

    def _record(self, job_id: str) -> JobRecord | None:
        """Return a job's record, None where it has none and was never a job."""
        try:
            return read_any_record(self.storage, job_id)
        except UnknownJob:
            return None
        except InvalidRequest as error:
            if self.force:
                return None
            raise StillNeeded(f"{error}; --force deletes it all the same") from error

    def _progress(self, job_id: str) -> Progress | None:
        try:
            return self.ledger.progress(job_id)
        except JobDamaged as error:
            if self.force:
                return None
            raise StillNeeded(f"{error}. Or --force deletes it") from error
        except UnknownJob:
            return None

    def _write(self, record: JobRecord) -> None:
        """Replace a job's record, unless somebody else has done so."""
        key = keys.job(record.job_id)
        etag = self.storage.get(key).etag or ""
        data = encode_json(sealed(record, record.schema_version))
        self.storage.replace(key, data, _JSON, etag=etag)

    def _summary(self, record: JobRecord, ended_at: float, now: float) -> Pruned:
        """Return what is to be remembered of a job's results."""
        progress = self._progress(record.job_id)
        if progress is None:
            return self._counted(record, ended_at, now)
        return Pruned(
            pruned_at=now,
            ended_at=progress.ended_at.timestamp() if progress.ended_at else ended_at,
            state="complete" if progress.complete else "cancelled",
            ok=progress.ok,
            no_evidence=progress.no_evidence,
            failed=progress.failed,
            failures=progress.failures,
            retry=progress.retry,
        )

    def _counted(self, record: JobRecord, ended_at: float, now: float) -> Pruned:
        """Return the same of a job that Redis has forgotten, as its parts say it."""
        from camfleet.jobstore.results_parts import Outcomes

        totals, outcomes = Totals(), Outcomes(self.storage)
        for ref in record.refs():
            found = outcomes.find_readable(record, ref)
            totals.add(Totals.of(found.images if found else ()))
        latest = latest_retry(self.storage, record)
        return Pruned(
            pruned_at=now,
            ended_at=ended_at,
            state="complete" if totals.images == record.images else "cancelled",
            ok=totals.statuses[Status.OK],
            no_evidence=totals.statuses[Status.NO_EVIDENCE],
            failed=totals.statuses[Status.FAILED],
            failures=dict(totals.codes),
            retry=latest.number if latest else 0,
        )
