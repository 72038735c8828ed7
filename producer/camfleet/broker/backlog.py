"""What waits in Redis: messages and their age, leased chunks, and what is due."""

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
_DUE = {"callbacks": keys.CALLBACKS, "follow_ups": keys.FOLLOW_UPS, "errands": keys.ERRANDS}
DUE = tuple(_DUE)


class QueueState(Wire, frozen=True, kw_only=True):
    """One queue. `oldest_seconds` is 0 if it's empty, None if its oldest message has no time."""

    name: str
    depth: int
    oldest_seconds: float | None


class DueState(Wire, frozen=True, kw_only=True):
    """What is due and nobody has in work. `oldest_seconds` is 0 if there's none."""

    name: str
    waiting: int
    oldest_seconds: float


class Backlog(Wire, frozen=True, kw_only=True):
    """All that waits, and how many chunks are leased, overdue ones by workers that are dead.

    `chunks` are those that are to run and aren't leased: what more workers could do. `due` is what
    follows the end of jobs, and what people ask for later.
    """

    queues: tuple[QueueState, ...]
    leases: int
    leases_overdue: int
    chunks: int
    due: tuple[DueState, ...] = ()


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
            for key in _DUE.values():
                pipe.zcount(key, 0, now)
                pipe.zrange(key, 0, 0, withscores=True)
            leases, overdue, jobs, *due = pipe.execute()
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
            due=tuple(map(partial(_due, now), _DUE, due[::2], due[1::2])),
        )

    def close(self) -> None:
        self._redis.close()


def _state(now: float, name: str, depth: int, oldest: str | None) -> QueueState:
    return QueueState(name=name, depth=depth, oldest_seconds=_age(oldest, now) if oldest else 0.0)


def _due(now: float, name: str, waiting: int, first: list[tuple[str, float]]) -> DueState:
    since = max(0.0, now - first[0][1]) if waiting and first else 0.0
    return DueState(name=name, waiting=waiting, oldest_seconds=since)


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
