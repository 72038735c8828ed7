"""The thread that does errands: what people ask a worker to make of jobs that have ended.

An errand is due in Redis, and lies in the bucket with how it went. A worker that dies leaves it to
its lease, and the next one does it again, to the same place. What Redis forgets is entered again
by whoever asks how it went.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from camfleet.broker.due import LEASE_SECONDS, Held
from camfleet.broker.errands_due import NAME, ErrandsDue
from camfleet.contract.errands import Errand, ErrandRecord, kind_of
from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.records import JobRecord
from camfleet.errors import BrokerUnavailable, CallerError, StorageUnavailable
from camfleet.jobstore.errands import read_errand, settle, update_errand
from camfleet.jobstore.records import read_record
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.follow_ups.between import Between
from camfleet_worker.process.due import POLL_SECONDS, DueThread, Hold, HoldLost
from camfleet_worker.process.shutdown import Shutdown, WorkerStops

logger = logging.getLogger(__name__)

Maker = Callable[[JobRecord, Any, str, "Steps"], FollowUp]

ATTEMPTS = 3
_PAUSE = 10.0  # units between attempts, and during an outage
_CLOSING_SECONDS = 5.0
_LONGEST = 500  # characters of a reason
_TELL_SECONDS = 2.0  # between two words on how far it is


class ErrandRunner:
    """Does one errand after the other, in a thread of its own.

    `makers` do one kind each: they get the job's record, the errand, its id, and what to call
    between two steps. Between two steps the work pauses while `is_busy` says that somebody
    waits for this process. `on_end` is told the kind of what has ended, whether it was done, failed
    or refused as impossible, and how many seconds its last attempt took. Pauses between attempts
    are multiples of `unit` seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        storage: Storage,
        makers: Mapping[type[Errand], Maker],
        shutdown: Shutdown,
        is_busy: Callable[[], object] = bool,
        on_end: Callable[[str, str, float], None] = lambda _kind, _outcome, _seconds: None,
        poll_seconds: float = POLL_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        unit: float = 1.0,
    ) -> None:
        self._storage = storage
        self._makers = makers
        self._shutdown = shutdown
        self._between = Between(shutdown, is_busy)
        self._on_end = on_end
        self._unit = unit
        self._errands = ErrandsDue(settings, lease_seconds=lease_seconds)
        self._thread = DueThread("errands", self._take, self._handle, poll_seconds)

    def close(self) -> None:
        """End the thread; what is in work is given back, or left to its lease."""
        self._between.close()
        self._thread.close(_CLOSING_SECONDS)
        self._errands.close()

    def _take(self) -> Held | None:
        return None if self._shutdown.wait(0) else self._errands.due.take()

    def _handle(self, held: Held) -> None:
        words = NAME.fullmatch(held.name)
        record = words and read_errand(self._storage, words["job"], words["errand"])
        if not record or record.outcome.state in ("done", "failed"):
            self._errands.due.finish(held)
            return
        hold = Hold(self._errands.due, held)
        try:
            with hold:
                self._do(record, hold)
            self._errands.due.finish(hold.held)
        except _Later as later:
            self._errands.due.postpone(hold.held, later.seconds)
        except HoldLost:
            logger.warning("errand %s: another worker does it, or it was deleted", held.name)

    def _do(self, record: ErrandRecord, hold: Hold) -> None:
        """Do an errand and write down how it went; raise `_Later` and `HoldLost`."""
        try:
            begun = replace(
                record,
                attempts=record.attempts + 1,
                outcome=FollowUp(state="in_work", note=record.outcome.note),
            )
            if not update_errand(self._storage, begun):
                raise HoldLost
            began, word = time.monotonic(), "refused"
            try:
                outcome = self._attempt(begun, hold)
                word = outcome.state
            except CallerError as error:
                outcome = _failed(str(error))
            hold.check()
            if not settle(self._storage, begun, outcome):
                raise HoldLost
            self._on_end(kind_of(record.errand), word, time.monotonic() - began)
        except (WorkerStops, BrokerUnavailable, StorageUnavailable) as error:
            stops = isinstance(error, WorkerStops)
            self._give_back(record)
            raise _Later(0.0 if stops else _PAUSE * self._unit) from error

    def _attempt(self, record: ErrandRecord, hold: Hold) -> FollowUp:
        """Do it, or give it up; raise `CallerError` where it can't be done at all."""
        name = f"{record.job_id}/{record.id}"
        if record.attempts > ATTEMPTS:
            why = record.outcome.note or "the workers died with it"
            return _failed(f"given up after {ATTEMPTS} attempts: {why}")

        try:
            job = read_record(self._storage, record.job_id)
            steps = Steps(self._storage, record, partial(self._between.check, hold))
            return self._makers[type(record.errand)](job, record.errand, record.id, steps)
        except (HoldLost, WorkerStops, BrokerUnavailable, StorageUnavailable, CallerError):
            raise
        except Exception as error:
            logger.exception("errand %s: attempt %d", name, record.attempts)
            reason = f"{type(error).__name__}: {error}"
            if record.attempts >= ATTEMPTS:
                return _failed(f"given up after {record.attempts} attempts: {reason}")
            settle(self._storage, record, FollowUp(state="waiting", note=reason[:_LONGEST]))
            raise _Later(_PAUSE * self._unit) from error

    def _give_back(self, record: ErrandRecord) -> None:
        """Let an attempt not count that ended for reasons of ours, as far as that can be said."""
        try:
            settle(self._storage, record, FollowUp(state="waiting"))
        except StorageUnavailable:
            logger.warning("errand %s/%s waits", record.job_id, record.id)


class Steps:
    """What work calls between two of its steps: it raises where the work must end."""

    def __init__(self, storage: Storage, record: ErrandRecord, check: Callable[[], None]) -> None:
        self._storage = storage
        self._record = record
        self._check = check
        self._told = time.monotonic()

    def __call__(self) -> None:
        self._check()

    def tell(self, share: float) -> None:
        """Write down how much of the work is done, from 0 to 1, unless that was a moment ago."""
        if time.monotonic() < self._told + _TELL_SECONDS:
            return
        if not update_errand(self._storage, replace(self._record, share=share)):
            raise HoldLost
        self._told = time.monotonic()


class _Later(Exception):
    """An attempt that came to nothing; the next one may be better."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def _failed(reason: str) -> FollowUp:
    return FollowUp(state="failed", note=reason[:_LONGEST])
