"""Redis behind sentinels, which say which of several servers is the primary.

redis-py asks them for each new connection. A server that was demoted closes its connections, or
answers that it's a replica, upon which the connection is closed: the next one leads to the new
primary.
"""

import ssl
import threading
from typing import Any

from redis import ConnectionError, RedisError, TimeoutError, sentinel  # noqa: A004  # redis-py's
from redis.backoff import NoBackoff
from redis.retry import Retry

from camfleet import addresses
from camfleet.broker.pools import PrimaryPool
from camfleet.forks import PerProcess
from camfleet.settings import Settings

_ASK_SECONDS = 2  # that one sentinel may take; the next one is asked then


def options(settings: Settings) -> dict[str, Any]:
    """Return the transport options by which Celery finds the primary; none without sentinels."""
    if not addresses.is_sentinel(settings.redis_url):
        return {}
    return {"master_name": settings.sentinel_master, "sentinel_kwargs": _asking(settings)}


def client(settings: Settings, kind: Any, options: dict[str, Any]) -> Any:
    """Return a client of the primary, of a class; `options` are those of its connections."""
    found = addresses.sentinels_of(settings.redis_url)
    assert found  # whoever calls this has looked
    tls = addresses.tls_options(settings.redis_url, settings.ca_file)
    asking = _asking(settings, options["socket_timeout"])
    manager: Any = _Sentinels(found.hosts, sentinel_kwargs=asking)
    return manager.master_for(
        settings.sentinel_master,
        kind,
        PrimaryPool,
        username=found.username,
        password=found.password,
        db=found.database,
        **options,
        connection_class=PrimarySSLConnection if tls else PrimaryConnection,
        **tls,
    )


class _Primary:
    """A connection that is to the primary also when it's opened anew in the middle of its use.

    redis-py goes back to the address that it had (its issue 3874): after a demotion a transaction
    would meet the same replica for ever.
    """

    def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        connection: Any = self
        if retry_socket_connect and not connection._sock:  # noqa: SLF001  # redis-py's own, as we are
            connection.host, connection.port = connection.connection_pool.get_master_address()
        super().connect_check_health(check_health, retry_socket_connect)  # type: ignore[misc]


class PrimaryConnection(_Primary, sentinel.SentinelManagedConnection):
    pass


class PrimarySSLConnection(_Primary, sentinel.SentinelManagedSSLConnection):
    pass


class _Sentinels(sentinel.Sentinel):
    """Keeps no connection to sentinels: they're asked when the primary may have changed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's
        self._turn = PerProcess(threading.Lock)

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the primary's address; raise `MasterNotFoundError` with what sentinels say."""
        with self._turn.get():
            try:
                return self._ask(service_name)
            finally:
                self.close()

    def _ask(self, service_name: str) -> tuple[str, int]:
        errors: list[RedisError] = []
        for number, one in enumerate(self.sentinels):
            try:
                states: Any = one.sentinel_masters()
            except (ConnectionError, TimeoutError) as error:
                errors.append(error)
                continue
            state = states.get(service_name)
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                self.sentinels.insert(0, self.sentinels.pop(number))  # the next one to be asked
                return state["ip"], state["port"]
        said = "".join(f"; {text}" for text in dict.fromkeys(map(str, errors)))
        untrusted = (error for error in errors if isinstance(error.__cause__, ssl.SSLError))
        raise sentinel.MasterNotFoundError(f"no primary {service_name}{said}") from next(
            untrusted, None
        )


def _asking(settings: Settings, timeout: float = _ASK_SECONDS) -> dict[str, Any]:
    """Return the options of connections to sentinels: each is asked once, then the next one."""
    tls = addresses.tls_options(settings.redis_url, settings.ca_file)
    return {
        "socket_connect_timeout": min(timeout, _ASK_SECONDS),
        "socket_timeout": min(timeout, _ASK_SECONDS),
        "retry": Retry(NoBackoff(), 0),
        **({"username": settings.sentinel_user} if settings.sentinel_user else {}),
        **({"password": settings.sentinel_password} if settings.sentinel_password else {}),
        **({"ssl": True, **tls} if tls else {}),
    }
