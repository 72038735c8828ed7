"""Who is working on which chunk, so that a killed worker's chunk runs again soon.

A worker leases a chunk before it starts and renews the lease while it lives. One sorted set
holds all leases, scored by the time at which they run out, on Redis' own clock. The next worker
that looks puts chunks whose lease ran out back into the queue. The message that the dead worker
held comes back much later, after the broker's visibility timeout, and finds the chunk done.

A hash per job holds, for each chunk, who holds its lease, how often it was started, which image is
in work while it runs carefully, and how many workers died with which image in work. Once a
chunk is counted its attempts are forgotten, unless an image was blamed: the hash stays small.

An image is blamed at the second death only, and never while the worker that had it in work may
live: a worker that was paused, or cut off from Redis for longer than its lease, is not dead.
"""

import logging
import re

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.contract.codec import decode_json, encode_json
from camfleet.contract.records import ChunkRef
from camfleet.errors import BrokerUnavailable, InvalidRequest
from camfleet.settings import Settings

logger = logging.getLogger(__name__)

BLAMED_AT = 2  # deaths of a worker with the image in work
_FAR = 600.0  # seconds: no lease is longer, but one from before the clock was set back may look so
_NAME = re.compile(r"[^!-~]")  # what the name of a connection can't hold


class Leases:
    """The leases of all chunks. Safe to share by threads.

    `owner` names the process that takes them, and no other one ever; its connections carry that
    name, so that others see whether it lives.
    """

    def __init__(self, settings: Settings, owner: str = "") -> None:
        self._seconds = settings.lease_seconds
        self._far = max(_FAR, 10 * settings.lease_seconds)
        self._job_expires = settings.job_expires
        self.owner = _NAME.sub("_", owner)
        self._redis = Redis(settings, name=self.owner or None)
        self._take = self._redis.script("lease_take")
        self._settle = self._redis.script("lease_settle")
        self._uncount = self._redis.script("lease_uncount")
        self._renew = self._redis.script("lease_renew")
        self._give_back = self._redis.script("lease_give_back")
        self._drop = self._redis.script("lease_drop")
        self._overdue = self._redis.script("lease_overdue")
        self._take_turn = self._redis.script("take_turn")
        self._mark = self._redis.script("lease_mark")

    def take(self, ref: ChunkRef) -> int:
        """Lease a chunk; return the number of this attempt, or 0 where another worker has it."""
        attempt = self._try_to_take(ref)
        if attempt < 0:  # its message came back before anybody noticed that its lease ran out
            self.settle(ref)
            attempt = self._try_to_take(ref)
        return max(0, attempt)

    def uncount(self, ref: ChunkRef) -> None:
        """Take an attempt of ours back: it ended in good order, the chunk isn't to blame."""
        self._uncount([keys.attempts(ref.job_id)], [attempts_prefix(ref), self.owner])

    def renew(self, refs: list[ChunkRef]) -> list[ChunkRef]:
        """Prolong the leases of chunks in work; return those that are another worker's by now."""
        if not refs:
            return []
        names = [name for ref in refs for name in (_member(ref), attempts_prefix(ref))]
        lost = self._renew(
            [keys.LEASES, *(keys.attempts(ref.job_id) for ref in refs)],
            [self._seconds, self.owner, *names],
        )
        return [_parse(member) for member in lost]

    def give_back(self, ref: ChunkRef) -> None:
        """End a lease of ours: the chunk is done, or is back in the queue."""
        self._give_back(
            [keys.LEASES, keys.attempts(ref.job_id)],
            [_member(ref), attempts_prefix(ref), self.owner],
        )

    def leave(self, ref: ChunkRef) -> None:
        """Let a lease of ours run out now: another worker finds the chunk overdue."""
        self._renew(
            [keys.LEASES, keys.attempts(ref.job_id)],
            [0, self.owner, _member(ref), attempts_prefix(ref)],
        )

    def overdue(self) -> list[ChunkRef]:
        """Return the chunks whose lease ran out, to one caller per half a lease's time.

        They are offered again until they are dropped or taken.
        """
        members = self._overdue([keys.LEASES, keys.REAPER], [int(self._seconds * 500), self._far])
        return [ref for member in members if (ref := self._read(member))]

    def settle(self, ref: ChunkRef) -> bool:
        """Note how the attempt ended whose lease ran out; return whether its worker is dead.

        Call it before the chunk is put back into the queue. An attempt whose worker may live
        doesn't count, and nothing is blamed for it.
        """
        attempts, prefix = keys.attempts(ref.job_id), attempts_prefix(ref)
        owner = self._redis.run("HGET", attempts, f"{prefix}owner") or ""
        lives = bool(owner) and self._may_live(owner)
        self._settle(
            [keys.LEASES, attempts],
            [_member(ref), prefix, owner, int(lives), BLAMED_AT, self._far],
        )
        return not lives

    def drop(self, ref: ChunkRef) -> None:
        """Forget a lease that ran out, once its chunk is back in the queue."""
        self._drop([keys.LEASES], [_member(ref), self._far])

    def is_sweeper(self) -> bool:
        """Return whether the caller is to sweep now: one caller per half a lease's time is."""
        return bool(self._take_turn([keys.SWEEPER], [int(self._seconds * 450)]))

    def end_turns(self) -> None:
        """Let others look for overdue leases and lost messages, as we can't help these."""
        self._redis.run("DEL", keys.REAPER, keys.SWEEPER)

    def is_settling(self, seconds: float) -> bool:
        """Return whether Redis started so recently that living workers may not be back yet."""
        return float(self._redis.run("INFO", "server")["uptime_in_seconds"]) < seconds

    def mark(self, ref: ChunkRef, index: int | None) -> None:
        """Note which image of a chunk is in work, before touching it; None once none is."""
        place = "" if index is None else index
        self._mark([keys.attempts(ref.job_id)], [attempts_prefix(ref), self.owner, place])

    def killers(self, ref: ChunkRef) -> set[int]:
        """Return the images with which workers died in work, often enough to be blamed."""
        listed = self._redis.run(
            "HGET", keys.attempts(ref.job_id), f"{attempts_prefix(ref)}killers"
        )
        found = (listed or "").split(",")
        return {int(index) for index in found if index.isascii() and index.isdecimal()}

    def close(self) -> None:
        self._redis.close()

    def _read(self, member: str) -> ChunkRef | None:
        """Return the chunk that a lease is of; forget a lease of nothing."""
        try:
            ref = _parse(member)
            reason = "" if _member(ref) == member else "it's spelt in another way"
        except InvalidRequest as error:
            reason = str(error)
        if not reason:
            return ref
        logger.error("a lease in Redis is no chunk's, and is dropped: %s", reason)
        self._redis.run("ZREM", keys.LEASES, member)
        return None

    def _try_to_take(self, ref: ChunkRef) -> int:
        attempt: int = self._take(
            [keys.LEASES, keys.attempts(ref.job_id)],
            [
                _member(ref),
                attempts_prefix(ref),
                self._seconds,
                self._job_expires,
                self.owner,
                self._far,
            ],
        )
        return attempt

    def _may_live(self, owner: str) -> bool:
        """Return whether a process may live: it has a connection, or a fresh heartbeat.

        The kernel closes a dead process's connections at once, those of a paused one stay.
        """
        try:
            clients = self._redis.run("CLIENT LIST")
        except BrokerUnavailable:  # forbidden to us, or not there
            return bool(self._redis.run("EXISTS", keys.alive(owner)))
        return any(client.get("name") == owner for client in clients)


def _member(ref: ChunkRef) -> str:
    return encode_json(ref).decode()


def _parse(member: str) -> ChunkRef:
    return decode_json(member.encode(), ChunkRef)


def attempts_prefix(ref: ChunkRef) -> str:
    """Return what the fields of a chunk begin with in the hash of its job's attempts."""
    return f"{ref.model}:{ref.part}:{ref.retry}:"
