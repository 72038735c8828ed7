"""The built models of one process: a least-recently-used cache that its threads share."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

logger = logging.getLogger(__name__)


class Sized(Protocol):
    """What the cache holds: anything that knows its size."""

    nbytes: int


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Sized)


@dataclass(frozen=True)
class CacheCounts:
    """Events since the process started, and what the cache holds now."""

    hits: int
    misses: int
    evictions: int
    models: int
    nbytes: int


class ModelCache(Generic[K, V]):
    """Holds built models up to `budget` bytes. Safe to share between threads.

    Threads that ask for the same cold model wait for a single build. If it fails, all of them get
    the error, and the next one to ask tries again. A model larger than the budget is held alone.
    """

    def __init__(self, build: Callable[[K], V], budget: int) -> None:
        self._build = build
        self._budget = budget
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, Future[V]] = OrderedDict()
        self._hits = self._misses = self._evictions = 0

    def get(self, key: K) -> V:
        """Return the model for `key`, and build it first if it's missing."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                building = self._entries[key] = Future()
                self._misses += 1
            else:
                self._entries.move_to_end(key)
                self._hits += 1
        if entry is not None:
            return entry.result()
        return self._fill(key, building)

    def counts(self) -> CacheCounts:
        with self._lock:
            return self._counts()

    def values(self) -> list[V]:
        """Return the built models, the least recently used first."""
        with self._lock:
            return [
                entry.result()
                for entry in self._entries.values()
                if entry.done() and not entry.exception()
            ]

    def _fill(self, key: K, building: "Future[V]") -> V:
        try:
            value = self._build(key)
        except BaseException as error:
            with self._lock:
                del self._entries[key]
            building.set_exception(error)
            raise
        building.set_result(value)
        with self._lock:
            evicted = self._evict(key)
            counts = self._counts()
        logger.info("model cache: built %s, evicted %s; %s", key, evicted or "nothing", counts)
        return value

    def _evict(self, newest: K) -> list[K]:
        evicted: list[K] = []
        for key in list(self._entries):
            if self._held() <= self._budget:
                break
            if key != newest and self._entries[key].done():
                del self._entries[key]
                evicted.append(key)
        self._evictions += len(evicted)
        return evicted

    def _held(self) -> int:
        return sum(entry.result().nbytes for entry in self._entries.values() if entry.done())

    def _counts(self) -> CacheCounts:
        return CacheCounts(
            self._hits, self._misses, self._evictions, len(self._entries), self._held()
        )
