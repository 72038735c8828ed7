"""The thread that does what follows the end of jobs, so that nobody has to wait for it.

A complete job that asks for it is due in Redis, see `camfleet.broker.due`. What was done is written
to the bucket, so that it isn't done again after Redis was emptied, then to the job's hash, and in
the same step the job's callback becomes due. Each of these can be the last step of a worker that
dies: the next one does it again, to the same place.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from camfleet.broker.due import LEASE_SECONDS, Held
from camfleet.broker.follow_ups_due import FollowUpsDue, note_of
from camfleet.broker.ledger import Ledger
from camfleet.broker.progress import Progress
from camfleet.contract.follow_ups import (
    FAITHFULNESS,
    LABEL_STUDIO,
    REPORT,
    REVIEW,
    FollowedUp,
    FollowUp,
)
from camfleet.contract.records import JobRecord
from camfleet.errors import (
    BrokerUnavailable,
    CallerError,
    InvalidRequest,
    ObjectChanged,
    StorageUnavailable,
    UnknownJob,
)
from camfleet.jobstore.follow_ups import write_followed_up
from camfleet.jobstore.records import read_record
from camfleet.label_studio.connection import LabelStudioUnavailable
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.follow_ups.between import Between
from camfleet_worker.process.due import POLL_SECONDS, DueThread, Hold, HoldLost
from camfleet_worker.process.shutdown import Shutdown, WorkerStops

logger = logging.getLogger(__name__)

Check = Callable[[], None]
Maker = Callable[[JobRecord, Check], FollowUp]

ATTEMPTS = 4
_PAUSES = (10.0, 60.0, 300.0)  # units after the first and later attempts
_OUTAGE_PAUSE = 15.0
_CLOSING_SECONDS = 5.0
_LONGEST = 500  # characters of a reason
_SETTLED = ("done", "failed")


class FollowUpRunner:
    """Does what is due, one job after the other, in a thread of its own.

    `makers` do one kind each: they get the job's record and what raises where the work must end,
    and raise `CallerError` where it can't be done at all. What one of them has done isn't done
    again because of another. Between two steps the work pauses while `is_busy` says that somebody
    waits for this process. `on_end` is told the kind and state of what has ended, and how many
    seconds its last attempt took. Pauses between attempts are multiples of `unit` seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        storage: Storage,
        ledger: Ledger,
        makers: Mapping[str, Maker],
        shutdown: Shutdown,
        reach: Callable[[str], None],
        is_busy: Callable[[], object] = bool,
        on_end: Callable[[str, str, float], None] = lambda _kind, _state, _seconds: None,
        poll_seconds: float = POLL_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        unit: float = 1.0,
    ) -> None:
        self._storage = storage
        self._ledger = ledger
        self._makers = makers
        self._shutdown = shutdown
        self._reach = reach
        self._between = Between(shutdown, is_busy)
        self._on_end = on_end
        self._unit = unit
        self._follow_ups = FollowUpsDue(settings, lease_seconds=lease_seconds)
        self._thread = DueThread("follow-ups", self._take, self._handle, poll_seconds)

    def close(self) -> None:
        """End the thread; what is in work is given back, or left to its lease."""
        self._between.close()
        self._thread.close(_CLOSING_SECONDS)
        self._follow_ups.close()

    def _take(self) -> Held | None:
        return None if self._shutdown.wait(0) else self._follow_ups.due.take()

    def _handle(self, held: Held) -> None:
        self._reach("follow-up-taken")
        try:
            progress = self._ledger.progress(held.name)
        except UnknownJob as error:
            logger.info("job %s: nothing follows its end: %s", held.name, error)
            self._follow_ups.finish(held, None)
            return
        if not progress.complete:
            logger.info("job %s: nothing follows yet, it runs again", held.name)
            self._follow_ups.finish(held, None)
            return
        hold = Hold(self._follow_ups.due, held)
        try:
            self._do(hold, progress)
        except _Later as later:
            note = note_of(held.name, later.kind, FollowUp(state="waiting", note=later.reason))
            self._follow_ups.due.postpone(hold.held, later.seconds, note)
        except HoldLost:
            logger.warning("job %s: it runs again, or another worker does this", held.name)

    def _do(self, hold: Hold, progress: Progress) -> None:
        job_id = progress.job_id
        try:
            record = read_record(self._storage, job_id)
        except (UnknownJob, InvalidRequest) as error:
            logger.error("job %s: nothing follows its end: %s", job_id, error)  # noqa: TRY400
            self._follow_ups.finish(hold.held, _all_failed(progress, error))
            return
        with hold:
            found: dict[str, FollowUp] = {}
            for kind in _kinds(record):
                for before, settled in found.items():  # so that it isn't done again
                    hold.note(note_of(job_id, before, settled))
                found[kind] = self._follow_up(kind, hold, record, progress)
            followed = FollowedUp(
                schema_version=1,
                job_id=job_id,
                retry=progress.retry,
                report=found.get(REPORT),
                faithfulness=found.get(FAITHFULNESS),
                review=found.get(REVIEW),
                label_studio=found.get(LABEL_STUDIO),
            )
            hold.check()
            self._write(followed, list(found))
            self._reach("follow-up-recorded")
        calls_back = record.callback is not None
        if self._follow_ups.finish(hold.held, followed, calls_back=calls_back):
            logger.info("job %s: what follows its end is done", job_id)
            self._reach("follow-up-done")

    def _write(self, followed: FollowedUp, kinds: list[str]) -> None:
        """Write to the bucket that all is done; raise `_Later` in an outage."""
        try:
            write_followed_up(self._storage, followed)
        except StorageUnavailable as error:
            for kind in kinds:
                self._follow_ups.count(followed.job_id, kind, -1)
            raise _Later(kinds[-1], _OUTAGE_PAUSE * self._unit, str(error)) from error

    def _follow_up(self, kind: str, hold: Hold, record: JobRecord, progress: Progress) -> FollowUp:
        """Do one kind, unless it's done; return how it went. Raises `_Later` and `HoldLost`."""
        before: FollowUp = getattr(progress, kind) or FollowUp(state="waiting")
        if before.state in _SETTLED:
            return before
        attempt = self._follow_ups.count(record.job_id, kind)
        hold.note(note_of(record.job_id, kind, FollowUp(state="in_work", note=before.note)))
        began = time.monotonic()
        found = self._attempt(kind, hold, record, attempt, before)
        if found.state == "failed":
            logger.error("job %s: %s failed: %s", record.job_id, kind, found.note)
        self._on_end(kind, found.state, time.monotonic() - began)
        return found

    def _attempt(
        self, kind: str, hold: Hold, record: JobRecord, attempt: int, before: FollowUp
    ) -> FollowUp:
        if attempt > ATTEMPTS:
            why = before.note or "the workers died with it"
            return _failed(f"given up after {ATTEMPTS} attempts: {why}")

        try:
            return self._makers[kind](record, partial(self._between.check, hold))
        except HoldLost:
            raise
        except WorkerStops as error:
            self._follow_ups.count(record.job_id, kind, -1)
            raise _Later(kind, 0, "its worker stopped") from error
        except (BrokerUnavailable, StorageUnavailable, LabelStudioUnavailable) as error:
            self._follow_ups.count(record.job_id, kind, -1)
            raise _Later(kind, _OUTAGE_PAUSE * self._unit, str(error)) from error
        except Exception as error:
            if isinstance(error, CallerError) and not isinstance(error, ObjectChanged):
                return _failed(str(error))
            logger.exception("job %s: attempt %d at its %s", record.job_id, attempt, kind)
            reason = f"{type(error).__name__}: {error}"
            if attempt >= ATTEMPTS:
                return _failed(f"given up after {attempt} attempts: {reason}")
            seconds = _PAUSES[attempt - 1] * self._unit
            raise _Later(kind, seconds, f"attempt {attempt}: {reason}") from error


class _Later(Exception):
    """An attempt that came to nothing; the next one may be better."""

    def __init__(self, kind: str, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.seconds = seconds
        self.reason = reason[:_LONGEST]


def _kinds(record: JobRecord) -> tuple[str, ...]:
    return record.follow_ups.kinds if record.follow_ups else ()


def _failed(reason: str) -> FollowUp:
    return FollowUp(state="failed", note=reason[:_LONGEST])


def _all_failed(progress: Progress, error: Exception) -> FollowedUp:
    """Return that all failed that a job asked for, by what Redis knows of it."""
    failed = _failed(str(error))
    return FollowedUp(
        schema_version=1,
        job_id=progress.job_id,
        retry=progress.retry,
        report=progress.report and failed,
        faithfulness=progress.faithfulness and failed,
        review=progress.review and failed,
        label_studio=progress.label_studio and failed,
    )
