"""The chunks in work: their leases renewed here, those of dead or forgetful workers put back."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from camfleet.broker.heartbeats import ChunkState
from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.contract.records import ChunkRef
from camfleet.errors import CallerError, ServiceError
from camfleet_worker.chunks.job_records import Records

logger = logging.getLogger(__name__)


class Keeper:
    """Two threads: one renews leases and does nothing else, one looks after what others dropped.

    `publish` puts a chunk back into the queue. Safe to share by threads.
    """

    def __init__(
        self,
        *,
        leases: Leases,
        ledger: Ledger,
        records: Records,
        publish: Callable[[ChunkRef], None],
        seconds: float,
    ) -> None:
        self._leases = leases
        self._ledger = ledger
        self._records = records
        self._publish = publish
        self._seconds = seconds
        self._held: dict[ChunkRef, ChunkState] = {}
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._every, args=each, name="camfleet-leases", daemon=True)
            for each in ((seconds / 3, self._renew), (seconds / 2, self._reap))
        ]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def holding(self, ref: ChunkRef, attempt: int) -> Iterator[Callable[[int], None]]:
        """Keep the lease of a chunk; give a function that notes how many images are explained."""
        state = ChunkState(
            job_id=ref.job_id,
            model=ref.model,
            part=ref.part,
            retry=ref.retry,
            attempt=attempt,
            explained=0,
        )

        def note(explained: int) -> None:
            self._held[ref] = replace(state, explained=explained)

        note(0)
        try:
            yield note
        finally:
            self._held.pop(ref, None)
            self._give_back(ref)

    def chunks(self) -> tuple[ChunkState, ...]:
        """Return the chunks in work."""
        return tuple(self._held.values())

    def close(self) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join()

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        while not self._closed.wait(seconds):
            try:
                work()
            except Exception as error:  # noqa: BLE001  # this thread must outlive whatever happens
                logger.warning("leases wait: %s", error)

    def _renew(self) -> None:
        self._leases.renew(list(self._held))

    def _reap(self) -> None:
        for ref in self._leases.overdue():
            self._put_back(ref)
        if self._leases.is_sweeper():
            self._sweep()

    def _put_back(self, ref: ChunkRef) -> None:
        """Put the chunk of a dead worker back into the queue, if anybody still wants it."""
        try:
            needed = self._records.needed(ref)
        except CallerError:  # there is no such job any more
            needed = False
        if needed:
            logger.warning("%s: its worker is gone; back to the queue", ref)
            self._publish(ref)
        self._leases.give_back(ref)

    def _sweep(self) -> None:
        """Send the messages again that got lost, or were never sent as their producer died."""
        for job_id in self._ledger.stalled(self._seconds):
            try:
                self._send_again(job_id)
            except CallerError as error:  # the other jobs shall not wait for this one's record
                logger.warning("job %s: its chunks can't be sent again: %s", job_id, error)

    def _send_again(self, job_id: str) -> None:
        record = self._records.job(job_id)
        retry = self._ledger.progress(job_id).retry
        missing = [record.chunk(number, retry) for number in self._ledger.not_done(job_id)]
        logger.warning("job %s: %d chunks have no message; sent again", job_id, len(missing))
        for ref in missing:
            self._publish(ref)

    def _give_back(self, ref: ChunkRef) -> None:
        try:
            self._leases.give_back(ref)
        except ServiceError as error:
            logger.warning("%s: its lease will run out by itself: %s", ref, error)
