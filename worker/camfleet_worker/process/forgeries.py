"""Keeps kombu and Celery alive whatever lies in Redis: what is no message of ours is dropped.

kombu takes a message out of its queue before it reads it, so one that is refused then is gone, and
holds no slot. What Celery raises on a message that was admitted all the same ends neither.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from celery.worker.control import Panel, nok
from kombu.transport import redis, virtual
from redis import Redis

from camfleet.broker import sentinels
from camfleet.broker.repair import delete_wrong_types, is_wrong_type
from camfleet_worker.process import envelope
from camfleet_worker.process.envelope import ForgedMessage

logger = logging.getLogger(__name__)

_PIDBOX = ".celery.pidbox"
_ANSWERS = ".reply.celery.pidbox"
_FOR_EVER = -1
_BINDING = 3  # parts: routing key, pattern, queue
# Remote control commands that only look, or make a worker send events. Whoever can write to Redis
# could end workers with the others, let them forget queues, or revoke chunks for good.
COMMANDS = frozenset(
    {
        *("active", "active_queues", "clock", "conf", "ping", "query_task", "registered"),
        *("report", "reserved", "revoked", "scheduled", "stats"),
        *("disable_events", "enable_events", "heartbeat"),
    }
)


class QoS(redis.QoS):
    """Restores only what can be restored, and finds its own keys as it left them."""

    def append(self, message: Any, delivery_tag: str) -> None:
        try:
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001  # raised again unless it's repaired
            _repair(self.channel, error)
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call]

    def restore_visible(self, *args: Any, **options: Any) -> None:
        with _repairing(self.channel):
            with self.channel.conn_or_acquire() as client:
                plain, mutex = (
                    _plain(client),
                    self.channel.global_keyprefix + self.unacked_mutex_key,
                )
                if plain.pttl(mutex) == _FOR_EVER:  # kombu's own expires
                    plain.delete(mutex)
            super().restore_visible(*args, **options)  # type: ignore[no-untyped-call]

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        with self.channel.conn_or_acquire(client) as used:
            kept = used.hget(self.unacked_key, tag)
            try:
                if kept is not None:
                    envelope.check_restorable(kept)
            except ForgedMessage as error:
                logger.error("an unacknowledged message is dropped: %s", error)  # noqa: TRY400
                self._remove_from_indices(tag, used.pipeline()).execute()  # type: ignore[no-untyped-call]
                return
        super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]


class Channel(redis.Channel):
    """Drops what is no message as it's read, whether from a queue or by publication."""

    def _brpop_read(self, **options: Any) -> Any:
        with _repairing(self), _dropping("a message"):
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        return None

    def _receive_one(self, c: Any) -> Any:
        with _dropping("a remote control command"):
            return super()._receive_one(c)  # type: ignore[no-untyped-call]
        return None

    def get_table(self, exchange: str) -> list[Any]:
        found = super().get_table(exchange)  # type: ignore[no-untyped-call]
        return [binding for binding in found if len(binding) == _BINDING]


class SentinelChannel(Channel, redis.SentinelChannel):
    """The same, of the primary that sentinels name."""

    connection_class = sentinels.PrimaryConnection
    connection_class_ssl = sentinels.PrimarySSLConnection  # type: ignore[assignment]


def _deliver(transport: Any, message: Any, queue: str) -> Any:
    """Hand a message on, written anew; in the place of a transport's own method."""
    if queue.endswith(_ANSWERS):  # this process has asked workers something
        return virtual.Transport._deliver(transport, message, queue)  # type: ignore[no-untyped-call]  # noqa: SLF001
    if queue.endswith(_PIDBOX):
        clean = envelope.control_message(message, Panel.data)
    else:
        clean = envelope.task_message(message, queue)
    try:
        virtual.Transport._deliver(transport, clean, queue)  # type: ignore[no-untyped-call]  # noqa: SLF001
    except (*transport.connection_errors, *transport.channel_errors):
        raise
    except Exception:
        logger.exception("a message of %s broke its reception, and is dropped", queue)
        _drop(transport.channels, clean["properties"]["delivery_tag"])
    return None


def _drop(channels: Iterable[Any], tag: str) -> None:
    for channel in channels:
        if tag in channel.qos._delivered:  # noqa: SLF001  # no public way
            channel.basic_reject(tag)


def install() -> None:
    """Let every connection of this process use these classes, and take no command that harms."""
    redis.loads = envelope.load  # type: ignore[attr-defined, assignment]
    redis.Transport._deliver = _deliver  # type: ignore[method-assign]  # noqa: SLF001  # no public way
    redis.Transport.Channel = Channel
    redis.SentinelTransport.Channel = SentinelChannel
    for name in set(Panel.data) - COMMANDS:
        Panel.data[name] = _refuse


def _refuse(_state: Any, **_: Any) -> Any:
    logger.warning("a remote control command that would change this worker is refused")
    return nok("camfleet's workers answer only commands that look: stop them with a signal")


@contextmanager
def _dropping(what: str) -> Iterator[None]:
    try:
        yield
    except ForgedMessage as error:
        logger.error("%s is dropped, as no program of camfleet's sends it: %s", what, error)  # noqa: TRY400


@contextmanager
def _repairing(channel: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  # raised again unless it's repaired
        _repair(channel, error)


def _repair(channel: Any, error: Exception) -> None:
    """Delete the keys that aren't what their names say, if that's what Redis complains about."""
    if not is_wrong_type(error):
        raise error
    with channel.conn_or_acquire() as client:
        prefix, plain = channel.global_keyprefix, _plain(client)
        delete_wrong_types(lambda verb, key: plain.execute_command(verb, prefix + key))


def _plain(client: Any) -> Any:
    """Return a client that leaves keys as they are: kombu's adds a prefix, but not to all."""
    return Redis(connection_pool=client.connection_pool)
