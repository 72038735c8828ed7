"""Whether Redis still is what it was: a promotion may have lost writes that it had acknowledged.

Each history of writes has an id of Redis' own, its replication id, which a promoted replica
replaces, and a server that starts anew. Workers note that id in Redis itself, with the time. A note
that holds another id than the server says is as old as the last write that is surely there: all
that was acknowledged later may be lost.

The note also has the fleet's own id, which stays. Jobs carry it in the bucket, so that a fleet
doesn't bring those back here that another one runs, whose Redis knows them.
"""

import secrets

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.settings import Settings

_FLEET = "fleet"


def fleet_id(redis: Redis) -> str:
    """Return the id of the fleet on this Redis, chosen the first time that somebody asks."""
    with redis.pipeline() as pipe:
        pipe.hsetnx(keys.HISTORY, _FLEET, secrets.token_hex(8))
        pipe.hget(keys.HISTORY, _FLEET)
        return str(pipe.execute()[1])


def known_fleet_id(redis: Redis) -> str | None:
    """Return the id of the fleet on this Redis, None where nobody has asked yet."""
    found: str | None = redis.run("HGET", keys.HISTORY, _FLEET)
    return found


class History:
    """The note of the replication id. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis(settings)
        self._take_turn = self._redis.script("take_turn")

    def lost_since(self) -> tuple[str, float] | None:
        """Return the server's new id, and since when writes may be lost; None if none are.

        An unchanged id is noted with the present time. Where there is no note, as in an empty
        Redis, nobody can tell.
        """
        new_id = str(self._redis.run("INFO", "replication").get("master_replid", ""))
        noted, at, fleet = self._redis.run("HMGET", keys.HISTORY, "replid", "at", _FLEET)
        if fleet is None:  # before anybody needs it, so that replicas have it then
            fleet_id(self._redis)
        if not new_id:  # a server that doesn't say
            return None
        if noted in (None, new_id):
            self.note(new_id)
            return None
        try:
            return new_id, float(at)
        except (TypeError, ValueError):  # nobody of ours wrote that
            return new_id, 0.0

    def note(self, replid: str) -> None:
        """Note that all is there that was acknowledged until now."""
        self._redis.run("HSET", keys.HISTORY, "replid", replid, "at", self._redis.now())

    def take_turn(self, seconds: float) -> bool:
        """Return whether the caller is to look for what was lost; one is in so many seconds."""
        return bool(self._take_turn([keys.HISTORIAN], [int(seconds * 1000)]))

    def takes_turn_to_sign(self, seconds: float) -> bool:
        """Return whether the caller is to say in the bucket that there's this fleet."""
        return bool(self._take_turn([keys.SIGNER], [int(seconds * 1000)]))

    def renew_turn(self, seconds: float) -> None:
        self._redis.run("SET", keys.HISTORIAN, 1, "PX", int(seconds * 1000))

    def end_turn(self) -> None:
        self._redis.run("DEL", keys.HISTORIAN)

    def close(self) -> None:
        self._redis.close()
