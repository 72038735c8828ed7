"""What the names of models mean, as of a few seconds ago: requests don't each ask the bucket."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from camfleet.contract.records import ModelRef

SECONDS = 5.0  # for which an answer counts, from when it was asked for


class _Look(NamedTuple):
    asked_at: float
    answer: "Future[ModelRef]"


class ModelNames:
    """Looks names up with `find`. Safe to share by threads.

    Threads that ask for the same name share one look: its answer can't be overtaken by that of an
    earlier one, so a name that has changed never changes back for a moment.
    """

    def __init__(
        self, find: Callable[[str], ModelRef], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._find = find
        self._clock = clock
        self._lock = threading.Lock()
        self._looks: dict[str, _Look] = {}

    def resolve(self, name: str) -> ModelRef:
        """Return the model of a name; raise what `find` does, which isn't kept."""
        with self._lock:
            look = self._looks.get(name)
            now = self._clock()
            fresh = look is not None and now - look.asked_at < SECONDS
            if not fresh:
                look = self._looks[name] = _Look(now, Future())
        assert look
        if not fresh:
            self._answer(name, look)
        return look.answer.result()

    def _answer(self, name: str, look: _Look) -> None:
        try:
            look.answer.set_result(self._find(name))
        except BaseException as error:
            with self._lock:
                if self._looks.get(name) is look:
                    del self._looks[name]
            look.answer.set_exception(error)
            raise
