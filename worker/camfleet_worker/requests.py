"""Interactive requests: held while in work here, and rescued from workers that died."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from camfleet.broker.heartbeats import WorkerState
from camfleet.broker.requests import LEASE_SECONDS, LOOK_SECONDS, HeldRequest, Requests
from camfleet.contract.codec import NEWEST_FORM
from camfleet.contract.lanes import Lane
from camfleet.contract.messages import kind_of
from camfleet.contract.outputs import Precision
from camfleet.errors import CamfleetError
from camfleet_worker.process.periodic import Periodic

logger = logging.getLogger(__name__)

_ATTEMPTS = 3  # workers that may die with a request in work until it's given up


class RequestHolder:
    """Keeps the leases of requests in work, and sends those of dead workers again.

    `send` puts a request back into its queue under its own id, `give_up` answers one that workers
    die of; `workers` returns those that live. Safe to share by threads.
    """

    def __init__(
        self,
        requests: Requests,
        send: Callable[[HeldRequest], None],
        give_up: Callable[[HeldRequest], None],
        workers: Callable[[], Sequence[WorkerState]] = tuple,
    ) -> None:
        self._requests = requests
        self._send = send
        self._give_up = give_up
        self._workers = workers
        self._held: set[str] = set()
        self._passed: set[str] = set()  # on to others, from the block that holds them
        self._lock = threading.Lock()
        self._threads = [
            Periodic("request-renewer", LEASE_SECONDS / 3, self._renew),
            Periodic("request-rescuer", LOOK_SECONDS, self._rescue),
        ]

    @contextmanager
    def hold(self, held: HeldRequest) -> Iterator[None]:
        """Hold a request during the block; without Redis it's worked on all the same."""
        self._try("hold", held.id, lambda: self._requests.hold(held))
        with self._lock:
            self._held.add(held.id)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(held.id)
                passed = held.id in self._passed
                self._passed.discard(held.id)
            if not passed:
                self._try("release", held.id, lambda: self._requests.release(held.id))

    def pass_on(self, held: HeldRequest, precision: Precision) -> bool:
        """Leave a request that is held to workers that compute in a precision.

        Returns whether one is alive. Raises `BrokerUnavailable`.
        """
        if not any(precision in worker.precisions for worker in self._workers()):
            return False
        queue = Lane(NEWEST_FORM, precision).queue(kind_of(held.task))
        logger.info("request %s goes to %s", held.id, queue)
        # This worker has made no attempt. Should the message get lost, it's sent again from there.
        moved = replace(held, queue=queue, attempt=held.attempt - 1, waits=True)
        self._requests.hold(moved)  # before a worker takes it
        self._send(moved)
        with self._lock:
            self._passed.add(held.id)
        return True

    def is_answered(self, request_id: str) -> bool:
        """Return whether an answer is there; without Redis it's none that could be seen."""
        try:
            return self._requests.is_answered(request_id)
        except CamfleetError:
            return False

    def close(self) -> None:
        for thread in self._threads:
            thread.close()

    def _renew(self) -> None:
        with self._lock:
            ids = list(self._held)
        self._requests.renew(ids)

    def _rescue(self) -> None:
        for held in self._requests.overdue():
            if held.id in self._held:  # ours: Redis was away for longer than the lease
                continue
            in_queue = held.waits or not held.attempt
            if in_queue and self._requests.waits(held):
                self._requests.hold(held)
            elif self._requests.is_answered(held.id):  # by a worker that leases none
                self._requests.release(held.id)
            elif held.attempt >= _ATTEMPTS and not in_queue:
                logger.error("request %s: %d workers died of it", held.id, held.attempt)
                self._give_up(held)
                self._requests.release(held.id)
            else:
                lost = "its message got lost" if in_queue else "its worker is gone"
                logger.warning("request %s: %s; sent again", held.id, lost)
                self._requests.hold(replace(held, waits=True))  # before a worker takes it
                self._send(held)

    def _try(self, what: str, request_id: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except CamfleetError as error:
            logger.warning("can't %s request %s: %s", what, request_id, error)
