"""When something is due, by a cron expression in a time zone.

Days and hours are those of the zone's clocks. What is due at a time that a change of the clocks
leaves out comes right after the change; at a time that comes twice, it's due the first time only.
What is due every few minutes or every hour isn't moved by changes, as with Debian's cron.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

from camfleet.contract.codec import Wire
from camfleet.errors import InvalidRequest

_ZONE = re.compile(r"[A-Za-z0-9+_-]+(?:/[A-Za-z0-9+_-]+)*")
_FIELDS = {  # as CronSim calls them: our names, and what they may be
    "minute": ("minute", "0 to 59"),
    "hour": ("hour", "0 to 23"),
    "day-of-month": ("day of month", "1 to 31, if one of the months has it, or L for the last"),
    "month": ("month", "1 to 12, or JAN to DEC"),
    "day-of-week": ("day of week", "0 to 7 (both are Sunday), or SUN, MON to SAT"),
}
_WAYS = "several have commas (MON,SUN), ranges go up (MON-FRI), steps have a slash, and * is all"
_MOST = 10_000  # times that are gone through, one after the other
_EPOCH_END = 4e9  # seconds: the year 2096
_CHANGE = 3 * 3600  # seconds: clocks are never changed by more
_AHEAD = 600  # seconds by which a clock may be corrected without anything being done twice


class Schedule(Wire, frozen=True, kw_only=True):
    """A cron expression of five fields: minute, hour, day of month, month, day of week.

    `timezone` is a name of the IANA database, such as Europe/Berlin.
    """

    cron: Annotated[str, Meta(max_length=200)]
    timezone: Annotated[str, Meta(max_length=64)] = "UTC"

    def check(self) -> None:
        """Raise `InvalidRequest` for what is no expression or zone, or never due."""
        if len(self.cron.split()) != len(_FIELDS):
            raise InvalidRequest(
                f"{self.cron!r} has {len(self.cron.split())} fields, not five: minute, hour, day "
                "of month, month, day of week, such as '30 6 * * MON'"
            )
        self.next_after(datetime(2024, 1, 1, tzinfo=UTC).timestamp())

    def next_after(self, moment: float) -> float:
        """Return when it's due next after a moment; both are seconds since the epoch.

        Raises `InvalidRequest`.
        """
        for found in self._times(moment, reverse=False):
            if found > moment:  # a time that comes twice lies before a moment between the two
                return found
        raise InvalidRequest(f"{self.cron!r} is never due")

    def latest(self, after: float, until: float) -> float | None:
        """Return the last time that it was due in `after` < time <= `until`, None if it wasn't.

        So whatever was missed is made up for once. Raises `InvalidRequest`.
        """
        for found in self._times(until + _CHANGE, reverse=True):
            if found <= after:
                return None
            if found <= until:
                return found
        return None

    def planned(self, last: float, now: float) -> float:
        """Return when it's to be done: now, if it's overdue, or else when it's due next.

        `last` is the time for which it was done last, or since when there is the schedule. One that
        lies ahead is that of a clock that has been set back, and counts for nothing.
        """
        if last > now + _AHEAD:
            return self.next_after(now)
        return self.latest(last, now) or self.next_after(max(last, now))

    def _times(self, moment: float, *, reverse: bool) -> Iterator[float]:
        from cronsim import CronSim, CronSimError

        if not 0 <= moment <= _EPOCH_END:
            raise InvalidRequest(f"{moment:g} is no time at which anything is due")
        start = datetime.fromtimestamp(int(moment), self._zone())
        try:
            times = CronSim(self.cron, start, reverse=reverse)
        except (CronSimError, ValueError) as error:
            raise InvalidRequest(f"{self.cron!r}: {self._why(error)}") from error
        for _ in range(_MOST):
            try:
                yield next(times).timestamp()
            except (StopIteration, OverflowError, ValueError):
                return

    def _why(self, error: Exception) -> str:
        """Return what is wrong with a field, and what it may be."""
        word = str(error).removeprefix("Bad ")
        if word not in _FIELDS:
            return f"it's no cron expression: {error}"
        name, values = _FIELDS[word]
        given = self.cron.split()[[*_FIELDS].index(word)]
        return f"{given!r} is no {name}: give {values}; {_WAYS}"

    def _zone(self) -> ZoneInfo:
        try:
            if _ZONE.fullmatch(self.timezone):
                return ZoneInfo(self.timezone)
        except (LookupError, OSError, ValueError):  # no such zone, or a folder of zones
            pass
        raise InvalidRequest(
            f"{self.timezone!r} is no time zone: give a name such as UTC or Europe/Berlin"
        )
