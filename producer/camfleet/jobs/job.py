"""One job as its producer sees it: status, watch, cancel, verify, results."""

import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Unpack

from msgspec.structs import replace

from camfleet.broker.ledger import Ledger
from camfleet.broker.progress import Progress, progress_of_pruned
from camfleet.contract.records import JobRecord, LeftOut
from camfleet.contract.results import Result
from camfleet.errors import BrokerUnavailable, JobDamaged, UnknownJob
from camfleet.jobs.cancelling import cancel, refuse_cancelled
from camfleet.jobs.recovery import Verification, verify
from camfleet.jobstore.follow_ups import read_followed_up
from camfleet.jobstore.records import read_left_out, read_record
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.audit.document import Report
    from camfleet.jobstore.parquet import Table
    from camfleet.results.query import Filters

POLL_SECONDS = 0.5


class Job:
    """A submitted job: a handle that holds its id and looks everything else up."""

    def __init__(
        self, job_id: str, storage: Storage, ledger: Ledger, *, note: str | None = None
    ) -> None:
        self.id = job_id
        self.note = note  # what `submit` found, where the job existed already, and `resume`
        self.warnings: tuple[str, ...] = ()  # of `submit`: what it waits for, what would fail
        self._storage = storage
        self._ledger = ledger

    def __repr__(self) -> str:
        note = f", note={self.note!r}" if self.note else ""
        return f"Job({self.id!r}, bucket={self._storage.bucket!r}{note})"

    def status(self) -> Progress:
        """Return the exact totals so far; raise `UnknownJob`."""
        try:
            return self._ledger.progress(self.id)
        except JobDamaged:
            self.record()  # which says so if storage doesn't know the job either
            raise
        except UnknownJob as error:
            # storage knows more about an interrupted submit, and what was deleted
            record = read_record(self._storage, self.id, pruned_too=True)
            if record.pruned:
                followed = read_followed_up(self._storage, record, record.pruned.retry)
                return progress_of_pruned(record, record.pruned, followed)
            refuse_cancelled(self.id, self._storage, self._ledger, UnknownJob)
            raise UnknownJob(
                f"Redis does not know job {self.id!r}, object storage does: camfleet resume "
                "brings it back"
            ) from error

    def watch(self, *, timeout: float | None = None) -> Iterator[Progress]:
        """Yield the progress, now and at every change, until the job is complete or cancelled.

        Ends without an error once `timeout` seconds have passed.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        last = None
        while True:
            progress = self.status()
            seen = progress.chunks_done, progress.ok, progress.failed, progress.in_work
            if seen != last or progress.ended:
                yield progress
            if progress.ended or (deadline is not None and time.monotonic() > deadline):
                return
            last = seen
            time.sleep(POLL_SECONDS)

    def wait(self, *, timeout: float | None = None) -> Progress:
        """Return the progress at the end of the job, or after `timeout` seconds."""
        *_, last = self.watch(timeout=timeout)
        return last

    def first_failures(self) -> dict[str, str]:
        """Return the first message of each error code that images have failed with.

        It's read from some of the results parts, those first of which Redis knows that images of
        theirs failed; a rare code of a huge job may be absent.
        """
        from camfleet.results.failures import first_messages

        codes = self.status().failures
        if not codes:
            return {}
        hints = self._ledger.chunks_with_failures(self.id)
        return first_messages(self.record(), self._storage, codes, hints)

    def cancel(self) -> None:
        """Stop the job before its next batch; what's done stays and counts.

        The bucket keeps that in mind for a Redis that starts empty. Of a job that Redis has
        forgotten only the bucket says so then. Raises `UnknownJob`.
        """
        cancel(self.id, self._storage, self._ledger)

    def chunks_left(self) -> list[int]:
        """Return the numbers of the chunks that aren't counted yet."""
        return self._ledger.not_done(self.record())

    def verify(self) -> Verification:
        """Read all parts again and report whether every image is there exactly once."""
        found = verify(self.record(), self._storage, self._ledger)
        return replace(found, left_out=self.left_out())

    def report(self) -> "Report":
        """Return the report that a worker wrote at the job's end, as `report.json` has it.

        Raises `ObjectMissing` as long as there's none, see `status`, and `InvalidRequest` where
        another version of camfleet wrote it.
        """
        from camfleet.audit.files import read_report

        record = read_record(self._storage, self.id, pruned_too=True)
        return read_report(self._storage, record)

    def left_out(self) -> tuple[LeftOut, ...]:
        """Return which files of its sources the job doesn't take, by kind and with the reason."""
        return read_left_out(self._storage, self.id)

    def record(self) -> JobRecord:
        """Return what was asked; raise `UnknownJob`."""
        return read_record(self._storage, self.id)

    def results(self, **filters: "Unpack[Filters]") -> Iterator[Result]:
        """Yield the results of all finished chunks, model by model, in the manifest's order.

        Filters such as `status="failed"` are those of `camfleet.Filters`; a row must pass all of
        them. Raises `InvalidRequest` naming the filter.
        """
        from camfleet.jobstore import parquet

        for table in self.tables(**filters):
            yield from parquet.to_results(table)

    def tables(
        self, columns: Iterable[str] | None = None, **filters: "Unpack[Filters]"
    ) -> Iterator["Table"]:
        """Yield the results as Arrow tables (pyarrow.Table), one per part that has rows.

        Only the named columns are read; without `columns` all of them are. For pandas, DuckDB and
        the like; memory stays flat. Raises `InvalidRequest` naming the column or filter,
        `ObjectDamaged` naming a part that can't be read and, at the end, `ObjectMissing` naming
        parts that are gone.
        """
        from camfleet.results import classes
        from camfleet.results.coverage import Reading
        from camfleet.results.query import Selection

        record = self.record()
        selection = Selection.of(record, columns, filters)
        classes.refuse_unknown(record, self._storage, selection, filters.get("class_"))
        reading = Reading(record, self._storage, selection)
        for table in reading.tables():
            if table.num_rows:
                yield table
        with suppress(UnknownJob, BrokerUnavailable):
            reading.refuse_losses(self)


def new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
