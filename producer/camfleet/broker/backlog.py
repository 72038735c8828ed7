"""What waits in Redis: how many messages, how old the oldest is, and how many chunks are leased."""

import json
import time
from typing import Any

from camfleet.broker.app import SENT
from camfleet.broker.leases import LEASES
from camfleet.broker.redis import broker_errors, redis_client
from camfleet.contract.codec import Wire
from camfleet.contract.messages import BULK_QUEUE, INTERACTIVE_QUEUE
from camfleet.settings import Settings

QUEUES = (INTERACTIVE_QUEUE, BULK_QUEUE)


class QueueState(Wire, frozen=True, kw_only=True):
    """One queue. `oldest_seconds` is 0 in an empty one, null where its message has no time."""

    name: str
    depth: int
    oldest_seconds: float | None


class Backlog(Wire, frozen=True, kw_only=True):
    """All that waits, and the chunks in work of all workers; overdue: those of dead ones."""

    queues: tuple[QueueState, ...]
    leases: int
    leases_overdue: int


class Queues:
    """Reads the queues without touching them. Safe to share by threads.

    With `patience` a reading fails after about that many seconds of silence.
    """

    def __init__(self, settings: Settings, patience: float | None = None) -> None:
        self._settings = settings
        self._redis = redis_client(settings, patience)

    def read(self) -> Backlog:
        """Return the present state; raise `BrokerUnavailable`."""
        with broker_errors(self._settings), self._redis.pipeline(transaction=False) as pipe:
            pipe.time()  # leases run out on Redis' own clock
            for name in QUEUES:
                pipe.llen(name)
                pipe.lindex(name, -1)  # workers take from the right
            (seconds, micros), *pairs = pipe.execute()
            pipe.zcard(LEASES)
            pipe.zcount(LEASES, 0, seconds + micros / 1e6)
            leases, overdue = pipe.execute()
        return Backlog(
            queues=tuple(map(_state, QUEUES, pairs[::2], pairs[1::2])),
            leases=leases,
            leases_overdue=overdue,
        )

    def close(self) -> None:
        self._redis.close()


def _state(name: str, depth: int, oldest: str | None) -> QueueState:
    return QueueState(name=name, depth=depth, oldest_seconds=_age(oldest) if oldest else 0.0)


def _age(message: str) -> float | None:
    """Return the seconds since a message was sent; None for one that nobody of ours sent."""
    try:
        sent: Any = json.loads(message)["headers"][SENT]
        return max(0.0, time.time() - float(sent))
    except (ValueError, TypeError, LookupError):
        return None
