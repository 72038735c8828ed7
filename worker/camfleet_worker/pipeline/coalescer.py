"""What is asked for at the same time, by callers whom somebody waits for, runs as a batch."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeAlias, TypeVar

from camfleet_worker.process.priority import PrioritySemaphore

T = TypeVar("T")
R = TypeVar("R")
Work: TypeAlias = Callable[[Sequence[T]], Callable[[], Sequence[R]]]


class _Waiting(Generic[T, R]):
    """A thing in line. `called`: it has its answer, or has come to the head and leads the next."""

    def __init__(self, thing: T) -> None:
        self.thing = thing
        self.answer: Future[R] = Future()
        self.called = threading.Event()


class Coalescer(Generic[T, R]):
    """Runs things that are asked for at the same time as one batch. Safe to share by threads.

    Nobody waits for company: the head of a line asks for the device at once, and whatever arrives
    until the device is free may join its batch.
    """

    def __init__(self, devices: PrioritySemaphore) -> None:
        self._devices = devices
        self._lock = threading.Lock()
        self._lines: dict[Hashable, deque[_Waiting[T, R]]] = {}

    def run(
        self,
        key: Hashable,
        thing: T,
        work: Work[T, R],
        batch_size: Callable[[int], int],
    ) -> R:
        """Return what `work` makes of `thing`, together with others of the same key, oldest first.

        `work` holds a device until it returns a function, which then gives the answers.
        `batch_size` returns how many of so many waiting things to take, at least one.
        """
        mine: _Waiting[T, R] = _Waiting(thing)
        with self._lock:
            leads = key not in self._lines
            self._lines.setdefault(key, deque()).append(mine)
        if not leads:
            mine.called.wait()
        if not mine.answer.done():
            self._lead(key, mine, work, batch_size)
        return mine.answer.result()

    def _lead(
        self,
        key: Hashable,
        mine: _Waiting[T, R],
        work: Work[T, R],
        batch_size: Callable[[int], int],
    ) -> None:
        """Run a batch with `mine`, the head of its line; once it has begun, call the next head."""
        batch = [mine]
        with _fail_together(batch):
            try:
                with self._devices.hold(urgent=True):
                    with self._lock:
                        line = self._lines[key]
                        batch[:] = [line[place] for place in range(batch_size(len(line)))]
                    finish = work([waiting.thing for waiting in batch])
            finally:
                with self._lock:
                    line = self._lines[key]
                    for _ in batch:
                        line.popleft()
                    if line:
                        line[0].called.set()
                    else:
                        del self._lines[key]
            for waiting, answer in zip(batch, finish(), strict=True):
                waiting.answer.set_result(answer)


@contextmanager
def _fail_together(batch: Sequence[_Waiting[T, R]]) -> Iterator[None]:
    """Give the block's error to all that have no answer by then, and call all."""
    try:
        yield
    except BaseException as error:  # noqa: BLE001  # it's raised where the thing came from
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
    finally:
        for waiting in batch:
            waiting.called.set()
