"""A worker that can't reach the object store though others can: they get its chunks."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from camfleet.broker.heartbeats import WorkerState
from camfleet.errors import BrokerUnavailable, CamfleetError, StorageUnavailable
from camfleet_worker.process.retrying import Insist
from camfleet_worker.process.shutdown import RunEnds

T = TypeVar("T")


class Stranded(RunEnds):
    """A worker waits in vain for the store, and others don't."""


class Company:
    """The other workers: whether one of them could do what this one can't.

    `workers` returns those that live, `owner` is this process as its leases name it. For `seconds`
    a worker waits for the store before it looks at them. Where all wait, none is better off, and
    each keeps what it has.
    """

    def __init__(
        self, workers: Callable[[], Sequence[WorkerState]], owner: str, seconds: float
    ) -> None:
        self._workers = workers
        self._name = owner.rpartition(":")[0]
        self._seconds = seconds

    def insist(self, insist: Insist, check: Callable[[], None]) -> Insist:
        """Return what repeats work as `insist` does, and after each failure calls `check`.

        Whatever that raises ends the waiting, and so does `Stranded`.
        """

        def insisting(work: Callable[[], T]) -> T:
            return insist(partial(self._attempt, work, time.monotonic(), check))

        return insisting

    def _attempt(self, work: Callable[[], T], since: float, check: Callable[[], None]) -> T:
        try:
            return work()
        except (BrokerUnavailable, StorageUnavailable) as error:
            check()
            waited = time.monotonic() - since
            if isinstance(error, StorageUnavailable) and waited >= self._seconds:
                self._leave_to_others(error)
            raise

    def _leave_to_others(self, error: StorageUnavailable) -> None:
        with suppress(CamfleetError):
            workers = self._workers()
            us = next((worker for worker in workers if worker.name == self._name), None)
            if us and any(_is_better_off(worker, us) for worker in workers):
                raise Stranded(str(error)) from error


def _is_better_off(worker: WorkerState, us: WorkerState) -> bool:
    """Return whether another worker waits for nothing, and can compute whatever we can."""
    return (
        worker.name != us.name
        and not worker.trouble
        and not worker.waits_for
        and worker.slots != 0
        and worker.newest_form >= us.newest_form
        and set(worker.precisions) >= set(us.precisions)
    )
