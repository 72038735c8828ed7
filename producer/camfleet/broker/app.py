"""The Celery application as producers and workers must agree on it."""

import time
from typing import Any

from celery import Celery
from kombu import Queue  # type: ignore[attr-defined]  # kombu loads it lazily
from kombu.pools import ProducerPool

from camfleet import addresses
from camfleet.broker import keys, sentinels
from camfleet.broker.redis import CONNECT_SECONDS, HEALTH_CHECK_SECONDS, SILENT_SECONDS
from camfleet.contract import lanes, messages
from camfleet.contract.codec import encode
from camfleet.contract.lanes import Lane
from camfleet.contract.records import ChunkRef
from camfleet.settings import Settings


def make_app(settings: Settings, *, keep_results: bool = True) -> Celery:
    """Return a Celery application whose settings are right for both sides.

    A worker's keeps results; a producer's leaves those to `interactive.inbox`, and leaves
    Celery's current application to the program it's part of.

    Late acknowledgement, no prefetching: a message stays in Redis until its work is committed.
    The visibility timeout must be the same on both sides or messages run twice.
    """
    url = addresses.for_celery(settings.redis_url)
    app = Celery(
        "camfleet",
        broker=url,
        backend=url if keep_results else "disabled://",
        set_as_current=keep_results,
    )
    keepalive = not settings.redis_url.startswith("unix:")  # Celery would pass it on to those too
    tls = addresses.tls_options(settings.redis_url, settings.ca_file)
    shared = {**sentinels.options(settings), **_prefix(settings)}
    sockets = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": SILENT_SECONDS,
        "socket_keepalive": keepalive,
        "health_check_interval": HEALTH_CHECK_SECONDS,
    }
    app.conf.update(
        broker_read_url=url,  # unlike `broker`, these come before CELERY_BROKER_URL
        broker_write_url=url,
        broker_use_ssl=tls or False,
        redis_backend_use_ssl=tls or None,
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_queues=[_queue(name) for name in keys.QUEUES],
        task_default_queue=lanes.INTERACTIVE_QUEUE,
        task_routes={messages.CHUNK_TASK: {"queue": lanes.BULK_QUEUE}},
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout,
            "queue_order_strategy": "priority",
            **sockets,
            **shared,
        },
        result_backend_transport_options={"retry_policy": {"max_retries": 3}, **shared},
        redis_socket_connect_timeout=CONNECT_SECONDS,
        redis_socket_timeout=SILENT_SECONDS,
        redis_socket_keepalive=keepalive,
        redis_backend_health_check_interval=HEALTH_CHECK_SECONDS,
        result_expires=settings.answer_expires,
        task_publish_retry_policy={"max_retries": 3, "interval_start": 0.1, "interval_max": 1},
    )
    _give_own_pools(app)
    return app


def _prefix(settings: Settings) -> dict[str, Any]:
    return {"global_keyprefix": settings.key_prefix} if settings.key_prefix else {}


def close_app(app: Celery) -> None:
    """Close an app's connections; Celery's own close leaves them to the collector."""
    app.amqp.producer_pool.force_close_all()
    app.pool.force_close_all()
    if app.backend.supports_autoexpire:  # Redis
        consumer = app.backend.result_consumer
        consumer.stop()
        consumer._pubsub = None  # noqa: SLF001  # else results that die later would connect
        app.backend.client.close()
    app.close()


def _give_own_pools(app: Celery) -> None:
    """Give an app connection pools of its own.

    Celery shares them by URL among all apps of a process: closing one app would close the others.
    """
    limit = app.conf.broker_pool_limit
    app._pool = app.connection_for_write().Pool(limit=limit)  # noqa: SLF001  # no public way
    pool = ProducerPool(app._pool, limit=limit)  # type: ignore[no-untyped-call]  # noqa: SLF001
    app.amqp._producer_pool = pool  # noqa: SLF001


def _queue(name: str) -> Any:
    return Queue(name)  # type: ignore[no-untyped-call]  # kombu is untyped


def time_headers(now: float | None = None) -> dict[str, float]:
    """Return the headers of a message that is sent now; `backlog` reads its age from them.

    `now` is what Redis' clock says; without it this machine's has to do.
    """
    return {messages.SENT_HEADER: time.time() if now is None else now}


def send_chunk(app: Celery, ref: ChunkRef, lane: Lane) -> None:
    """Put a chunk back into the bulk queue of its job's lane."""
    app.send_task(
        messages.CHUNK_TASK,
        kwargs={"ref": encode(ref)},
        queue=lane.queue(lanes.BULK_QUEUE),
        task_id=f"{ref.job_id}-{ref.model}-{ref.part:05d}",
        headers=time_headers(),
        argsrepr="",  # for people, who see the id: making them took a quarter of the time
        kwargsrepr="",
        ignore_result=True,
    )
