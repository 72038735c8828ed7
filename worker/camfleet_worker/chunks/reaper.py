"""Chunks that nobody works on any more: those of dead workers, and those whose message got lost."""

import logging
import time
from collections.abc import Callable

from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.contract.records import ChunkRef
from camfleet.errors import CallerError, StorageUnavailable
from camfleet_worker.chunks.job_records import Records
from camfleet_worker.process.periodic import Periodic

logger = logging.getLogger(__name__)

_SETTLING_SECONDS = 5.0  # at least, from the start of Redis on


class Reaper:
    """A thread that puts such chunks back into the queue, by `publish`, and fills the queues.

    A lease lasts `seconds`. Every worker has a reaper; Redis lets one of them work at a time. After
    an outage of Redis it waits until the other workers had time to come back.
    """

    def __init__(
        self,
        leases: Leases,
        ledger: Ledger,
        records: Records,
        *,
        publish: Callable[[ChunkRef], None],
        seconds: float,
    ) -> None:
        self._leases = leases
        self._ledger = ledger
        self._records = records
        self._publish = publish
        self._seconds = seconds
        self._looked = time.monotonic()
        self._thread = Periodic("reaper", seconds / 2, self._reap)

    def close(self) -> None:
        self._thread.close()

    def _reap(self) -> None:
        settling = self._leases.is_settling(max(self._seconds, _SETTLING_SECONDS))
        away = time.monotonic() - self._looked > 2 * self._seconds
        self._looked = time.monotonic()
        self._ledger.repair()
        try:
            if not settling and not away:
                for ref in self._leases.overdue():
                    self._put_back(ref)
            if self._leases.is_sweeper():
                self._sweep()
        except StorageUnavailable:  # others may reach it
            self._leases.end_turns()
            raise
        self._ledger.fill_queues()  # in case nobody is left who takes chunks

    def _put_back(self, ref: ChunkRef) -> None:
        """Put the chunk of a dead worker back into the queue, if anybody still wants it."""
        try:
            needed = self._records.is_needed(ref)
        except CallerError:  # the job no longer exists
            needed = False
        dead = self._leases.settle(ref)
        if needed:
            why = "is gone" if dead else "lost its lease, but may live"
            logger.warning("%s: its worker %s; back to the queue", ref, why)
            self._publish(ref)
        self._leases.drop(ref)

    def _sweep(self) -> None:
        """Resend messages that got lost, or were never sent because their producer died."""
        for job_id in self._ledger.stalled(self._seconds):
            try:
                self._resend(job_id)
            except CallerError as error:  # must not keep the other jobs waiting
                logger.warning("job %s: its chunks can't be sent again: %s", job_id, error)

    def _resend(self, job_id: str) -> None:
        record = self._records.job(job_id)
        missing = self._ledger.not_done(record)
        logger.warning("job %s: %d chunks have no message; sent again", job_id, len(missing))
        self._ledger.enter_again(record)
