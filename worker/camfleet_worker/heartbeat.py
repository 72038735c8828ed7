"""A worker tells Redis now and then that it lives, and what it does."""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from camfleet.broker.heartbeats import BEAT_SECONDS, Presence, WorkerState
from camfleet.errors import ServiceError
from camfleet_worker.chunks.keeper import Keeper
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.prometheus import Metrics

logger = logging.getLogger(__name__)

_WINDOW = 5  # beats over which the speed is measured


class Beat:
    """A thread that tells the worker's state every few seconds.

    `interactive` returns how many interactive requests are in work, `trouble` why the worker
    takes no work, if so.
    """

    def __init__(
        self,
        presence: Presence,
        *,
        name: str,
        device: str,
        cache: ModelCache[Any, Any],
        keeper: Keeper,
        metrics: Metrics,
        interactive: Callable[[], int],
        trouble: Callable[[], str | None],
    ) -> None:
        self._presence = presence
        self._key = f"{name}:{os.getpid()}"
        self._device = device
        self._cache = cache
        self._keeper = keeper
        self._metrics = metrics
        self._interactive = interactive
        self._trouble = trouble
        self._started = time.time()
        self._seen: list[tuple[float, int]] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camfleet-beat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._presence.tell(self._state())
            except ServiceError as error:
                logger.warning("nobody can be told that this worker lives: %s", error)
            except Exception:
                logger.exception("the worker's state can't be told")
            if self._closed.wait(BEAT_SECONDS):
                break
        try:
            self._presence.leave(self._key)
        except ServiceError as error:
            logger.info("the worker leaves without a word: %s", error)

    def _state(self) -> WorkerState:
        images = self._metrics.explained
        return WorkerState(
            name=self._key,
            pid=os.getpid(),
            started_at=self._started,
            device=self._device,
            models=tuple(dict.fromkeys(each.name for each in self._cache.values())),
            chunks=self._keeper.chunks(),
            interactive=self._interactive(),
            images=images,
            images_per_second=self._speed(images),
            trouble=self._trouble(),
        )

    def _speed(self, images: int) -> float:
        now = time.monotonic()
        self._seen = [*self._seen[-_WINDOW:], (now, images)]
        since, before = self._seen[0]
        return (images - before) / (now - since) if now > since else 0.0
