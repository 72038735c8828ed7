"""A worker that is told to stop: how long its work goes on, and what ends it then."""

import threading
import time


class RunEnds(Exception):
    """Base of what ends a run before its last image, though no image has failed."""


class WorkerStops(RunEnds):
    """The worker is told to stop: what is in work goes back to its queue."""


class Shutdown:
    """Whether this process was told to stop. Safe to share by threads.

    `grace_seconds` is how long chunks may go on after that.
    """

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._begun = threading.Event()
        self._since = 0.0

    def begin(self) -> None:
        """Let work end soon and nobody wait any longer. Being told twice changes nothing."""
        if not self._begun.is_set():
            self._since = time.monotonic()
            self._begun.set()

    def check(self) -> None:
        """Raise `WorkerStops` once the grace period is over."""
        if self._begun.is_set() and time.monotonic() - self._since >= self._grace_seconds:
            raise WorkerStops

    def wait(self, seconds: float) -> bool:
        """Wait so many seconds, or until told to stop; return whether that has happened."""
        return self._begun.wait(seconds)
