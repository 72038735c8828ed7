"""Who goes next where not all can: callers whom somebody waits for go before all others."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_MOST_IN_A_ROW = 4  # urgent turns while others wait: these are late, but never wait for ever
_RECENT_SECONDS = 2.0
_SHARE = 0.25  # of the time that others may have to wait for what's urgent
_LONGEST = 0.25  # seconds at a time

_urgent: ContextVar[bool] = ContextVar("urgent", default=False)


@contextmanager
def urgently() -> Iterator[None]:
    """Mark what this thread does in the block as urgent: somebody waits for its answer."""
    token = _urgent.set(True)
    try:
        yield
    finally:
        _urgent.reset(token)


def is_urgent() -> bool:
    """Return whether somebody waits for what this thread does."""
    return _urgent.get()


class PrioritySemaphore:
    """A semaphore over some devices that lets urgent callers go before others, in their order.

    While both wait, every fifth turn is one of the others'. It wakes one waiting thread at a time:
    there may be many, and each costs a switch. `clock` is the time in seconds.
    """

    def __init__(self, devices: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._urgent: deque[threading.Event] = deque()  # waiting, to be set where it's their turn
        self._others = threading.Condition(self._lock)
        self._others_waiting = 0
        self._in_a_row = 0  # urgent turns while others waited
        self._free = devices
        self._clock = clock
        self._last_urgent = float("-inf")
        self._mine = threading.local()

    @contextmanager
    def hold(self, *, urgent: bool = False) -> Iterator[None]:
        """Hold a device during the block; a thread that holds one already goes on with it."""
        if getattr(self._mine, "held", False):
            yield
            return
        if urgent:
            self._take_urgently()
        else:
            self._take()
        self._mine.held = True
        try:
            yield
        finally:
            self._mine.held = False
            with self._lock:
                self._free += 1
                self._hand_on()

    @property
    def is_wanted(self) -> bool:
        """Return whether an urgent caller waits, or had a turn within the last two seconds."""
        recent = self._clock() - self._last_urgent < _RECENT_SECONDS
        return bool(self._urgent) or recent

    def _take_urgently(self) -> None:
        turn = threading.Event()
        with self._lock:
            self._urgent.append(turn)
            self._hand_on()
        turn.wait()

    def _take(self) -> None:
        with self._lock:
            self._others_waiting += 1
            try:
                self._others.wait_for(lambda: self._free and not self._is_urgent_next())
                self._free -= 1
                self._in_a_row = 0
            finally:
                self._others_waiting -= 1
                self._hand_on()

    def _is_urgent_next(self) -> bool:
        enough = self._others_waiting and self._in_a_row >= _MOST_IN_A_ROW
        return bool(self._urgent) and not enough

    def _hand_on(self) -> None:
        """Give free devices to urgent callers, so that nobody is faster; else wake another."""
        while self._free and self._is_urgent_next():
            self._free -= 1
            self._in_a_row = self._in_a_row + 1 if self._others_waiting else 0
            self._last_urgent = self._clock()
            self._urgent.popleft().set()
        if self._free:
            self._others.notify()


class RightOfWay:
    """Keeps others back between two steps while something urgent is on its way.

    They share cores, the interpreter's lock and the store with it, and there it can't go before
    them. They wait for a quarter of a second at most, and for a quarter of the time: where urgent
    work never ends, they go on beside it. Safe to share by threads. `clock` is the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clear = threading.Condition()
        self._urgent = 0
        self._changed = clock()  # when the first of those on their way came, or the last one went
        self._left = _LONGEST  # seconds that others may wait from then on
        self._clock = clock

    @contextmanager
    def take(self) -> Iterator[None]:
        """Have the right of way during the block."""
        with self._clear:
            if not self._urgent:
                self._pass()
            self._urgent += 1
        try:
            yield
        finally:
            with self._clear:
                self._urgent -= 1
                if not self._urgent:
                    self._pass(used=self._left)
                    self._clear.notify_all()

    def give(self) -> None:
        """Wait until nothing urgent is on its way, unless that takes too long."""
        if self._urgent:  # nearly never: no lock is taken then
            with self._clear:
                left = self._left - (self._clock() - self._changed)
                self._clear.wait_for(lambda: not self._urgent, max(0.0, left))

    def _pass(self, used: float = 0.0) -> None:
        """Take note of the time since the last change, of which at most so much was waited."""
        before, self._changed = self._changed, self._clock()
        passed = self._changed - before
        self._left = min(_LONGEST, self._left - min(used, passed) + _SHARE * passed)
