"""Redis as producers and workers talk to it: one client, whose errors are camfleet's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from camfleet.errors import BrokerUnavailable
from camfleet.settings import Settings

CONNECT_SECONDS = 5
SILENT_SECONDS = 15  # without an answer a connection counts as dead, though nobody closed it
_CHECK_SECONDS = 10
_WORDS = {  # by redis-py's class; the first of an error's own that is here counts
    "AuthenticationError": "Redis at {place} refuses the password ({error}): check "
    "CAMFLEET_REDIS_URL",
    "OutOfMemoryError": "Redis at {place} is full (maxmemory): give it more memory; workers wait, "
    "and nothing is lost",
    "ReadOnlyError": "Redis at {place} is a replica and takes no writes: CAMFLEET_REDIS_URL must "
    "name the primary",
    "BusyLoadingError": "Redis at {place} is loading its data: it answers in a while",
    "ResponseError": "Redis at {place} refuses a command: {error}",
    "Exception": "no Redis at {place} ({error}); is it running, and is CAMFLEET_REDIS_URL right?",
}


def redis_client(settings: Settings, patience: float | None = None) -> Any:
    """Return a redis-py client of the settings' server (nothing is connected yet).

    With `patience` a call fails after that many seconds of silence, and isn't tried again.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": SILENT_SECONDS,
    }
    if patience is not None:
        options = {
            "socket_connect_timeout": patience,
            "socket_timeout": patience,
            "retry": Retry(NoBackoff(), 0),
        }
    return redis.Redis.from_url(
        settings.redis_url,
        socket_keepalive=True,
        health_check_interval=_CHECK_SECONDS,
        decode_responses=True,
        **options,
    )


@contextmanager
def broker_errors(settings: Settings) -> Iterator[None]:
    """Turn what redis-py and kombu raise into `BrokerUnavailable`, naming server and way out."""
    from kombu.exceptions import BatchPublishError, OperationalError
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OperationalError, BatchPublishError) as error:
        place = urlsplit(settings.redis_url)
        raise BrokerUnavailable(_said(f"{place.hostname}:{place.port or 6379}", error)) from error


def _said(place: str, error: BaseException) -> str:
    """Return what an error of redis-py or kombu means to an operator."""
    cause = error
    while cause.__cause__:  # kombu wraps redis-py's
        cause = cause.__cause__
    words = next(_WORDS[each.__name__] for each in type(cause).__mro__ if each.__name__ in _WORDS)
    return words.format(place=place, error=cause)
