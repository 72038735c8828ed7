"""The schedules that are due, see `due`: who does what, and for which time.

What they are, and what was done, lies in the bucket; from there workers enter again what Redis has
forgotten. A hash says which are in work, and for which time: whoever takes over from a worker that
died does the same, not what has come due meanwhile.
"""

import re
from collections.abc import Mapping

from camfleet.broker import keys
from camfleet.broker.due import LATEST, LEASE_SECONDS, Due, Held
from camfleet.broker.redis import Redis
from camfleet.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TURN_SECONDS = 60.0


class SchedulesDue:
    """When each schedule is due. Safe to share by threads."""

    def __init__(self, settings: Settings, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._redis = Redis(settings)
        self.due = Due(self._redis, keys.SCHEDULES, NAME, seconds=lease_seconds, latest=None)
        self._begin = self._redis.script("schedule_begin")
        self._settle = self._redis.script("schedule_settle")
        self._take_turn = self._redis.script("take_turn")

    def now(self) -> float:
        """Return the time of Redis' clock, by which all is due: seconds since the epoch."""
        return self._redis.now()

    def enter(self, name: str, moment: float) -> None:
        """Let a schedule be due at a moment, whatever was said before; who holds it loses it."""
        with self._redis.pipeline() as pipe:
            pipe.zadd(keys.SCHEDULES, {name: moment})
            pipe.hdel(keys.SCHEDULES_IN_WORK, *_fields(name))
            pipe.execute()

    def remove(self, name: str) -> None:
        """Let a schedule never be due any more; who holds it loses it."""
        with self._redis.pipeline() as pipe:
            pipe.zrem(keys.SCHEDULES, name)
            pipe.hdel(keys.SCHEDULES_IN_WORK, *_fields(name))
            pipe.execute()

    def enter_forgotten(self, moments: Mapping[str, float]) -> None:
        """Let schedules be due at their moments, unless they are entered by now."""
        with self._redis.pipeline() as pipe:
            for name, moment in moments.items():
                pipe.zadd(keys.SCHEDULES, {name: moment}, nx=True)
            pipe.execute()

    def is_set_back(self) -> bool:
        """Return whether Redis' clock says much less than it did: all times may lie too late."""
        said = self._redis.run("GET", keys.SCHEDULES_CLOCK)
        try:
            return float(said or 0) > self.now() + LATEST
        except ValueError:  # a stranger's
            return True

    def enter_after_set_back(self, moments: Mapping[str, float]) -> None:
        """Let schedules be due at their moments, unless they are earlier; then note the time."""
        with self._redis.pipeline() as pipe:
            for name, moment in moments.items():
                pipe.zadd(keys.SCHEDULES, {name: moment}, lt=True)
            pipe.execute()
        self.note_clock()

    def note_clock(self) -> None:
        self._redis.run("SET", keys.SCHEDULES_CLOCK, f"{self.now():f}")

    def times(self) -> dict[str, float]:
        """Return when each schedule is due next, or when its lease runs out if it's in work."""
        with self._redis.pipeline() as pipe:
            pipe.zrange(keys.SCHEDULES, 0, -1, withscores=True)
            (found,) = pipe.execute()
        return {name: float(score) for name, score in found if NAME.fullmatch(name)}

    def late(self, seconds: float) -> list[str]:
        """Return the schedules that have been due for longer than that, and nobody does them."""
        limit = self.now() - seconds
        return sorted(name for name, moment in self.times().items() if moment < limit)

    def free_stuck(self) -> list[str]:
        """Let schedules in work whose lease seems long be due at once; return which.

        Their leases were taken before the clock was set back.
        """
        limit, times = self.now() + LATEST, self.times()
        in_work = set(self._redis.run("HKEYS", keys.SCHEDULES_IN_WORK))
        stuck = sorted(name for name in in_work if times.get(name, 0) > limit)
        with self._redis.pipeline() as pipe:
            for name in stuck:
                pipe.zadd(keys.SCHEDULES, {name: limit - LATEST}, lt=True)
            pipe.execute()
        return stuck

    def is_planner(self) -> bool:
        """Return whether the caller is to look for forgotten schedules: one caller at a time is."""
        return bool(self._take_turn([keys.SCHEDULER], [int(_TURN_SECONDS * 1000)]))

    def begin(self, name: str, moment: float, last: float) -> float:
        """Return the time for which a schedule is to be done, and note that it's in work.

        That's `moment`, unless somebody died who had begun with one after `last`.
        """
        return float(self._begin([keys.SCHEDULES_IN_WORK], [name, f"{moment:f}", f"{last:f}"]))

    def count(self, name: str, number: int = 1) -> int:
        """Count an attempt at what is in work; -1 takes one back. Returns how many there were."""
        return self.due.count(keys.SCHEDULES_IN_WORK, _fields(name)[1], number)

    def settle(self, held: Held, moment: float | None) -> bool:
        """Say when a schedule is due next, None for never; return False if somebody else has it."""
        at = "" if moment is None else f"{moment:f}"
        settled = self._settle(
            [keys.SCHEDULES, keys.SCHEDULES_IN_WORK],
            [held.name, held.mark, at, *_fields(held.name)],
        )
        return bool(settled)

    def close(self) -> None:
        self._redis.close()


def _fields(name: str) -> tuple[str, str]:
    """Return the fields of the time in work, and of the attempts at it."""
    return name, f"{name}/attempts"
