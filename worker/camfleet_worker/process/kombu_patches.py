"""Patches to kombu and Celery for a worker that must outlive an outage of Redis.

When the connection is lost while messages are in work, kombu acknowledges them on the closed
channel, and the `AttributeError` ends the worker. There's no need to acknowledge them: leases bring
chunks back, and a message that is delivered again finds its chunk done.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.worker import heartbeat
from celery.worker.consumer import Gossip, Mingle
from kombu.transport import redis, virtual

from camfleet_worker.process import forgeries

logger = logging.getLogger(__name__)


class _QoS(forgeries.QoS):
    """Leaves the messages of a lost connection alone."""

    def restore_unacked_once(self, stderr: Any = None) -> None:
        if self._is_lost():
            self._on_collect.cancel()
        else:
            super().restore_unacked_once(stderr)  # type: ignore[no-untyped-call]

    def ack(self, delivery_tag: str) -> None:
        if not self._is_lost():
            with self._freeing(delivery_tag):
                super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self._is_lost():
            with self._freeing(delivery_tag):
                super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]

    @contextmanager
    def _freeing(self, delivery_tag: str) -> Iterator[None]:
        """Forget a message that can't be acknowledged, as on a server that became a replica.

        Otherwise kombu would count it as in work for ever, and ask for no more at some time. Redis
        delivers it again after the visibility timeout.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever redis-py raises
            logger.warning("a message couldn't be acknowledged, and will come again: %s", error)
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]

    def _is_lost(self) -> bool:
        transport = self.channel.connection
        lost = transport is None or transport.client is None
        if lost:
            logger.info("a message of a lost connection is left to its chunk's lease")
        return lost


class _Heart(heartbeat.Heart):  # type: ignore[misc]  # untyped
    """Sends each of Celery's own heartbeats once.

    Celery would retry until Redis answers, in the thread that handles SIGTERM.
    """

    def _send(self, event: str, **_: Any) -> Any:
        return super()._send(event, retry=False)


def install() -> None:
    """Install these patches for every channel in this process.

    They also switch off gossip between workers, which takes a second at each connection and breaks
    noisily when one is lost.
    """
    forgeries.install()
    redis.Channel.QoS = _QoS
    heartbeat.Heart = _Heart
    Gossip.compatible_transports = Mingle.compatible_transports = frozenset()
