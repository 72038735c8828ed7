"""What a server can't do now is tried again, for some minutes."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from camfleet.errors import ServiceError

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0)  # seconds
_LONGEST = 120.0  # that a server may ask for
T = TypeVar("T")


class Patience:
    """Waits between tries, longer each time; `on_wait` is told why, and for how many seconds."""

    def __init__(
        self,
        on_wait: Callable[[ServiceError, float], object] = lambda _error, _seconds: None,
        *,
        waits: Sequence[float] = WAITS,
    ) -> None:
        self._on_wait = on_wait
        self._waits = waits

    def run(self, act: Callable[[], T]) -> T:
        """Return what `act` does; raise its last `ServiceError` after the last wait."""
        for seconds in self._waits:
            try:
                return act()
            except ServiceError as error:
                asked = min(getattr(error, "retry_after", 0.0), _LONGEST)
                wait = max(seconds, asked)
                self._on_wait(error, wait)
                time.sleep(wait)
        return act()


NONE = Patience(waits=())
