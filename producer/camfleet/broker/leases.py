"""Who is working on which chunk, so that a killed worker's chunk runs again soon.

A worker leases a chunk before it starts and renews the lease while it lives. One sorted set
holds all leases, scored by the time, on Redis' own clock, at which they run out. Whatever worker
looks next puts chunks whose lease ran out back into the queue. The message that the dead worker
held comes back much later, by the broker's visibility timeout, and finds the chunk done.

In a hash a job keeps, per chunk, how often it was started, and which image is in work when it's
run carefully: an image that kills the process is known at the next attempt.
"""

from camfleet.broker.redis import broker_errors, redis_client
from camfleet.contract.codec import decode_json, encode_json
from camfleet.contract.records import ChunkRef
from camfleet.settings import Settings

LEASES = "camfleet:leases"
_REAPER = "camfleet:reaper"
_SWEEPER = "camfleet:sweeper"

_NOW = "local time = redis.call('TIME'); local now = time[1] + time[2] / 1e6; "
# KEYS: leases, notes. ARGV: member, field, seconds of the lease and to keep the notes.
# Returns the attempt, 0 if it's leased.
_TAKE = f"""{_NOW}
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if lease and tonumber(lease) > now then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
local attempt = redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
redis.call('EXPIRE', KEYS[2], ARGV[4])
return attempt
"""
# KEYS: notes. ARGV: field.
_UNCOUNT = """
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) > 0 then
  redis.call('HINCRBY', KEYS[1], ARGV[1], -1)
end
"""
# KEYS: leases. ARGV: seconds, members.
_RENEW = f"""{_NOW}
for position = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], ARGV[position])
end
"""
# KEYS: leases, lock. ARGV: milliseconds of the lock. Returns members whose lease ran out.
_OVERDUE = f"""{_NOW}
if not redis.call('SET', KEYS[2], 1, 'NX', 'PX', ARGV[1]) then return {{}} end
return redis.call('ZRANGEBYSCORE', KEYS[1], 0, now)
"""


class Leases:
    """The leases of all chunks. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seconds = settings.lease_seconds
        self._redis = redis_client(settings)
        self._take = self._redis.register_script(_TAKE)
        self._uncount = self._redis.register_script(_UNCOUNT)
        self._renew = self._redis.register_script(_RENEW)
        self._overdue = self._redis.register_script(_OVERDUE)

    def take(self, ref: ChunkRef) -> int:
        """Lease a chunk; return the number of this attempt, or 0 where another worker has it."""
        with broker_errors(self._settings):
            attempt: int = self._take(
                keys=[LEASES, _notes(ref.job_id)],
                args=[
                    _member(ref),
                    _field(ref, "attempts"),
                    self._seconds,
                    self._settings.job_expires,
                ],
            )
        return attempt

    def uncount(self, ref: ChunkRef) -> None:
        """Take an attempt back: the worker stopped in order, the chunk isn't to blame."""
        with broker_errors(self._settings):
            self._uncount(keys=[_notes(ref.job_id)], args=[_field(ref, "attempts")])

    def renew(self, refs: list[ChunkRef]) -> None:
        """Prolong the leases of chunks in work."""
        if refs:
            with broker_errors(self._settings):
                self._renew(keys=[LEASES], args=[self._seconds, *map(_member, refs)])

    def give_back(self, ref: ChunkRef) -> None:
        """End a lease: the chunk is done, or is back in the queue."""
        with broker_errors(self._settings):
            self._redis.zrem(LEASES, _member(ref))

    def overdue(self) -> list[ChunkRef]:
        """Return the chunks whose lease ran out; to one caller per half a lease's time.

        They are offered again until they are given back or taken.
        """
        with broker_errors(self._settings):
            late: list[str] = self._overdue(keys=[LEASES, _REAPER], args=[int(self._seconds * 500)])
        return [decode_json(each.encode(), ChunkRef) for each in late]

    def is_sweeper(self) -> bool:
        """Say whether it's the caller who sweeps now: one per lease's time."""
        with broker_errors(self._settings):
            return bool(self._redis.set(_SWEEPER, 1, nx=True, px=int(self._seconds * 1000)))

    def mark(self, ref: ChunkRef, index: int | None) -> None:
        """Note which image of a chunk is in work, before it's touched; None: none is any more."""
        with broker_errors(self._settings):
            if index is None:
                self._redis.hdel(_notes(ref.job_id), _field(ref, "image"))
            else:
                self._redis.hset(_notes(ref.job_id), _field(ref, "image"), index)

    def killers(self, ref: ChunkRef) -> set[int]:
        """Return the images that were in work when an attempt ended without a word.

        Call it at the start of an attempt: a mark that is still there is the last one's.
        """
        notes, image, found = _notes(ref.job_id), _field(ref, "image"), _field(ref, "killers")
        with broker_errors(self._settings):
            last, known = self._redis.hmget(notes, image, found)
            killers = {int(each) for each in (known or "").split(",") if each}
            if last is not None:
                killers.add(int(last))
                self._redis.hset(notes, found, ",".join(map(str, sorted(killers))))
                self._redis.hdel(notes, image)
        return killers

    def close(self) -> None:
        self._redis.close()


def _member(ref: ChunkRef) -> str:
    return encode_json(ref).decode()


def _field(ref: ChunkRef, name: str) -> str:
    return f"{ref.model}:{ref.part}:{ref.retry}:{name}"


def _notes(job_id: str) -> str:
    return f"camfleet:job:{{{job_id}}}:attempts"
