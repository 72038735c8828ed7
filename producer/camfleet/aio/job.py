"""A job whose verbs are awaited."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Unpack

from camfleet.aio.threads import Awaited, long, quick
from camfleet.broker.progress import Progress
from camfleet.contract.results import Result
from camfleet.jobs.job import POLL_SECONDS, Job

if TYPE_CHECKING:
    from camfleet.jobstore.parquet import Table
    from camfleet.results.query import Filters

_ROWS = 100  # results that are decoded in one step


class AsyncJob(Awaited):
    """A submitted job: the verbs of `Job`, awaited; `watch`, `results` and `tables` iterate."""

    _blocking: Job

    @property
    def id(self) -> str:
        return self._blocking.id

    @property
    def note(self) -> str | None:
        return self._blocking.note

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._blocking.warnings

    status = quick(Job.status)
    cancel = quick(Job.cancel)
    chunks_left = quick(Job.chunks_left)
    record = quick(Job.record)
    first_failures = long(Job.first_failures)
    left_out = long(Job.left_out)
    report = long(Job.report)
    verify = long(Job.verify)

    async def watch(self, *, timeout: float | None = None) -> AsyncIterator[Progress]:  # noqa: ASYNC109  # as Job's
        """Yield the progress, now and at every change, until the job is complete or cancelled.

        Ends without an error once `timeout` seconds have passed.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        last = None
        while True:
            progress = await self.status()
            seen = progress.chunks_done, progress.ok, progress.failed, progress.in_work
            if seen != last or progress.ended:
                yield progress
            if progress.ended or (deadline is not None and time.monotonic() > deadline):
                return
            last = seen
            await asyncio.sleep(POLL_SECONDS)

    async def wait(self, *, timeout: float | None = None) -> Progress:  # noqa: ASYNC109  # as Job's
        """Return the progress at the end of the job, or after `timeout` seconds."""
        *_, last = [progress async for progress in self.watch(timeout=timeout)]
        return last

    def results(self, **filters: "Unpack[Filters]") -> AsyncIterator[Result]:
        """Yield the results of all finished chunks; see `Job.results`."""
        return self._threads.stream(self._blocking.results(**filters), _ROWS)

    def tables(
        self, columns: Iterable[str] | None = None, **filters: "Unpack[Filters]"
    ) -> AsyncIterator["Table"]:
        """Yield the results as Arrow tables, one per part that has rows; see `Job.tables`."""
        return self._threads.stream(self._blocking.tables(columns, **filters), 1)
