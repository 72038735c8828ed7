"""What a forked child mustn't share with its parent: sockets, threads, and locks they hold."""

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Something made when it's first needed, and made anew in a child after a fork.

    Safe to share by threads. The child drops the parent's without closing it in the parent.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._lock = threading.RLock()
        _known.add(self)

    def get(self) -> T:
        """Return this process's own."""
        made = self._made
        if made:
            return made[0]
        with self._lock:
            if not self._made:
                self._made = [self._make()]
            return self._made[0]

    def drop(self, broken: T | None = None) -> T | None:
        """Forget and return what was made, or None; `broken`: only if it's still this one.

        The next `get` makes another.
        """
        with self._lock:
            if not self._made or (broken is not None and self._made[0] is not broken):
                return None
            dropped, self._made = self._made[0], []
            return dropped

    def renew_after_fork(self) -> None:
        """Start from nothing, in a child; the lock may be held by a thread of the parent."""
        self._lock = threading.RLock()
        self._made = []


_known: "WeakSet[PerProcess[Any]]" = WeakSet()


def _renew_all() -> None:
    for known in list(_known):
        known.renew_after_fork()


os.register_at_fork(after_in_child=_renew_all)
