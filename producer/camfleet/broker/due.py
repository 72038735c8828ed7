"""What is due at a time, and who takes it: callbacks, and whatever else follows by itself.

A sorted set in Redis holds names, scored by the time, on Redis' own clock, when each is due.
Whoever takes a name moves it on by a lease: if that process dies, the name falls due again by
itself, and any other process takes it. What somebody does with a name later takes effect only if
nobody else took it meanwhile, and nobody made it due anew.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from camfleet.broker.redis import Redis

logger = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
LATEST = 600.0  # seconds: no lease and no usual pause between attempts is longer


@dataclass(frozen=True)
class Held:
    """What one process holds; only that process knows `mark`."""

    name: str
    mark: str


@dataclass(frozen=True)
class Note:
    """What to write into a hash, if that exists."""

    key: str
    fields: Mapping[str, str] = field(default_factory=dict)


class Due:
    """The names in one sorted set. Safe to share by threads.

    A name that `names` doesn't match is dropped. A lease lasts `seconds`. What seems due later than
    in `latest` seconds was entered by a clock that has been set back, and is due at once; None: it
    may be due however late.
    """

    def __init__(
        self,
        redis: Redis,
        key: str,
        names: re.Pattern[str],
        *,
        seconds: float = LEASE_SECONDS,
        latest: float | None = LATEST,
    ) -> None:
        self.seconds = seconds
        self._latest = "" if latest is None else max(latest, 10 * seconds)
        self._redis = redis
        self._key = key
        self._names = names
        self._take = redis.script("due_take")
        self._settle = redis.script("due_settle")
        self._count = redis.script("due_count")

    def take(self) -> Held | None:
        """Take what is due longest, for the time of a lease."""
        while found := self._take([self._key], [self.seconds, self._latest]):
            name, mark = found
            if self._names.fullmatch(name):
                return Held(name, mark)
            logger.error("what is due in %s has no name of ours, and is dropped", self._key)
            self._redis.run("ZREMRANGEBYSCORE", self._key, mark, mark)
        return None

    def renew(self, held: Held, note: Note | None = None) -> Held | None:
        """Restart the lease; return None if somebody else has it by now."""
        return self._moved(held, self.seconds, note)

    def postpone(self, held: Held, seconds: float, note: Note | None = None) -> bool:
        """Make it due again after some seconds; return False if somebody else has it by now."""
        return self._moved(held, seconds, note) is not None

    def finish(self, held: Held, note: Note | None = None, *, then: str | None = None) -> bool:
        """Take it out, and make it due at once in the set `then`; return False as `postpone`."""
        return self._end(held, "", note, then) is not None

    def count(self, hash_key: str, name: str, number: int = 1) -> int:
        """Count an attempt, or -1 takes one back; return how many there were.

        They are counted in a hash; where that doesn't exist it's 0.
        """
        attempts: int = self._count([hash_key], [name, number])
        return attempts

    def _moved(self, held: Held, seconds: float, note: Note | None) -> Held | None:
        mark = self._end(held, f"{seconds:f}", note, None)
        return Held(held.name, mark) if mark else None

    def _end(self, held: Held, seconds: str, note: Note | None, then: str | None) -> str | None:
        words = [word for pair in note.fields.items() for word in pair] if note else []
        keys = [self._key, note.key if note else self._key, *([then] if then else [])]
        mark: str | None = self._settle(keys, [held.name, held.mark, seconds, *words])
        return mark
