"""Who may use a process that decodes: so many at a time, and so much memory for all together."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from camfleet.errors import WorkerBusy

_URGENT_WAITING = 200  # pictures, for each of which somebody waits
_URGENT_BYTES = 2**29  # of their files


class _Ticket(NamedTuple):
    """A place in the line: urgent ones first, then in order."""

    later: bool
    number: int
    memory: int
    size: int


class Turns:
    """Gives out turns: `size` at a time to urgent callers, and as many to all others.

    `memory` is how many bytes all of them may reserve together. Safe to share by threads.
    """

    def __init__(self, size: int, memory: int) -> None:
        self._free = {False: size, True: size}  # by whether they're urgent
        self._memory = self.memory = memory
        self._line: list[_Ticket] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()

    @contextmanager
    def hold(
        self, memory: int, *, size: int, urgent: bool, check: Callable[[], None], poll: float
    ) -> Iterator[None]:
        """Wait for a turn with so many bytes of memory, and hold it during the block.

        `size` are the bytes of the caller's file, which it keeps meanwhile. `check` is called every
        `poll` seconds while it waits, and may raise. Raises `WorkerBusy` if too many urgent callers
        wait already.
        """
        ticket = _Ticket(not urgent, next(self._numbers), min(memory, self.memory), size)
        self._wait(ticket, check, poll)
        try:
            yield
        finally:
            with self._changed:
                self._free[urgent] += 1
                self._memory += ticket.memory
                self._changed.notify_all()

    def _wait(self, ticket: _Ticket, check: Callable[[], None], poll: float) -> None:
        with self._changed:
            self._line_up(ticket)
            try:
                while ticket not in self._next():
                    self._changed.wait(poll)
                    self._changed.release()
                    try:
                        check()
                    finally:
                        self._changed.acquire()
                self._free[not ticket.later] -= 1
                self._memory -= ticket.memory
            finally:
                self._line.remove(ticket)
                self._changed.notify_all()

    def _line_up(self, ticket: _Ticket) -> None:
        waiting = [other for other in self._line if not other.later]
        kept = sum(other.size for other in waiting)
        full = len(waiting) >= _URGENT_WAITING or (waiting and kept + ticket.size > _URGENT_BYTES)
        if full and not ticket.later:
            raise WorkerBusy(
                f"{len(waiting)} images that take long to decode wait at this worker already: try "
                "again later, start more workers, or submit such images as a job"
            )
        self._line.append(ticket)
        self._line.sort()

    def _next(self) -> list[_Ticket]:
        """Return who may go now; nobody passes one that waits for memory, or it would for ever."""
        free, memory, found = dict(self._free), self._memory, []
        for ticket in self._line:
            if not free[not ticket.later]:
                continue
            if ticket.memory > memory:
                break
            free[not ticket.later] -= 1
            memory -= ticket.memory
            found.append(ticket)
        return found
