"""Who is working on which chunk, so that a killed worker's chunk runs again soon.

A worker leases a chunk before it starts and renews the lease while it lives. One sorted set
holds all leases, scored by the time at which they run out, on Redis' own clock. The next worker
that looks puts chunks whose lease ran out back into the queue. The message that the dead worker
held comes back much later, after the broker's visibility timeout, and finds the chunk done.

A hash per job holds, for each chunk, how often it was started, and which image is in work while
it runs carefully: the next attempt knows which image killed the process.
"""

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.contract.codec import decode_json, encode_json
from camfleet.contract.records import ChunkRef
from camfleet.settings import Settings


class Leases:
    """The leases of all chunks. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.lease_seconds
        self._job_expires = settings.job_expires
        self._redis = Redis(settings)
        self._take = self._redis.script("lease_take")
        self._uncount = self._redis.script("lease_uncount")
        self._renew = self._redis.script("lease_renew")
        self._overdue = self._redis.script("lease_overdue")

    def take(self, ref: ChunkRef) -> int:
        """Lease a chunk; return the number of this attempt, or 0 where another worker has it."""
        attempt: int = self._take(
            [keys.LEASES, keys.attempts(ref.job_id)],
            [_member(ref), _field(ref, "attempts"), self._seconds, self._job_expires],
        )
        return attempt

    def uncount(self, ref: ChunkRef) -> None:
        """Take an attempt back: the worker shut down properly, the chunk isn't to blame."""
        self._uncount([keys.attempts(ref.job_id)], [_field(ref, "attempts")])

    def renew(self, refs: list[ChunkRef]) -> None:
        """Prolong the leases of chunks in work."""
        if refs:
            self._renew([keys.LEASES], [self._seconds, *map(_member, refs)])

    def give_back(self, ref: ChunkRef) -> None:
        """End a lease: the chunk is done, or is back in the queue."""
        self._redis.run("ZREM", keys.LEASES, _member(ref))

    def overdue(self) -> list[ChunkRef]:
        """Return the chunks whose lease ran out, to one caller per half a lease's time.

        They are offered again until they are given back or taken.
        """
        members: list[str] = self._overdue([keys.LEASES, keys.REAPER], [int(self._seconds * 500)])
        return [decode_json(member.encode(), ChunkRef) for member in members]

    def is_sweeper(self) -> bool:
        """Return whether the caller is to sweep now: one caller per lease's time is."""
        return bool(self._redis.run("SET", keys.SWEEPER, 1, "PX", int(self._seconds * 1000), "NX"))

    def mark(self, ref: ChunkRef, index: int | None) -> None:
        """Note which image of a chunk is in work, before touching it; None once none is."""
        attempts, field = keys.attempts(ref.job_id), _field(ref, "image")
        if index is None:
            self._redis.run("HDEL", attempts, field)
        else:
            self._redis.run("HSET", attempts, field, index)

    def killers(self, ref: ChunkRef) -> set[int]:
        """Return the images that were in work when an attempt died.

        Call it at the start of an attempt: a mark that is still there is the last one's.
        """
        attempts = keys.attempts(ref.job_id)
        image, known = _field(ref, "image"), _field(ref, "killers")
        last, listed = self._redis.run("HMGET", attempts, image, known)
        killers = {int(index) for index in (listed or "").split(",") if index}
        if last is not None:
            killers.add(int(last))
            self._redis.run("HSET", attempts, known, ",".join(map(str, sorted(killers))))
            self._redis.run("HDEL", attempts, image)
        return killers

    def close(self) -> None:
        self._redis.close()


def _member(ref: ChunkRef) -> str:
    return encode_json(ref).decode()


def _field(ref: ChunkRef, name: str) -> str:
    return f"{ref.model}:{ref.part}:{ref.retry}:{name}"
