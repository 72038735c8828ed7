"""Redis: a few verbs over redis-py, whose exceptions stop here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from camfleet.errors import BrokerUnavailable
from camfleet.settings import Settings

CONNECT_SECONDS = 5
SILENT_SECONDS = 15  # without an answer a connection counts as dead, though nobody closed it
HEALTH_CHECK_SECONDS = 10
_REASONS = {  # by redis-py's class; the first of an error's own that is here counts
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


class Redis:
    """The server of the settings' URL. Safe to share by threads; nothing is connected yet.

    Every verb raises `BrokerUnavailable`, which names the server and the way out. With `timeout`
    a call fails after that many seconds of silence, and isn't tried again.
    """

    def __init__(self, settings: Settings, timeout: float | None = None) -> None:
        self._url = settings.redis_url
        self._client = redis_client(settings, timeout)

    def run(self, command: str, *args: Any) -> Any:
        """Run a command, as `run("HGET", key, field)`; return the answer as redis-py parses it."""
        with self.errors():
            return self._client.execute_command(command, *args)

    @contextmanager
    def pipeline(self, *, transaction: bool = True) -> Iterator[Any]:
        """Yield a redis-py pipeline; its errors are translated within the block."""
        with self.errors(), self._client.pipeline(transaction=transaction) as pipe:
            yield pipe

    def scan(self, pattern: str) -> list[str]:
        """Return the keys that match, some perhaps twice; read a thousand of all keys at a time."""
        with self.errors():
            return list(self._client.scan_iter(pattern, count=1000))

    def script(self, name: str) -> "Script":
        """Return a script of the folder `lua`; its head says what it takes and returns."""
        return Script(self, self._client.register_script(_source(name)))

    def lock(self, key: str, seconds: float) -> "Lock":
        """Return a lock, not acquired yet, that expires unless it's renewed."""
        return Lock(self, self._client.lock(key, timeout=seconds, thread_local=False))

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate redis-py's errors within a block."""
        from redis.exceptions import RedisError

        try:
            yield
        except RedisError as error:
            raise _unavailable(self._url, error) from error


class Script:
    """A Lua script, which Redis runs atomically. Its text is sent once per server."""

    def __init__(self, redis: Redis, script: Any) -> None:
        self._redis = redis
        self._script = script

    def __call__(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        with self._redis.errors():
            return self._script(keys=keys, args=args)

    def queue(self, pipe: Any, keys: Sequence[str], args: Sequence[Any]) -> None:
        """Add a run of the script to a pipeline."""
        self._script(keys=keys, args=args, client=pipe)


class Lock:
    """A lock held by one process; any of its threads may renew it."""

    def __init__(self, redis: Redis, lock: Any) -> None:
        self._redis = redis
        self._lock = lock

    def acquire(self, *, wait: bool) -> bool:
        """Return whether the lock is ours now; with `wait`, block until it is."""
        with self._redis.errors():
            return bool(self._lock.acquire(blocking=wait))

    def renew(self) -> bool:
        """Restart the time until it expires; return False if it was lost."""
        return self._do(self._lock.reacquire)

    def release(self) -> bool:
        """Release the lock; return False if it was lost."""
        return self._do(self._lock.release)

    def _do(self, verb: Any) -> bool:
        from redis.exceptions import LockError

        with self._redis.errors():
            try:
                verb()
            except LockError:
                return False
        return True


def redis_client(settings: Settings, timeout: float | None = None) -> Any:
    """Return a redis-py client of the settings' server (nothing is connected yet).

    Its errors are redis-py's own, see `Redis`. With `timeout` a call fails after that many
    seconds of silence, and isn't tried again.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": SILENT_SECONDS,
    }
    if timeout is not None:
        options = {
            "socket_connect_timeout": timeout,
            "socket_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
        }
    return redis.Redis.from_url(
        settings.redis_url,
        socket_keepalive=True,
        health_check_interval=HEALTH_CHECK_SECONDS,
        decode_responses=True,
        **options,
    )


@contextmanager
def broker_errors(settings: Settings) -> Iterator[None]:
    """Translate what kombu and redis-py raise below Celery into `BrokerUnavailable`.

    For calls of Celery only: `Redis` translates its own errors.
    """
    from kombu.exceptions import BatchPublishError, OperationalError
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OperationalError, BatchPublishError) as error:
        raise _unavailable(settings.redis_url, error) from error


def _unavailable(url: str, error: BaseException) -> BrokerUnavailable:
    """Return what an error of redis-py or kombu means to an operator."""
    place = urlsplit(url)
    cause = error
    while cause.__cause__:  # kombu wraps redis-py's
        cause = cause.__cause__
    names = (kind.__name__ for kind in type(cause).__mro__)
    reason = next(_REASONS[name] for name in names if name in _REASONS)
    host = f"{place.hostname}:{place.port or 6379}"
    return BrokerUnavailable(reason.format(place=host, error=cause))


def _source(name: str) -> str:
    return resources.files("camfleet.broker").joinpath("lua", f"{name}.lua").read_text("utf-8")
