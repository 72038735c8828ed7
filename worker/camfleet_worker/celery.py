"""The composition root: settings from the environment, the Celery app, the services.

`celery -A camfleet_worker worker` finds `app` here. Nothing else in the worker reads os.environ.
TensorFlow is loaded once the worker starts, not by `celery inspect` and its like.
"""

import os
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from celery.signals import worker_init, worker_process_init

from camfleet.messaging import make_app, send_chunk
from camfleet.settings import Settings
from camfleet_worker import tasks

if TYPE_CHECKING:
    from camfleet_worker.services import Services

settings = Settings.from_environ(os.environ)

app = make_app(settings)
app.conf.update(
    worker_pool="threads",
    worker_concurrency=settings.concurrency,
    worker_soft_shutdown_timeout=30,
    worker_send_task_events=False,
)


@cache
def services() -> "Services":
    """Return this process's services; the first call loads TensorFlow."""
    from camfleet_worker.device import configure

    configure(settings)
    from camfleet_worker.services import Services

    return Services(settings, partial(send_chunk, app))


tasks.register(app, services)


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery's
def _load_before_work(sender: Any, **_: Any) -> None:
    if not getattr(sender.pool_cls, "__module__", "").endswith("prefork"):
        services()


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery's
def _load_in_child(**_: Any) -> None:
    services()
