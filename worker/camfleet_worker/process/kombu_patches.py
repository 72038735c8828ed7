"""What kombu's Redis transport lacks for a worker that shall outlive its broker.

Where the connection is lost while messages are in work, kombu answers for them on the closed
channel, and the `AttributeError` of that ends the worker. There's nothing to answer for: leases
bring chunks back, and a message that comes back finds its chunk done.
"""

import logging
from typing import Any

from celery.worker import heartbeat
from celery.worker.consumer import Gossip, Mingle
from kombu.transport import redis

logger = logging.getLogger(__name__)


class _QoS(redis.QoS):
    """Keeps still about the messages of a lost connection."""

    def restore_unacked_once(self, stderr: Any = None) -> None:
        if self._is_lost():
            self._on_collect.cancel()
        else:
            super().restore_unacked_once(stderr)  # type: ignore[no-untyped-call]

    def ack(self, delivery_tag: str) -> None:
        if not self._is_lost():
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self._is_lost():
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]

    def _is_lost(self) -> bool:
        transport = self.channel.connection
        lost = transport is None or transport.client is None
        if lost:
            logger.info("a message of a lost connection is left to its chunk's lease")
        return lost


class _Heart(heartbeat.Heart):  # type: ignore[misc]  # untyped
    """Says once that the worker lives.

    Celery's own tries until the broker hears it, in the thread that listens to TERM.
    """

    def _send(self, event: str, **_: Any) -> Any:
        return super()._send(event, retry=False)


def install() -> None:
    """Let all channels of this process be so.

    Workers don't ask each other for news either: it takes a second at each connection, and breaks
    noisily when one is lost.
    """
    redis.Channel.QoS = _QoS
    heartbeat.Heart = _Heart
    Gossip.compatible_transports = Mingle.compatible_transports = frozenset()
