"""A worker tells Redis every few seconds that it lives, and what it does."""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from camfleet import __version__
from camfleet.broker.heartbeats import HEARTBEAT_SECONDS, Heartbeats, Measured, WorkerState
from camfleet.contract.codec import NEWEST_FORM
from camfleet.contract.outputs import Precision
from camfleet.errors import ServiceError
from camfleet.jobstore.s3_roots import cloud_roots
from camfleet.settings import Settings
from camfleet_worker.chunks.lease_renewer import LeaseRenewer
from camfleet_worker.follow_ups import report
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.process import confined
from camfleet_worker.process.python import missing_fixes
from camfleet_worker.process.runtime import device_name
from camfleet_worker.prometheus import Metrics

logger = logging.getLogger(__name__)

_WINDOW = 5  # heartbeats over which the speed is measured


def idle_state(settings: Settings, name: str, precisions: tuple[Precision, ...]) -> WorkerState:
    """Return the state of this process before it has done anything."""
    return WorkerState(
        name=f"{name}:{os.getpid()}",
        pid=os.getpid(),
        started_at=time.time(),
        device=device_name(),
        models=(),
        chunks=(),
        interactive=0,
        images=0,
        images_per_second=0.0,
        trouble=None,
        version=__version__,
        newest_form=NEWEST_FORM,
        file_roots=tuple(map(os.path.realpath, settings.file_roots)),
        s3_roots=settings.s3_roots,
        signs_callbacks=bool(settings.webhook_secret),
        report_roots=settings.report_roots if report.can_write() else None,
        slots=settings.concurrency,
        precisions=precisions,
        cloud_roots=cloud_roots(settings),
    )


def find_lacks() -> tuple[str, ...]:
    """Return what `WorkerState` has as `lacks`."""
    return (*missing_fixes(), *confined.missing())


class Heartbeat:
    """A thread that publishes the worker's state every few seconds.

    `idle` is the state before anything was done; what changes in it is asked of the others:
    `interactive` returns how many interactive requests are in work, `trouble` why the worker
    takes no work, if so, `waits_for` what keeps it waiting. `owner` is the process as its leases
    name it, `takes_first` is for `Heartbeats.publish`. `find_lacks` takes a moment, so the first
    heartbeat doesn't wait for it.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        idle: WorkerState,
        *,
        cache: ModelCache[Any, Any],
        renewer: LeaseRenewer,
        metrics: Metrics,
        interactive: Callable[[], int],
        trouble: Callable[[], str | None],
        waits_for: Callable[[], str | None],
        owner: str,
        takes_first: bool = False,
        measure: Callable[[], Measured | None] = lambda: None,
        find_lacks: Callable[[], tuple[str, ...]] = find_lacks,
    ) -> None:
        self._heartbeats = heartbeats
        self._idle = idle
        self._cache = cache
        self._renewer = renewer
        self._metrics = metrics
        self._interactive = interactive
        self._trouble = trouble
        self._waits_for = waits_for
        self._owner = owner
        self._takes_first = takes_first
        self._measure = measure
        self._find_lacks = find_lacks
        self._lacks: tuple[str, ...] | None = None
        self._seen: list[tuple[float, int]] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camfleet-heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._heartbeats.publish(self._state(), self._owner, takes_first=self._takes_first)
            except ServiceError as error:
                logger.warning("can't publish this worker's heartbeat: %s", error)
            except Exception:
                logger.exception("can't publish this worker's heartbeat")
            if self._lacks is None:
                self._lacks = self._find_lacks()
                for lack in self._lacks:
                    logger.warning("%s", lack)
            if self._closed.wait(HEARTBEAT_SECONDS):
                break
        try:
            self._heartbeats.forget(self._idle.name, self._owner)
        except ServiceError as error:
            logger.info("can't withdraw this worker's heartbeat, which expires soon: %s", error)

    def _state(self) -> WorkerState:
        images = self._metrics.explained
        return replace(
            self._idle,
            models=tuple(dict.fromkeys(model.name for model in self._cache.values())),
            chunks=self._renewer.chunks(),
            interactive=self._interactive(),
            images=images,
            images_per_second=self._speed(images),
            trouble=self._trouble(),
            waits_for=self._waits_for(),
            measured=self._measure(),
            lacks=self._lacks,
        )

    def _speed(self, images: int) -> float:
        now = time.monotonic()
        self._seen = [*self._seen[-_WINDOW:], (now, images)]
        since, before = self._seen[0]
        return (images - before) / (now - since) if now > since else 0.0
