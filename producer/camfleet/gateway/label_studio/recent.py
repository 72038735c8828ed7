"""What was answered a moment ago, or is about to be: Label Studio asks again where it's cut off."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from camfleet.contract.results import Result
from camfleet.gateway.problems import Problem

KEPT_SECONDS = 60.0  # for which an answer is given again
MOST_OPEN = 1000  # tasks of an owner that wait for an answer; no selection has more than 200
_MOST_KEPT = 2000


@dataclass(frozen=True)
class Explained:
    """The rows of an image, and the raw map of the first one, as a file of NumPy."""

    rows: tuple[Result, ...]
    raw: bytes | None


class Recent:
    """Answers of the last minute, and those to come: whoever asks again gets the same one."""

    def __init__(self, seconds: float = KEPT_SECONDS) -> None:
        self._seconds = seconds
        self._found: OrderedDict[Any, tuple[float, asyncio.Task[Explained]]] = OrderedDict()
        self._open: Counter[str] = Counter()  # by owner

    async def get(
        self, owner: str, key: Any, ask: Callable[[], Coroutine[Any, Any, Explained]]
    ) -> Explained:
        """Return the answer; what went wrong isn't kept. Raises a `Problem` for too many."""
        self._forget()
        kept = self._found.get(key)
        if kept is None or (kept[1].done() and (kept[1].cancelled() or kept[1].exception())):
            self._found[key] = time.monotonic() + self._seconds, self._start(owner, ask)
            self._found.move_to_end(key)
        task = self._found[key][1]
        return await asyncio.shield(task)

    def _start(
        self, owner: str, ask: Callable[[], Coroutine[Any, Any, Explained]]
    ) -> asyncio.Task[Explained]:
        if self._open[owner] >= MOST_OPEN:
            raise Problem(
                429, "too_many_tasks", f"{MOST_OPEN} tasks wait for an answer: wait for them"
            )
        task = asyncio.create_task(ask())
        self._open[owner] += 1
        task.add_done_callback(lambda _done: self._left(owner))
        return task

    def _left(self, owner: str) -> None:
        self._open[owner] -= 1
        if not self._open[owner]:
            del self._open[owner]

    def _forget(self) -> None:
        now = time.monotonic()
        while self._found:
            until, task = next(iter(self._found.values()))
            if until > now and len(self._found) <= _MOST_KEPT:
                return
            _, (_, task) = self._found.popitem(last=False)
            if task.done() and not task.cancelled():
                task.exception()  # it was told to whoever asked
