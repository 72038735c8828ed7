"""A worker in which all is real but the engine, which only takes its time.

`FEED_LATENCY_MS=16 celery -A benchmarks.feed_worker worker`. The real model is loaded and run
once; from then on each batch gets the maps of that run, after the given milliseconds for each
batch that was begun, one after the other, as a GPU works off what it's given.
"""

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from celery.signals import worker_init

from camfleet_worker.celery import app, services

if TYPE_CHECKING:  # the worker loads NumPy when it has set its threads
    from camfleet_worker.arrays import Array, Classes
    from camfleet_worker.models.build import ModelKey
    from camfleet_worker.models.engine import Extras, Forward
    from camfleet_worker.models.explainer import Explainer

__all__ = ["app"]

LATENCY = float(os.environ.get("FEED_LATENCY_MS", "0")) / 1e3


class Resting:
    """An engine whose device takes the time of a batch and answers what it was made with."""

    name = "resting"
    nbytes = 0
    pads = False

    def __init__(self, made: "Explainer") -> None:
        import numpy as np

        images = np.random.default_rng(0).random((made.batch_size, *made.shape), np.float32)
        self._maps, self._logits = made.engines[0].forward(images, ())
        classes = self._logits.argmax(axis=1).astype(np.int32)
        self._gradients = made.engines[0].gradients(self._maps, classes, ())
        self._last = threading.Semaphore()
        self._idle_from = 0.0  # when the device has done all that it was given

    def start(self, images: "Array", extras: "Extras") -> "Forward":  # noqa: ARG002
        done = self._idle_from = max(time.perf_counter(), self._idle_from) + LATENCY
        self._last.acquire()  # as `TensorFlow` does

        def finish() -> "tuple[Array, Array]":
            time.sleep(max(0.0, done - time.perf_counter()))
            self._last.release()
            return self._maps[: len(images)], self._logits[: len(images)]

        return finish

    def gradients(self, activations: "Array", classes: "Classes", extras: "Extras") -> "Array":  # noqa: ARG002
        return self._gradients[: len(activations)]


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery's
def _replace_engines(**_: Any) -> None:
    cache = services().cache
    build = cache._build  # noqa: SLF001  # the product has no hook for this

    def rested(key: "ModelKey") -> "Explainer":
        made = build(key)
        made.engines = [Resting(made)]
        return made

    cache._build = rested  # noqa: SLF001
