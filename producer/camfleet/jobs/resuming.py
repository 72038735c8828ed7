"""The verbs of a client that bring jobs back which Redis has forgotten."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from camfleet.broker.ledger import Ledger
from camfleet.jobs.job import Job
from camfleet.jobs.submit import Submitter
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.jobs.forgotten import ForgottenJob
    from camfleet.jobs.stored import StoredJob


class Resuming:
    """What a client inherits; it brings the bucket, Redis' view of jobs, and what submits them."""

    @property
    def storage(self) -> Storage:
        raise NotImplementedError

    @property
    def _ledger(self) -> Ledger:
        raise NotImplementedError

    @property
    def _submitter(self) -> Submitter:
        raise NotImplementedError

    def forgotten_jobs(
        self, on_progress: Callable[[int], object] = lambda _count: None
    ) -> "Iterator[ForgottenJob]":
        """Yield the jobs that the bucket holds and Redis has forgotten, in the order of their ids.

        The record of each is read; `on_progress` is told how many there were so far.
        """
        from camfleet.jobs.forgotten import forgotten_jobs

        yield from forgotten_jobs(self.storage, {*self._ledger.jobs()}, on_progress)

    def resume(self, job_id: str, *, cancelled: bool = False) -> Job:
        """Run what a job still lacks, as object storage knows it; Redis may be empty.

        This rebuilds the job's ledger, and continues a cancelled job; one that Redis has forgotten
        only if it's `cancelled` that you mean. Raises `UnknownJob` and `InvalidRequest`.
        """
        return self._submitter.resume(job_id, cancelled=cancelled)

    def resume_stored(
        self,
        *,
        dry_run: bool = False,
        of_fleet: str | None = None,
        on_progress: Callable[[int], object] = lambda _count: None,
    ) -> "Iterator[StoredJob]":
        """Resume all jobs that Redis has forgotten and that lack something, and yield them all.

        Each is resumed when it's its turn, so go through all. Complete and cancelled jobs are left
        alone, and those of other fleets that used the bucket within half an hour, except for
        `of_fleet`. `on_progress` is told how many jobs there were so far.
        """
        from camfleet.jobs.stored import StoredJobs

        found = StoredJobs(self.storage, self._ledger, self._submitter, of_fleet)
        yield from found.resume(on_progress, dry_run=dry_run)
