"""Devices, for one caller at a time: those whom somebody waits for first, and several at once."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Work: TypeAlias = Callable[[Sequence[T]], Callable[[], Sequence[R]]]


class Turn:
    """Gives each of some devices to one caller at a time, to urgent ones before all others.

    Each time one waiting thread is woken, no more: there may be many, and each costs a switch.
    """

    def __init__(self, devices: int = 1) -> None:
        self._lock = threading.Lock()
        self._urgent = threading.Condition(self._lock)
        self._others = threading.Condition(self._lock)
        self._rushing = 0  # urgent callers that wait
        self._free = devices

    @contextmanager
    def taken(self, *, urgent: bool = False) -> Iterator[None]:
        """Hold a device for the block."""
        with self._lock:
            try:
                if urgent:
                    self._rushing += 1
                    self._urgent.wait_for(lambda: self._free)
                else:
                    self._others.wait_for(lambda: self._free and not self._rushing)
                self._free -= 1
            finally:
                self._rushing -= urgent
                self._call_next()
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                self._call_next()

    def _call_next(self) -> None:
        if self._free:
            (self._urgent if self._rushing else self._others).notify()


class _Waiting(Generic[T, R]):
    """A thing in its line. `called`: it has its answer, or it's at the head and leads the next."""

    def __init__(self, thing: T) -> None:
        self.thing = thing
        self.answer: Future[R] = Future()
        self.called = threading.Event()


class Together(Generic[T, R]):
    """Runs things that are asked for at the same time as one batch. Safe to share by threads.

    Nobody waits for company: whoever is at the head of a line asks for the device at once, and
    those who come until it's free may go along.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._lock = threading.Lock()
        self._lines: dict[Hashable, deque[_Waiting[T, R]]] = {}

    def run(
        self,
        key: Hashable,
        thing: T,
        work: Work[T, R],
        company: Callable[[int], int],
    ) -> R:
        """Return what `work` makes of `thing`; it's given things of the same key, oldest first.

        `work` has the device until it returns; the answers are what that gives when it's called.
        `company` returns how many of so many to take together, at least one.
        """
        mine: _Waiting[T, R] = _Waiting(thing)
        with self._lock:
            leads = key not in self._lines
            self._lines.setdefault(key, deque()).append(mine)
        if not leads:
            mine.called.wait()
        if not mine.answer.done():
            self._lead(key, mine, work, company)
        return mine.answer.result()

    def _lead(
        self,
        key: Hashable,
        mine: _Waiting[T, R],
        work: Work[T, R],
        company: Callable[[int], int],
    ) -> None:
        """Run a batch with `mine`, the head of its line; once it has begun, call the next head."""
        batch = [mine]
        with _answering(batch):
            try:
                with self._turn.taken(urgent=True):
                    with self._lock:
                        line = self._lines[key]
                        batch[:] = [line[place] for place in range(company(len(line)))]
                    finish = work([each.thing for each in batch])
            finally:
                with self._lock:
                    line = self._lines[key]
                    for _ in batch:
                        line.popleft()
                    if line:
                        line[0].called.set()
                    else:
                        del self._lines[key]
            for each, answer in zip(batch, finish(), strict=True):
                each.answer.set_result(answer)


@contextmanager
def _answering(batch: Sequence[_Waiting[T, R]]) -> Iterator[None]:
    """Answer those without an answer with the block's error; call all."""
    try:
        yield
    except BaseException as error:  # noqa: BLE001  # it's raised where the thing came from
        for each in batch:
            if not each.answer.done():
                each.answer.set_exception(error)
    finally:
        for each in batch:
            each.called.set()
