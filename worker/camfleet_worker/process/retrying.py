"""Outages of storage and Redis: work is done again until they are back or the worker must stop."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from camfleet.errors import BrokerUnavailable, CamfleetError, StorageUnavailable
from camfleet_worker.process.shutdown import Shutdown, WorkerStops

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0


class Insist(Protocol):
    """Does the work it's given and returns its result, after several attempts if need be."""

    def __call__(self, work: Callable[[], T]) -> T: ...


def once(work: Callable[[], T]) -> T:
    """Do `work` once, for callers who would rather have the error than wait."""
    return work()


class Waits:
    """Which threads wait for an outage to end, since when, and why. Safe to share by threads."""

    def __init__(self) -> None:
        self._reasons: dict[int, tuple[float, str]] = {}

    @contextmanager
    def waiting(self) -> Iterator[Callable[[str], None]]:
        """Yield what notes a reason to wait; at the end of the block there's none any more."""
        thread = threading.get_ident()
        since = time.monotonic()

        def note(reason: str) -> None:
            self._reasons[thread] = (since, reason)

        try:
            yield note
        finally:
            self._reasons.pop(thread, None)

    def longest(self, seconds: float) -> str | None:
        """Return why the thread waits that has waited longest, if that's so many seconds."""
        since, reason = min(self._reasons.copy().values(), default=(math.inf, ""))
        return reason if time.monotonic() - since >= seconds else None


def insist_until(shutdown: Shutdown, waits: Waits) -> Insist:
    """Return what repeats work through outages, and raises `WorkerStops` when told to stop.

    `waits` is told meanwhile what it waits for.
    """

    def insist(work: Callable[[], T]) -> T:
        try:
            return work()
        except (BrokerUnavailable, StorageUnavailable) as error:
            return repeat(work, error)

    def repeat(work: Callable[[], T], error: CamfleetError) -> T:
        pause = _FIRST_PAUSE
        with waits.waiting() as note:
            while True:
                logger.warning("waiting %.0f s: %s", pause, error)
                note(str(error))
                if shutdown.wait(pause):
                    raise WorkerStops from error
                try:
                    return work()
                except (BrokerUnavailable, StorageUnavailable) as again:
                    error = again
                pause = min(2 * pause, _LONGEST_PAUSE)

    return insist


def patient(thing: T, insist: Insist) -> T:
    """Return a view of `thing` whose methods wait through outages, each by `insist`."""
    return cast("T", _Patient(thing, insist))


class _Patient:
    def __init__(self, thing: Any, insist: Insist) -> None:
        self._thing = thing
        self._insist = insist

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._thing, name)
        return lambda *args, **options: self._insist(partial(method, *args, **options))
