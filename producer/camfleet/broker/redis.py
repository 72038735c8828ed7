"""Redis: a few verbs over redis-py, whose exceptions stop here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

from camfleet import addresses
from camfleet.broker.errors import broker_errors, is_demoted
from camfleet.settings import Settings

CONNECT_SECONDS = 5
SILENT_SECONDS = 15  # without an answer a connection counts as dead, though nobody closed it
HEALTH_CHECK_SECONDS = 10


class Redis:
    """The server of the settings' URL. Safe to share by threads; nothing is connected yet.

    Every verb raises `BrokerUnavailable`, which names the server and the way out. With `timeout`
    a call fails after that many seconds of silence, and isn't tried again. `name` is what Redis
    lists its connections under.
    """

    def __init__(
        self, settings: Settings, timeout: float | None = None, name: str | None = None
    ) -> None:
        self._settings = settings
        self._client = redis_client(settings, timeout, name)

    def run(self, command: str, *args: Any) -> Any:
        """Run a command, as `run("HGET", key, field)`; return the answer as redis-py parses it."""
        with self.errors():
            return self._client.execute_command(command, *args)

    @contextmanager
    def pipeline(self, *, transaction: bool = True) -> Iterator[Any]:
        """Yield a redis-py pipeline; its errors are translated within the block."""
        with self.errors(), self._client.pipeline(transaction=transaction) as pipe:
            yield pipe

    def now(self) -> float:
        """Return what Redis' clock says: seconds since the epoch."""
        with self.pipeline() as pipe:
            pipe.time()
            ((seconds, micros),) = pipe.execute()
        return float(seconds) + float(micros) / 1e6

    def scan(self, pattern: str) -> list[str]:
        """Return the keys that match, some perhaps twice; read a thousand of all keys at a time."""
        with self.errors():
            return list(map(self.bare, self._client.scan_iter(pattern, count=1000)))

    def full(self, key: str) -> str:
        """Return a key as Redis has it, for where it's none of a command's or script's keys."""
        return self._settings.key_prefix + key

    def bare(self, key: str) -> str:
        """Return a key of Redis as `keys` spells it."""
        return key.removeprefix(self._settings.key_prefix)

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
        from redis.exceptions import ResponseError

        with broker_errors(self._settings):
            try:
                yield
            except ResponseError as error:
                if is_demoted(error):  # the name may lead to another server by now
                    self._client.connection_pool.disconnect(inuse_connections=False)
                raise


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


def redis_client(settings: Settings, timeout: float | None = None, name: str | None = None) -> Any:
    """Return a redis-py client of the settings' server (nothing is connected yet).

    Its errors are redis-py's own, see `Redis`. With `timeout` a call fails after that many
    seconds of silence, and isn't tried again.
    """
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
    options |= {
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "decode_responses": True,
        "encoding_errors": "replace",  # of what somebody else wrote; ours is all UTF-8
        "client_name": name,
    }
    kind = _kind(settings)
    if addresses.is_sentinel(settings.redis_url):
        from camfleet.broker import sentinels

        made = sentinels.client(settings, kind, {"socket_keepalive": True, **options})
    else:
        from camfleet.broker.pools import Pool

        pool = Pool.from_url(settings.redis_url, **options, **_transport_options(settings))
        made = kind.from_pool(pool)
    if settings.key_prefix:
        made.prefix = settings.key_prefix
    return made


def _kind(settings: Settings) -> Any:
    """Return the class of clients: redis-py's own, unless keys have a prefix."""
    if settings.key_prefix:
        from camfleet.broker.prefixed import PrefixedRedis

        return PrefixedRedis
    from redis import Redis as Plain

    return Plain


def has_moved(client: Any, connection: Any) -> bool:
    """Return whether sentinels name another primary than a connection leads to.

    One that was demoted keeps its connections for ten seconds, in which it says nothing.
    """
    if not hasattr(client.connection_pool, "get_master_address"):
        return False
    from redis.exceptions import ConnectionError as NotConnected

    try:
        address = client.connection_pool.get_master_address()
    except NotConnected:  # nobody knows
        return False
    return bool(address != (connection.host, connection.port))


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.redis_url.startswith("unix:"):
        return {}
    tls = addresses.tls_options(settings.redis_url, settings.ca_file)
    return {"socket_keepalive": True, **tls}


def _source(name: str) -> str:
    return resources.files("camfleet.broker").joinpath("lua", f"{name}.lua").read_text("utf-8")
