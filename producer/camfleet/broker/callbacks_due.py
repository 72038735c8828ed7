"""Who is still to be told that a job has ended.

The ledger puts a job that wants a call-back into one sorted set, scored by the time, on Redis'
own clock, when the call-back is due. A sender that takes a job moves it on by a lease: if the
sender dies, the call-back is due again by itself. Whatever a sender does with the job later holds
only if nobody else took it meanwhile, and no newer end of the job was entered.

How it went stands in the ledger's hash of the job, as the field `callback`.
"""

from dataclasses import dataclass
from typing import Literal

from camfleet.broker.ledger import CALLBACKS
from camfleet.broker.redis import broker_errors, redis_client
from camfleet.settings import Settings

LEASE_SECONDS = 60.0

_NOW = "local time = redis.call('TIME'); local now = time[1] + time[2] / 1e6; "
# KEYS: call-backs. ARGV: seconds of the lease. Returns {job, mark} of the one due longest, or nil.
_TAKE = f"""{_NOW}
local job = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
if not job then return nil end
redis.call('ZADD', KEYS[1], now + ARGV[1], job)
return {{job, redis.call('ZSCORE', KEYS[1], job)}}
"""
# KEYS: call-backs. ARGV: job, mark, seconds. Returns the new mark, or nil if it isn't held.
_KEEP = f"""{_NOW}
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return nil end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
return redis.call('ZSCORE', KEYS[1], ARGV[1])
"""
# KEYS: call-backs, job hash. ARGV: job, mark, what to say, seconds until it's due again or ''.
_SETTLE = f"""{_NOW}
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return end
if redis.call('EXISTS', KEYS[2]) == 1 and ARGV[3] ~= '' then
  redis.call('HSET', KEYS[2], 'callback', ARGV[3])
end
if ARGV[4] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[1])
end
"""
# KEYS: job hash. ARGV: field. Returns the attempts so far, this one too; 0 if there's no such job.
_COUNT = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
"""


@dataclass(frozen=True)
class Taken:
    """A job whose call-back one sender holds; `mark` is known to this sender only."""

    job_id: str
    mark: str


@dataclass(frozen=True)
class Ending:
    """How and when a job ended: seconds since the epoch."""

    job_id: str
    state: Literal["complete", "cancelled"]
    at: float

    @property
    def id(self) -> str:
        """Return what is the same for every attempt to tell of this end, and of no other."""
        return f"{self.job_id}.{int(self.at * 1000)}"


class Callbacks:
    """The call-backs that are due, now or later. Safe to share by threads."""

    def __init__(self, settings: Settings, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._settings = settings
        self._seconds = lease_seconds
        self._redis = redis_client(settings)
        self._take = self._redis.register_script(_TAKE)
        self._keep = self._redis.register_script(_KEEP)
        self._settle = self._redis.register_script(_SETTLE)
        self._count = self._redis.register_script(_COUNT)

    def take(self) -> Taken | None:
        """Take the call-back that is due longest, for the time of a lease."""
        with broker_errors(self._settings):
            found = self._take(keys=[CALLBACKS], args=[self._seconds])
        return Taken(*found) if found else None

    def keep(self, taken: Taken) -> Taken | None:
        """Begin the lease anew; return None where somebody else has the call-back by now."""
        with broker_errors(self._settings):
            mark = self._keep(keys=[CALLBACKS], args=[taken.job_id, taken.mark, self._seconds])
        return Taken(taken.job_id, mark) if mark else None

    def ending(self, job_id: str) -> Ending | None:
        """Return how the job ended; None where it runs, or where Redis doesn't know it."""
        with broker_errors(self._settings):
            finished, cancelled = self._redis.hmget(_key(job_id), "finished_at", "cancelled_at")
        if finished:
            return Ending(job_id, "complete", float(finished))
        return Ending(job_id, "cancelled", float(cancelled)) if cancelled else None

    def failed(self, ending: Ending) -> int:
        """Count an attempt that failed; return how many have, 0 where the job is gone."""
        with broker_errors(self._settings):
            attempts: int = self._count(
                keys=[_key(ending.job_id)], args=[f"callback_attempts:{ending.id}"]
            )
        return attempts

    def again(self, taken: Taken, seconds: float, said: str) -> None:
        """Let the call-back be due again after some seconds; `said` is what people read of it."""
        self._end(taken, said, f"{seconds:f}")

    def done(self, taken: Taken, said: str = "") -> None:
        """Take the call-back out of the queue: it was sent, was given up, or nobody wants it."""
        self._end(taken, said, "")

    def close(self) -> None:
        self._redis.close()

    def _end(self, taken: Taken, said: str, seconds: str) -> None:
        with broker_errors(self._settings):
            self._settle(
                keys=[CALLBACKS, _key(taken.job_id)],
                args=[taken.job_id, taken.mark, said, seconds],
            )


def _key(job_id: str) -> str:
    return f"camfleet:job:{{{job_id}}}"
