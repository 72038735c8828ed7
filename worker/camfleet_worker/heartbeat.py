"""A worker tells Redis every few seconds that it lives, and what it does."""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from camfleet.broker.heartbeats import HEARTBEAT_SECONDS, Heartbeats, Measured, WorkerState
from camfleet.contract.codec import NEWEST_FORM
from camfleet.contract.outputs import Precision
from camfleet.errors import ServiceError
from camfleet_worker.chunks.lease_renewer import LeaseRenewer
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.prometheus import Metrics

logger = logging.getLogger(__name__)

_WINDOW = 5  # heartbeats over which the speed is measured


class Heartbeat:
    """A thread that publishes the worker's state every few seconds.

    `interactive` returns how many interactive requests are in work, `trouble` why the worker
    takes no work, if so, `waits_for` what keeps it waiting. `owner` is the process as its leases
    name it. `file_roots`, `s3_roots`, `signs_callbacks`, `report_roots` and `slots` are for
    producers, see `WorkerState`, as are `precisions`, and `takes_first` for `Heartbeats.publish`.
    `find_lacks` returns what `WorkerState` has as `lacks`: it takes a moment, so the first
    heartbeat doesn't wait.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        *,
        name: str,
        version: str,
        device: str,
        cache: ModelCache[Any, Any],
        renewer: LeaseRenewer,
        metrics: Metrics,
        interactive: Callable[[], int],
        trouble: Callable[[], str | None],
        waits_for: Callable[[], str | None],
        owner: str,
        file_roots: tuple[str, ...] | None = None,
        s3_roots: tuple[str, ...] | None = None,
        signs_callbacks: bool | None = None,
        report_roots: tuple[str, ...] | None = None,
        slots: int | None = None,
        precisions: tuple[Precision, ...] = (),
        takes_first: bool = False,
        measure: Callable[[], Measured | None] = lambda: None,
        find_lacks: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._heartbeats = heartbeats
        self._name = f"{name}:{os.getpid()}"
        self._version = version
        self._device = device
        self._cache = cache
        self._renewer = renewer
        self._metrics = metrics
        self._interactive = interactive
        self._trouble = trouble
        self._waits_for = waits_for
        self._owner = owner
        self._file_roots = file_roots
        self._s3_roots = s3_roots
        self._signs_callbacks = signs_callbacks
        self._report_roots = report_roots
        self._slots = slots
        self._precisions = precisions
        self._takes_first = takes_first
        self._measure = measure
        self._find_lacks = find_lacks
        self._lacks: tuple[str, ...] | None = None
        self._started = time.time()
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
            self._heartbeats.forget(self._name, self._owner)
        except ServiceError as error:
            logger.info("can't withdraw this worker's heartbeat, which expires soon: %s", error)

    def _state(self) -> WorkerState:
        images = self._metrics.explained
        return WorkerState(
            name=self._name,
            pid=os.getpid(),
            started_at=self._started,
            device=self._device,
            models=tuple(dict.fromkeys(model.name for model in self._cache.values())),
            chunks=self._renewer.chunks(),
            interactive=self._interactive(),
            images=images,
            images_per_second=self._speed(images),
            trouble=self._trouble(),
            version=self._version,
            newest_form=NEWEST_FORM,
            waits_for=self._waits_for(),
            file_roots=self._file_roots,
            s3_roots=self._s3_roots,
            signs_callbacks=self._signs_callbacks,
            report_roots=self._report_roots,
            slots=self._slots,
            precisions=self._precisions,
            measured=self._measure(),
            lacks=self._lacks,
        )

    def _speed(self, images: int) -> float:
        now = time.monotonic()
        self._seen = [*self._seen[-_WINDOW:], (now, images)]
        since, before = self._seen[0]
        return (images - before) / (now - since) if now > since else 0.0
