"""Waiting for surroundings that fail, until they are back or the worker is told to stop."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from camfleet.errors import BrokerUnavailable, StorageUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0


class WorkerStops(Exception):
    """The worker is told to stop: what is in work goes back to its queue."""


class Insist(Protocol):
    """Does what it's given, again and again if need be."""

    def __call__(self, work: Callable[[], T]) -> T: ...


def once(work: Callable[[], T]) -> T:
    """Do `work` once: the way of somebody who would rather have the error."""
    return work()


class Patience:
    """What one process does when it's kept waiting, or told to stop. Safe to share by threads.

    `seconds` is how long work goes on after the worker was told to stop.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._told = threading.Event()
        self._since = 0.0

    def stop(self) -> None:
        """Let work end soon, and nobody wait any more. Being told twice changes nothing."""
        if not self._told.is_set():
            self._since = time.monotonic()
            self._told.set()

    def check(self) -> None:
        """Raise `WorkerStops` where there's no time left."""
        if self._told.is_set() and time.monotonic() - self._since >= self._seconds:
            raise WorkerStops

    def insist(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; while storage or broker fail, wait and do it again."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return work()
            except (BrokerUnavailable, StorageUnavailable) as error:
                logger.warning("waiting %.0f s: %s", pause, error)
                if self._told.wait(pause):
                    raise WorkerStops from error
                pause = min(2 * pause, _LONGEST_PAUSE)
