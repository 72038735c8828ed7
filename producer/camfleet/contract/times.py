"""Times: records have seconds since the epoch, and whoever asks over HTTP is told ISO 8601."""

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from msgspec import Meta

Seconds: TypeAlias = Annotated[float, Meta(ge=0, lt=1e11)]  # since the epoch, up to the year 5138
Time: TypeAlias = Annotated[datetime, Meta(tz=True)]  # as JSON it's ISO 8601, in UTC

_LAST = datetime.max.replace(tzinfo=UTC)


def time_of(seconds: float) -> datetime:
    """Return a time in UTC; what lies behind the last one that can be told is that one."""
    try:
        return datetime.fromtimestamp(max(seconds, 0.0), UTC)
    except (OverflowError, ValueError, OSError):
        return _LAST
