"""Chunks that broke in a row, which is a sign that the worker is at fault."""

import threading
from collections.abc import Callable

_LONGEST = 300  # characters of an error in the reason


class FailureStreak:
    """Counts chunks that broke in a row; calls `stop_work` with the reason at `limit` of them.

    Safe to share by threads.
    """

    def __init__(self, limit: int, stop_work: Callable[[str], None]) -> None:
        self._limit = limit
        self._stop_work = stop_work
        self._length = 0
        self._lock = threading.Lock()

    def add(self, error: Exception) -> None:
        """Count a chunk that broke with `error`."""
        with self._lock:
            self._length += 1
            length = self._length
        if length >= self._limit:
            last = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
            self._stop_work(f"{length} chunks in a row failed, the last with {last}")

    def end(self) -> None:
        """Begin to count anew: a chunk was explained."""
        self._length = 0
