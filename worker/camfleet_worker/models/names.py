"""What the names of models mean, as of a few seconds ago: requests don't each ask the bucket."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from camfleet.contract.records import ModelRef

SECONDS = 5.0  # for which an answer counts, from when it was asked for
AHEAD = 3.0  # from when on it's asked for anew, while it still counts: then nobody waits for it


class _Look(NamedTuple):
    asked_at: float
    answer: "Future[ModelRef]"


def _at_once(work: Callable[[], object]) -> object:
    return work()


class ModelNames:
    """Looks names up with `find`. Safe to share by threads.

    Threads that ask for the same name share one look: its answer can't be overtaken by that of an
    earlier one, so a name that has changed never changes back for a moment. A name that's asked for
    time and again is looked up in the background, by `start`, before its answer counts no more.
    """

    def __init__(
        self,
        find: Callable[[str], ModelRef],
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], object]], object] = _at_once,
    ) -> None:
        self._find = find
        self._clock = clock
        self._start = start
        self._lock = threading.Lock()
        self._looks: dict[str, _Look] = {}  # answered
        self._next: dict[str, _Look] = {}  # not yet

    def resolve(self, name: str) -> ModelRef:
        """Return the model of a name; raise what `find` does, which isn't kept."""
        begun = None
        with self._lock:
            now = self._clock()
            known, ahead = self._looks.get(name), self._next.get(name)
            if known and now - known.asked_at < AHEAD:
                ahead = known
            elif ahead is None or now - ahead.asked_at >= SECONDS:
                ahead = begun = self._next[name] = _Look(now, Future())
        if known and now - known.asked_at < SECONDS:
            if begun:
                self._start(partial(self._answer, name, begun))
            return known.answer.result()
        if begun:
            self._answer(name, begun)
        return ahead.answer.result()

    def _answer(self, name: str, look: _Look) -> None:
        """Answer a look; an error is that of those who wait for it."""
        try:
            found = self._find(name)
        except BaseException as error:  # noqa: BLE001  # it's raised where the answer is read
            self._end(name, look)
            look.answer.set_exception(error)
        else:
            self._end(name, look, keep=True)
            look.answer.set_result(found)

    def _end(self, name: str, look: _Look, *, keep: bool = False) -> None:
        with self._lock:
            if self._next.get(name) is look:
                del self._next[name]
            known = self._looks.get(name)
            if keep and (known is None or known.asked_at < look.asked_at):
                self._looks[name] = look
