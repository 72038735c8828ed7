"""What happens between two steps of work that nobody waits for: it ends, or lets others compute."""

import threading
import time
from collections.abc import Callable

from camfleet_worker.process.due import Hold
from camfleet_worker.process.shutdown import Shutdown, WorkerStops

_SHORT_PAUSE, _LONGEST_PAUSE = 0.005, 0.1  # seconds between two steps


class Between:
    """What a thread's work checks; `is_busy` says that somebody waits for this process."""

    def __init__(self, shutdown: Shutdown, is_busy: Callable[[], object]) -> None:
        self._shutdown = shutdown
        self._is_busy = is_busy
        self._closed = threading.Event()

    def close(self) -> None:
        """Let work end with its present step."""
        self._closed.set()

    def check(self, hold: Hold) -> None:
        """Pause while others wait; raise `WorkerStops`, or `HoldLost` where it's another's now."""
        if self._closed.is_set():
            raise WorkerStops
        self._shutdown.check()
        self._give_way()
        hold.check()

    def _give_way(self) -> None:
        """Let others compute, but not for ever."""
        end = time.monotonic() + _LONGEST_PAUSE
        while self._is_busy() and time.monotonic() < end:
            if self._shutdown.wait(_SHORT_PAUSE):
                return
