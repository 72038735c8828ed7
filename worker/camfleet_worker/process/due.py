"""Threads that do what is due, and keep what they hold while they work on it."""

import logging
import threading
import time
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

    It looks every `poll` seconds. As long as it finds something, others help: `threads` in all. An
    error is logged under `name`, and what was taken then is left to its lease.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[], Held | None],
        handle: Callable[[Held], None],
        poll: float = POLL_SECONDS,
        *,
        threads: int = 1,
    ) -> None:
        self._name = name
        self._take = take
        self._handle = handle
        self._poll = poll
        self.closed = threading.Event()
        self._much = threading.Event()  # something was due, so there may be more
        waits = [self.closed.wait, *[self._wait_for_much] * (threads - 1)]
        self._threads = [
            threading.Thread(
                target=self._run, args=(wait,), name=f"camfleet-{name}-{number}", daemon=True
            )
            for number, wait in enumerate(waits)
        ]
        for thread in self._threads:
            thread.start()

    def close(self, seconds: float) -> None:
        """Take nothing more, and wait at most so many seconds for what is under way."""
        self.closed.set()
        self._much.set()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _wait_for_much(self, pause: float) -> bool:
        """Wait until much is due; return whether this is closed. After an error pause first."""
        if pause > self._poll:
            self.closed.wait(pause)
        self._much.wait()
        return self.closed.is_set()

    def _run(self, wait: Callable[[float], bool]) -> None:
        pause = self._poll
        while not wait(pause):
            try:
                while not self.closed.is_set() and (held := self._take()):
                    self._much.set()
                    self._handle(held)
                self._much.clear()
                if self.closed.is_set():
                    self._much.set()
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
