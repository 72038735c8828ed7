"""redis-py's connection pools, for programs that fork while other threads use them."""

import threading

from redis import ConnectionPool
from redis.sentinel import SentinelConnectionPool


class _RenewsLock:
    """Has a new lock in a forked child.

    redis-py resets a pool there by its old lock, which a thread that only the parent has may hold:
    the child would wait for ever. The more threads wait for it, the more likely.
    """

    def reset(self) -> None:
        self._lock = threading.RLock()
        super().reset()  # type: ignore[misc]


class Pool(_RenewsLock, ConnectionPool):
    pass


class PrimaryPool(_RenewsLock, SentinelConnectionPool):
    pass
