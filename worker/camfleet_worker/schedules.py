"""The thread that does what is due by a schedule, once for each time, whichever worker takes it.

What a schedule is, and for which time it was done last, lies in the bucket. A time is done in this
order: Redis notes that it's in work, it's done, the bucket says that it's done, Redis says when the
schedule is due next. A worker that dies after any of these leaves it to its lease, and the next one
goes on with the same time. Times that were missed become one.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from camfleet.broker.due import LEASE_SECONDS, Held
from camfleet.broker.schedules_due import SchedulesDue
from camfleet.contract.schedules import Schedule
from camfleet.errors import BrokerUnavailable, CallerError, StorageUnavailable
from camfleet.settings import Settings
from camfleet_worker.process.due import POLL_SECONDS, DueThread, Hold, HoldLost
from camfleet_worker.process.periodic import Periodic
from camfleet_worker.process.shutdown import Shutdown, WorkerStops

logger = logging.getLogger(__name__)

ATTEMPTS = 4
_PAUSES = (10.0, 60.0, 300.0)  # units after the first and later attempts
_OUTAGE_PAUSE = 15.0
_LOOK_SECONDS = 15.0  # between two looks for forgotten schedules
_CLOSING_SECONDS = 5.0
_THREADS = 8  # at what is due at once: what they do is waiting for the store
_NAMED = 10  # schedules that a message names


@dataclass(frozen=True)
class Scheduled:
    """A schedule as the bucket knows it, and the time for which it was done last.

    Of one that was never done that is when it was made. Whoever makes a schedule enters it in Redis
    (`entered`); others workers find by themselves.
    """

    schedule: Schedule
    last: float
    entered: bool = True


class Plan(Protocol):
    """What is scheduled, as the bucket knows it, and what is to be done."""

    def names(self) -> Iterable[str]:
        """Yield the names of all schedules, also of those that are paused."""

    def load(self, name: str) -> Scheduled | None:
        """Return a schedule, None if there's none or it's paused."""

    def do(self, name: str, moment: float, check: Callable[[], None]) -> None:
        """Do what is due at a time, and write to the bucket that it's done.

        It may have been begun before, so whatever it makes is named after the schedule and the
        time. `check` raises where the work must end. Raises `CallerError` where it can't be done.
        """


class ScheduleRunner:
    """Does what is due, some at a time. Pauses are multiples of `unit` seconds."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        *,
        shutdown: Shutdown,
        reach: Callable[[str], None],
        poll_seconds: float = POLL_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        look_seconds: float = _LOOK_SECONDS,
        unit: float = 1.0,
    ) -> None:
        self._plan = plan
        self._shutdown = shutdown
        self._reach = reach
        self._unit = unit
        self._closed = threading.Event()
        self._schedules = SchedulesDue(settings, lease_seconds=lease_seconds)
        self._thread = DueThread(
            "schedules", self._take, self._handle, poll_seconds, threads=_THREADS
        )
        self._planner = Periodic("schedules-planner", look_seconds, self._enter_forgotten)

    def close(self) -> None:
        """End both threads; what is in work is given back, or left to its lease."""
        self._closed.set()
        self._planner.close()
        self._thread.close(_CLOSING_SECONDS)
        self._schedules.close()

    def _enter_forgotten(self) -> None:
        """Enter what the bucket has and Redis hasn't."""
        if not self._schedules.is_planner():
            return
        for name in self._schedules.free_stuck():
            logger.warning("schedule %s was held by a clock that was set back", name)
        if self._schedules.is_set_back():
            logger.warning("Redis' clock was set back: all schedules are entered again")
            everything = self._found(self._plan.names())
            self._schedules.enter_after_set_back(self._planned(everything))
            return
        self._schedules.note_clock()
        there = self._schedules.times()
        found = self._found(name for name in self._plan.names() if name not in there)
        if found:
            _say_forgotten([name for name, one in found.items() if one.entered])
            self._schedules.enter_forgotten(self._planned(found))

    def _found(self, names: Iterable[str]) -> dict[str, Scheduled]:
        """Return the schedules that the bucket has under these names."""
        loaded = ((name, self._load(name)) for name in names)
        return {name: one for name, one in loaded if one}

    def _planned(self, found: Mapping[str, Scheduled]) -> dict[str, float]:
        """Return when schedules are to be done."""
        now = self._schedules.now()
        return {name: one.schedule.planned(one.last, now) for name, one in found.items()}

    def _take(self) -> Held | None:
        return None if self._shutdown.wait(0) else self._schedules.due.take()

    def _handle(self, held: Held) -> None:
        self._reach("schedule-taken")
        scheduled = self._load(held.name)
        if scheduled is None:
            logger.info("schedule %s: it's paused, deleted or damaged", held.name)
            self._schedules.settle(held, None)
            return
        now = self._schedules.now()
        moment = scheduled.schedule.latest(scheduled.last, now)
        if moment is None:  # done already, or entered by another expression
            self._schedules.settle(held, scheduled.schedule.planned(scheduled.last, now))
            return
        begun = self._schedules.begin(held.name, moment, scheduled.last)
        hold = Hold(self._schedules.due, held)
        try:
            with hold:
                self._attempt(hold, held.name, begun)
            if self._schedules.settle(hold.held, self._following(held.name, scheduled, begun, now)):
                self._reach("schedule-settled")
        except _Later as later:
            self._schedules.due.postpone(hold.held, later.seconds)
        except HoldLost:
            logger.warning("schedule %s: it was changed, or another worker has it", held.name)

    def _following(self, name: str, before: Scheduled, done: float, since: float) -> float:
        """Return when a schedule is due next: what was done `since` may have changed when that is.

        By another schedule nothing was missed before that.
        """
        found = self._load(name) or before
        last = max(found.last, done)
        if found.schedule != before.schedule:
            last = max(last, since)
        return found.schedule.planned(last, self._schedules.now())

    def _load(self, name: str) -> Scheduled | None:
        """Return a schedule, None also for what can't be read or is none."""
        try:
            scheduled = self._plan.load(name)
            if scheduled:
                scheduled.schedule.check()
        except CallerError as error:
            logger.error("schedule %s is damaged: %s", name, error)  # noqa: TRY400
            return None
        return scheduled

    def _attempt(self, hold: Hold, name: str, moment: float) -> None:
        """Do what is due at a time, or give it up; raise `_Later` and `HoldLost`."""
        attempt = self._schedules.count(name)
        self._reach("schedule-begun")
        if attempt > ATTEMPTS:
            logger.error("schedule %s: the workers died with it; the next time comes", name)
            return

        def check() -> None:
            if self._closed.is_set():
                raise WorkerStops
            self._shutdown.check()
            hold.check()

        try:
            self._plan.do(name, moment, check)
            self._reach("schedule-done")
        except HoldLost:
            raise
        except CallerError as error:
            logger.error("schedule %s can't be done: %s", name, error)  # noqa: TRY400
        except WorkerStops as error:
            self._schedules.count(name, -1)
            raise _Later(0) from error
        except (BrokerUnavailable, StorageUnavailable) as error:
            self._schedules.count(name, -1)
            logger.warning("schedule %s waits: %s", name, error)
            raise _Later(_OUTAGE_PAUSE * self._unit) from error
        except Exception as error:
            logger.exception("schedule %s: attempt %d", name, attempt)
            if attempt < ATTEMPTS:
                raise _Later(_PAUSES[attempt - 1] * self._unit) from error


def _say_forgotten(names: Sequence[str]) -> None:
    if names:
        listed = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        logger.warning("Redis had forgotten schedules (%d): %s", len(names), listed)


class _Later(Exception):
    """An attempt that came to nothing; the next one may be better."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
