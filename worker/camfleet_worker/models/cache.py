"""The models of one process: built once, shared by its threads, the least recently used leave."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

logger = logging.getLogger(__name__)


class Sized(Protocol):
    """What the cache holds: anything that knows its bytes."""

    nbytes: int


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Sized)


@dataclass(frozen=True)
class CacheCounts:
    """What has happened since the process started, and what is held now."""

    hits: int
    misses: int
    evictions: int
    models: int
    nbytes: int


class ModelCache(Generic[K, V]):
    """Holds built models up to `budget` bytes. Safe to share by threads.

    Threads that ask for the same cold model wait for one build. A failed build is forgotten, and
    all its waiters get the error. A model that is larger than the budget is held alone.
    """

    def __init__(self, build: Callable[[K], V], budget: int) -> None:
        self._build = build
        self._budget = budget
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, Future[V]] = OrderedDict()
        self._hits = self._misses = self._evictions = 0

    def get(self, key: K) -> V:
        """Return the model for `key`, building it if it's not there."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                mine = self._entries[key] = Future()
                self._misses += 1
            else:
                self._entries.move_to_end(key)
                self._hits += 1
        if entry is not None:
            return entry.result()
        return self._fill(key, mine)

    def counts(self) -> CacheCounts:
        with self._lock:
            return self._counts()

    def values(self) -> list[V]:
        """Return the models that are built, the least recently used first."""
        with self._lock:
            return [
                each.result()
                for each in self._entries.values()
                if each.done() and not each.exception()
            ]

    def _fill(self, key: K, mine: "Future[V]") -> V:
        try:
            value = self._build(key)
        except BaseException as error:
            with self._lock:
                del self._entries[key]
            mine.set_exception(error)
            raise
        mine.set_result(value)
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
        return sum(each.result().nbytes for each in self._entries.values() if each.done())

    def _counts(self) -> CacheCounts:
        return CacheCounts(
            self._hits, self._misses, self._evictions, len(self._entries), self._held()
        )
