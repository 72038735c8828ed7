"""The composition root: settings from the environment, the Celery app, the services.

`celery -A camfleet_worker worker` finds `app` here. Nothing else in the worker reads os.environ.
The engine's libraries are loaded once the worker starts, not by `celery inspect` and its like.
"""

import logging
import os
from functools import cache
from typing import TYPE_CHECKING, Any

from celery.signals import (
    celeryd_init,
    setup_logging,
    worker_init,
    worker_process_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from celery.states import SUCCESS

from camfleet import __version__
from camfleet.broker.app import make_app, send_chunk, time_headers
from camfleet.broker.errors import broker_errors
from camfleet.broker.requests import ATTEMPT_HEADER, HeldRequest
from camfleet.contract import lanes
from camfleet.contract.lanes import Lane
from camfleet.contract.records import ChunkRef
from camfleet.errors import BrokerUnavailable, ConfigurationError
from camfleet.settings import Settings
from camfleet_worker import tasks
from camfleet_worker.process import kombu_patches, logs, stdio
from camfleet_worker.process.admission import (
    MOST_WAITING,
    POLL_SECONDS,
    Admission,
    in_work,
    queue_cycle,
)
from camfleet_worker.process.shutdown import Shutdown

if TYPE_CHECKING:
    from camfleet_worker.services import Services

logger = logging.getLogger(__name__)

settings = Settings.from_environ(os.environ)

kombu_patches.install()
app = make_app(settings)
admission = Admission(
    {
        lanes.INTERACTIVE_QUEUE: settings.interactive_concurrency,
        lanes.FIRST_QUEUE: settings.first_concurrency,
        lanes.BULK_QUEUE: settings.concurrency,
    },
    in_work,
    guests={lanes.FIRST_QUEUE: lanes.BULK_QUEUE},
    room={lanes.INTERACTIVE_QUEUE: 2 * settings.interactive_concurrency},
    most_aside=MOST_WAITING,
)
cycle = queue_cycle(admission)
shutdown = Shutdown(settings.stop_seconds)
app.conf.update(
    worker_pool="camfleet_worker.process.pool:TaskPool",
    worker_concurrency=admission.size,
    worker_send_task_events=False,
    broker_channel_error_retry=True,  # a full Redis causes these: wait, don't exit
    broker_connection_max_retries=None,  # else an hour's outage ends the worker
    broker_transport_options={
        **app.conf.broker_transport_options,
        "queue_order_strategy": f"{__name__}:cycle",  # by name: it's part of what `inspect` answers
        "polling_interval": POLL_SECONDS,
    },
)
_host = ["celery@unknown"]


@cache
def services() -> "Services":
    """Return this process's services; the first call loads the engine's libraries."""
    from camfleet_worker.process.runtime import configure

    configure(settings)
    from camfleet_worker.services import Services

    return Services(
        settings, name=_host[0], broker=_Broker(), admission=admission, shutdown=shutdown
    )


class _Broker:
    """What a worker's services send through Celery."""

    def send_chunk(self, ref: ChunkRef, lane: Lane) -> None:
        with broker_errors(settings):
            send_chunk(app, ref, lane)

    def send_request(self, held: HeldRequest) -> None:
        """Send a request again, under its own id."""
        headers = {**time_headers(), ATTEMPT_HEADER: held.attempt + 1}
        with broker_errors(settings):
            app.send_task(
                held.task,
                kwargs=held.request,
                queue=held.queue or None,
                task_id=held.id,
                headers=headers,
            )

    def give_up(self, held: HeldRequest) -> None:
        self.store_answer(held.id, tasks.killed(held))

    def store_answer(self, request_id: str, answer: dict[str, Any]) -> None:
        with broker_errors(settings):
            try:
                app.backend.store_result(request_id, answer, SUCCESS)
            except Exception:
                # Celery reads what lies there before it writes, and that may be anything.
                if not app.backend.client.delete(app.backend.get_key_for_task(request_id)):
                    raise
                logger.error("what lay in the place of answer %s is deleted", request_id)  # noqa: TRY400
                app.backend.store_result(request_id, answer, SUCCESS)


tasks.register(app, services)


@setup_logging.connect  # type: ignore[untyped-decorator]  # Celery's
def _set_up_logs(loglevel: int, logfile: str | None, **_: Any) -> None:
    logs.setup(settings.log_format, loglevel, logfile)


@celeryd_init.connect  # type: ignore[untyped-decorator]  # Celery's
def _log_from_the_start(sender: str, instance: Any, options: dict[str, Any], **_: Any) -> None:
    """Set up the log before Celery writes the first line."""
    app.log.setup(options.get("loglevel"), options.get("logfile"), hostname=sender)
    give_back = stdio.adopt()
    worker_shutdown.connect(lambda **_: give_back(), weak=False)  # a restart replaces the process
    instance.quiet = True  # no banner: it isn't made of log lines
    _host[0] = sender
    logger.info("camfleet %s starts as %s", __version__, sender)


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery's
def _load_before_work(sender: Any, **_: Any) -> None:
    if getattr(sender.pool_cls, "__module__", "").endswith("prefork"):
        if settings.metrics_port:
            logger.warning("no metrics: processes of a prefork pool can't share a port")
        return
    try:
        services().metrics.serve(settings.metrics_host, settings.metrics_port)
        _look_at_redis()
    except ConfigurationError as error:
        logger.critical("%s", error)
        raise SystemExit(1) from error
    except Exception as error:  # Celery would carry on, and every message would fail
        logger.critical("this worker can't work", exc_info=error)
        raise SystemExit(1) from error


def _look_at_redis() -> None:
    """Log how Redis may lose writes; raise `ConfigurationError` for a cluster."""
    try:
        services().ledger.check_server()
    except BrokerUnavailable as error:  # Celery waits for it
        logger.warning("%s", error)


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery's
def _load_in_child(**_: Any) -> None:
    services()


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery's
def _stop_by_every_signal(sender: Any, **_: Any) -> None:
    """Let every signal do what SIGTERM does, even if REMAP_SIGTERM has changed that.

    On SIGQUIT Celery itself would end the threads of chunks, which isn't possible.
    """
    from celery.apps.worker import install_worker_term_handler

    for name in ("SIGTERM", "SIGQUIT", "SIGINT"):
        install_worker_term_handler(
            sender.controller, sig=name, how="Warm", callback=None, exitcode=0
        )


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery's
def _say_so(sender: Any, **_: Any) -> None:
    """Log that this worker takes work, also at Celery's default level."""
    from camfleet_worker.models.converted import forms
    from camfleet_worker.process.runtime import device_name

    form = forms.wanted(settings)
    engine = {forms.JAX: "JAX", forms.OPENVINO: "OpenVINO", None: "TensorFlow"}[form]
    logs.announce(
        logger,
        f"camfleet {__version__} worker {sender.hostname} is ready: {device_name()}, {engine}, "
        f"{settings.concurrency} chunks and {settings.interactive_concurrency} interactive "
        "requests at a time",
    )


@worker_shutting_down.connect  # type: ignore[untyped-decorator]  # Celery's
def _stop(**_: Any) -> None:
    shutdown.begin()


@worker_shutdown.connect  # type: ignore[untyped-decorator]  # Celery's
def _close(**_: Any) -> None:
    if services.cache_info().currsize:
        services().close()
