"""The chunks in work in this process, and their leases, renewed as long as it lives."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from camfleet.broker.heartbeats import ChunkState
from camfleet.broker.leases import Leases
from camfleet.contract.records import ChunkRef
from camfleet.errors import CamfleetError
from camfleet_worker.process.periodic import Periodic

logger = logging.getLogger(__name__)


class LeaseRenewer:
    """A thread that renews leases and does nothing else. Safe to share by threads.

    A lease lasts `seconds`.
    """

    def __init__(self, leases: Leases, seconds: float) -> None:
        self._leases = leases
        self._held: dict[ChunkRef, ChunkState] = {}
        self._thread = Periodic("lease-renewer", seconds / 3, self._renew)

    @contextmanager
    def hold(self, ref: ChunkRef, attempt: int) -> Iterator[Callable[[int], None]]:
        """Keep a leased chunk's lease during the block, then give it back.

        Gives a function that notes how many of the chunk's images are explained.
        """
        state = ChunkState(
            job_id=ref.job_id,
            model=ref.model,
            part=ref.part,
            retry=ref.retry,
            attempt=attempt,
            explained=0,
        )

        def note(explained: int) -> None:
            if ref in self._held:
                self._held[ref] = replace(state, explained=explained)

        self._held[ref] = state
        try:
            yield note
        finally:
            if self._held.pop(ref, None):
                self._give_back(ref)

    def leave(self, ref: ChunkRef) -> None:
        """Let the lease of a chunk that's held run out now, so that another worker takes it."""
        self._held.pop(ref, None)
        try:
            self._leases.leave(ref)
        except CamfleetError as error:
            logger.warning("%s: its lease will run out by itself: %s", ref, error)

    def chunks(self) -> tuple[ChunkState, ...]:
        """Return the chunks in work."""
        return tuple(self._held.values())

    def close(self) -> None:
        self._thread.close()

    def _renew(self) -> None:
        for ref in self._leases.renew(list(self._held)):
            logger.warning("%s is another worker's too by now: its lease had run out", ref)

    def _give_back(self, ref: ChunkRef) -> None:
        try:
            self._leases.give_back(ref)
        except CamfleetError as error:
            logger.warning("%s: its lease will run out by itself: %s", ref, error)
