"""The values that were used last, within a budget of bytes or whatever sizes count."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRU(Generic[K, V]):
    """A least-recently-used map: drops values once their sizes exceed `budget` together.

    A value that exceeds it by itself is kept alone. Safe to share by threads. (What
    `functools.lru_cache` doesn't do is to count sizes.)
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._size = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value of a key, None where there's none (any more)."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: K, value: V, size: int) -> V:
        """Keep a value of so many bytes, in place of the key's last one, and return it."""
        with self._lock:
            _, replaced = self._kept.pop(key, (None, 0))
            self._kept[key] = value, size
            self._size += size - replaced
            while self._size > self._budget and len(self._kept) > 1:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._size -= dropped
        return value
