"""The verbs of a client that delete."""

from datetime import timedelta
from typing import TYPE_CHECKING

from camfleet.broker.ledger import Ledger
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.jobs.retention.freed import OnProgress, Retired


def _ignore(_what: str, _count: int) -> None:
    pass


class Retiring:
    """What a client inherits; it brings the bucket and Redis' view of jobs."""

    @property
    def storage(self) -> Storage:
        raise NotImplementedError

    @property
    def _ledger(self) -> Ledger:
        raise NotImplementedError

    def delete(
        self,
        *job_ids: str,
        force: bool = False,
        dry_run: bool = False,
        on_progress: "OnProgress" = _ignore,
    ) -> "Retired":
        """Delete jobs that have ended, with all of their results, and return what that has freed.

        What other jobs need stays. With `force` also jobs whose report or callback is still to
        come. `on_progress` is told of "jobs" and "objects" how many there were so far. What was cut
        off is finished by the same call. Raises `UnknownJob`, and `InvalidRequest` for a job that
        runs.
        """
        from camfleet.jobs.retention.retention import Retention

        retention = Retention(self.storage, self._ledger, on_progress, dry_run=dry_run)
        return retention.delete(job_ids, force=force)

    def prune(
        self,
        older_than: timedelta,
        *,
        keep_report: bool = False,
        dry_run: bool = False,
        on_progress: "OnProgress" = _ignore,
    ) -> "Retired":
        """Delete all jobs that ended so long ago, or with `keep_report` only their results.

        Without a report a job then keeps its results, and `kept` names it.

        And pictures, uploads and converted models of that age which no job needs. The rest is as
        in `delete`; jobs that can't be deleted yet stay, and `kept` says why.
        """
        from camfleet.jobs.retention.retention import Retention

        retention = Retention(self.storage, self._ledger, on_progress, dry_run=dry_run)
        return retention.prune(older_than.total_seconds(), keep_report=keep_report)
