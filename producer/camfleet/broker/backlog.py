"""What waits in Redis: messages and their age, and leased chunks."""

import json
from functools import partial
from typing import Any

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.contract.codec import Wire
from camfleet.contract.messages import SENT_HEADER
from camfleet.settings import Settings

_MOST_JOBS = 1000
_CHUNKS = (*keys.FIRST_QUEUES, *keys.BULK_QUEUES)


class QueueState(Wire, frozen=True, kw_only=True):
    """One queue. `oldest_seconds` is 0 if it's empty, None if its oldest message has no time."""

    name: str
    depth: int
    oldest_seconds: float | None


class Backlog(Wire, frozen=True, kw_only=True):
    """All that waits, and how many chunks are leased, overdue ones by workers that are dead.

    `chunks` are those that are to run and aren't leased: what more workers could do.
    """

    queues: tuple[QueueState, ...]
    leases: int
    leases_overdue: int
    chunks: int


class BacklogReader:
    """Reads the queues without touching them. Safe to share by threads.

    With `timeout` a reading fails after about that many seconds of silence.
    """

    def __init__(self, settings: Settings, timeout: float | None = None) -> None:
        self._redis = Redis(settings, timeout)

    def read(self) -> Backlog:
        """Return the present state; raise `BrokerUnavailable`."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()  # leases run out on Redis' own clock, and messages are as old as it says
            for name in keys.QUEUES:
                pipe.llen(name)
                pipe.lindex(name, -1)  # workers take from the right
            (seconds, micros), *pairs = pipe.execute()
            now = seconds + micros / 1e6
            pipe.zcard(keys.LEASES)
            pipe.zcount(keys.LEASES, 0, now)
            pipe.zrevrange(keys.TURNS, 0, _MOST_JOBS)
            leases, overdue, jobs = pipe.execute()
            for job_id in jobs:
                pipe.hmget(keys.job(job_id), "chunks", "cursor")
            unsent = sum(map(_unsent, pipe.execute(raise_on_error=False)))
        queues = tuple(map(partial(_state, now), keys.QUEUES, pairs[::2], pairs[1::2]))
        sent = sum(queue.depth for queue in queues if queue.name in _CHUNKS)
        return Backlog(
            queues=queues,
            leases=leases,
            leases_overdue=overdue,
            chunks=sent + unsent,
        )

    def close(self) -> None:
        self._redis.close()


def _state(now: float, name: str, depth: int, oldest: str | None) -> QueueState:
    return QueueState(name=name, depth=depth, oldest_seconds=_age(oldest, now) if oldest else 0.0)


def _unsent(found: Any) -> int:
    """Return how many chunks of a job are still to be sent; about, where some were counted."""
    try:
        chunks, cursor = found
        return max(0, int(chunks) - int(cursor))
    except (ValueError, TypeError):  # forgotten, or nothing that camfleet wrote
        return 0


def _age(message: str, now: float) -> float | None:
    """Return the seconds since a message was sent; None if camfleet didn't send it."""
    try:
        sent: Any = json.loads(message)["headers"][SENT_HEADER]
        return max(0.0, now - float(sent))
    except (ValueError, TypeError, LookupError):
        return None
