"""Celery's pool of threads, of which none is lost whatever raises.

Where a task's result can't be stored, or a message can't be acknowledged, Celery's own pool lets
the error end the work silently: the request is counted as in work for ever, and its slot with it.
"""

import logging
import threading
from collections import Counter
from typing import Any

from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.worker.state import task_ready

logger = logging.getLogger(__name__)

_ended: Counter[str] = Counter()
_lock = threading.Lock()


class TaskPool(ThreadPool):  # type: ignore[misc]  # untyped
    """Threads that free a request's slot at its end, in any case."""

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **_: Any,
    ) -> Any:
        return ApplyResult(
            self.executor.submit(_apply, target, args, kwargs, callback, accept_callback)
        )


def ended() -> Counter[str]:
    """Return how many messages have ended in this process, by task."""
    with _lock:
        return _ended.copy()


def _apply(target: Any, args: Any, kwargs: Any, callback: Any, accept_callback: Any) -> None:
    """Run a message's task; free its slot where Celery fails to."""
    request = getattr(callback, "__self__", None)
    try:
        apply_target(target, args, kwargs, callback, accept_callback)
    except BaseException as error:
        name, message_id = getattr(request, "name", "a task"), getattr(request, "id", "-")
        logger.error("%s %s ended without a word to the broker: %r", name, message_id, error)  # noqa: TRY400  # Celery's own trace says no more
        if request is not None:
            task_ready(request)
        if not isinstance(error, Exception):
            raise
    finally:
        with _lock:
            _ended[getattr(request, "name", "")] += 1
