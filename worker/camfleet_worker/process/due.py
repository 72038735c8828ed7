"""Threads that do what is due, and keep what they hold while they work on it."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from camfleet.broker.due import Due, Held, Note
from camfleet_worker.process.periodic import Periodic

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
_LONGEST_WAIT = 30.0


class DueThread:
    """A thread that takes what is due, one after the other, until it's closed.

    It looks every `poll` seconds. An error is logged under `name`, and what was taken then is left
    to its lease.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[], Held | None],
        handle: Callable[[Held], None],
        poll: float = POLL_SECONDS,
    ) -> None:
        self._name = name
        self._take = take
        self._handle = handle
        self._poll = poll
        self.closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camfleet-{name}", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Take nothing more, and wait at most so many seconds for what is under way."""
        self.closed.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        pause = self._poll
        while not self.closed.wait(pause):
            try:
                while not self.closed.is_set() and (held := self._take()):
                    self._handle(held)
                pause = self._poll
            except Exception as error:  # noqa: BLE001  # this thread must outlive whatever happens
                pause = min(2 * max(pause, self._poll), _LONGEST_WAIT)
                logger.warning("%s wait %.0f s: %s", self._name, pause, error)


class HoldLost(Exception):
    """Somebody else has what this process held, or it was made due anew."""


class Hold:
    """A block during which the lease of what is held is renewed, however long that takes."""

    def __init__(self, due: Due, held: Held) -> None:
        self._due = due
        self._held: Held | None = held
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise `HoldLost` unless it's still held."""
        if self._held is None:
            raise HoldLost

    def note(self, note: Note) -> None:
        """Tell people how far it is, and restart the lease; raise `HoldLost`."""
        self._renew(note)
        self.check()

    @property
    def held(self) -> Held:
        """Return what is held, once the block is over; raise `HoldLost`."""
        if self._held is None:
            raise HoldLost
        return self._held

    def __enter__(self) -> Self:
        self._thread = Periodic("due-renewer", self._due.seconds / 3, self._renew)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.close()

    def _renew(self, note: Note | None = None) -> None:
        with self._lock:
            if self._held:
                self._held = self._due.renew(self._held, note)
