"""Work that a thread of its own does every few seconds."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Periodic:
    """A daemon thread that does `work` every so many seconds until it's closed.

    An error is logged under the thread's name, and `work` is done again when it's due next.
    """

    def __init__(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        self._name = name
        self._seconds = seconds
        self._work = work
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camfleet-{name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Begin no more work, and wait for what is under way."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._seconds):
            try:
                self._work()
            except Exception as error:  # noqa: BLE001  # this thread must outlive whatever happens
                logger.warning("%s: trying again in %.3g s: %s", self._name, self._seconds, error)
