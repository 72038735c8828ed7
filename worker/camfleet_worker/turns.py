"""The device, one batch at a time: those whom somebody waits for first, and several at once."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def _never() -> bool:
    return False


class Turn:
    """Gives the device, or each of several, to one caller at a time, to urgent ones first."""

    def __init__(self, devices: int = 1) -> None:
        self._condition = threading.Condition()
        self._free = devices
        self._urgent = 0  # callers that wait

    @contextmanager
    def taken(
        self, *, urgent: bool = False, needless: Callable[[], bool] = _never
    ) -> Iterator[bool]:
        """Hold the device for the block; give False, at once, where that has become needless."""
        with self._condition:
            self._urgent += urgent
            self._condition.wait_for(
                lambda: needless() or (self._free and (urgent or not self._urgent))
            )
            self._urgent -= urgent
            mine = not needless()
            self._free -= mine
            self._condition.notify_all()
        try:
            yield mine
        finally:
            if mine:
                with self._condition:
                    self._free += 1
                    self._condition.notify_all()


class Together(Generic[T, R]):
    """Runs things that are asked for at the same time as one batch. Safe to share by threads.

    Nobody waits for company: whoever comes asks for the device at once, and those who come until
    it's free may go along.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._lock = threading.Lock()
        self._lines: dict[Hashable, deque[tuple[T, Future[R]]]] = {}

    def run(
        self,
        key: Hashable,
        thing: T,
        work: Callable[[Sequence[T]], Sequence[R]],
        company: Callable[[int], int],
    ) -> R:
        """Return what `work` makes of `thing`; it's given things of the same key, oldest first.

        `company` returns how many of so many to take together.
        """
        answer: Future[R] = Future()
        with self._lock:
            self._lines.setdefault(key, deque()).append((thing, answer))
        while not answer.done():
            with self._turn.taken(urgent=True, needless=answer.done) as mine:
                if mine:
                    _answer(self._next(key, company), work)
        return answer.result()

    def _next(self, key: Hashable, company: Callable[[int], int]) -> list[tuple[T, "Future[R]"]]:
        with self._lock:
            line = self._lines[key]
            batch = [line.popleft() for _ in range(company(len(line)))]
            if not line:
                del self._lines[key]
            return batch


def _answer(
    batch: Sequence[tuple[T, "Future[R]"]], work: Callable[[Sequence[T]], Sequence[R]]
) -> None:
    try:
        answers = work([thing for thing, _ in batch])
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)
    except BaseException as error:  # noqa: BLE001  # it's raised where the thing came from
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
