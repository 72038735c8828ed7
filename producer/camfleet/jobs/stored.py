"""Jobs that were under way when Redis lost everything: found in the bucket, and run to their ends.

Each is looked at by its record, the names of its results parts and a few small objects. Only those
that lack something are read as a whole, one after the other.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, TypeAlias

import msgspec

from camfleet.broker.ledger import Ledger
from camfleet.contract.records import JobRecord
from camfleet.errors import CallerError
from camfleet.jobs.forgotten import look, look_at_all
from camfleet.jobs.missing import chunks_to_run, is_followed
from camfleet.jobs.submit import Submitter
from camfleet.jobstore.fleets import other_fleets
from camfleet.jobstore.records import fleet_of, read_record
from camfleet.storage.storage import Storage

Outcome: TypeAlias = Literal[
    "resumed",
    "complete",
    "cancelled",
    "foreign",
    "pruned",
    "deleting",
    "unfinished",
    "unreadable",
    "failed",
]


class StoredJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that Redis has forgotten, and what became of it.

    It was `resumed`, or would be, with so many chunks to run at least; or left alone as it's
    `complete`, `cancelled`, a `foreign` one of another living fleet, `pruned`, being deleted
    (`deleting`), never submitted to the end (`unfinished`) or `unreadable`; or that `failed`.
    `note` says why.
    """

    job_id: str
    outcome: Outcome
    chunks: int | None = None  # of the job
    to_run: int | None = None  # of these
    note: str | None = None

    @property
    def needs_somebody(self) -> bool:
        """Return whether a person must look at it."""
        return self.outcome in ("unreadable", "failed")


class StoredJobs:
    """All jobs of the bucket that Redis has forgotten; those of the fleet `of_fleet` are ours."""

    def __init__(
        self, storage: Storage, ledger: Ledger, submitter: Submitter, of_fleet: str | None
    ) -> None:
        self._storage = storage
        self._ledger = ledger
        self._submitter = submitter
        own = ledger.fleet_id()
        others = other_fleets(storage, own)
        self._others = {each.fleet_id: each for each in others if each.fleet_id != of_fleet}

    def resume(self, on_progress: Callable[[int], object], *, dry_run: bool) -> Iterator[StoredJob]:
        """Yield what becomes of each, in the order of their ids; `on_progress` is told how many."""
        known = {*self._ledger.jobs()}
        for found in look_at_all(self._storage, known, self._look, on_progress):
            wanted = found.outcome == "resumed" and not dry_run
            yield self._resume(found) if wanted else found

    def _look(self, job_id: str) -> StoredJob | None:
        """Return what would become of a job, None for a folder that a store keeps empty."""
        found = look(self._storage, job_id)
        if found is None:
            return None
        if found.state != "stored":
            return StoredJob(job_id=job_id, outcome=found.state, note=found.note)
        try:
            return self._compare(read_record(self._storage, job_id))
        except CallerError as error:
            return StoredJob(job_id=job_id, outcome="unreadable", note=str(error))

    def _compare(self, record: JobRecord) -> StoredJob:
        outcome = partial(StoredJob, job_id=record.job_id, chunks=record.chunks)
        to_run = chunks_to_run(record, self._storage)
        if not to_run and is_followed(record, self._storage):
            return outcome(outcome="complete", to_run=0)
        other = self._others.get(fleet_of(self._storage, record.job_id) or "")
        if other:
            return outcome(outcome="foreign", to_run=to_run, note=str(other))
        return outcome(outcome="resumed", to_run=to_run)

    def _resume(self, found: StoredJob) -> StoredJob:
        """Resume a job, unless somebody else has done so meanwhile."""
        if self._ledger.created_at(found.job_id) is not None:
            return found
        try:
            job = self._submitter.resume(found.job_id, wait=False)
            return msgspec.structs.replace(found, note=job.note)
        except CallerError as error:
            return msgspec.structs.replace(found, outcome="failed", note=str(error))
