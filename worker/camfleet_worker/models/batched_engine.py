"""What engines share that run in batches: a GPU has its next one queued while one computes."""

import threading

from camfleet_worker.arrays import Array, Classes
from camfleet_worker.models.batches import Batches
from camfleet_worker.models.engine import Engine, Extras, Forward, Gradients, Rows


class BatchedEngine(Engine):
    """An engine whose forward passes are `Batches`; `gradients` is as `Engine.gradients`."""

    pads = True

    def __init__(self, forward: Batches, gradients: Gradients) -> None:
        self._forward = forward
        self._gradients = gradients
        self._newest = threading.Semaphore()  # held by the newest batch until it has finished

    def start(self, images: Rows, extras: Extras) -> Forward:
        read = self._forward.start(images, *extras)
        self._newest.acquire()  # by now a GPU has this batch queued behind the one before

        def finish() -> tuple[Array, Array]:
            try:
                activations, logits = read()
            finally:
                self._newest.release()
            return activations, logits

        return finish

    def gradients(self, activations: Array, classes: Classes, extras: Extras) -> Array:
        return self._gradients(activations, classes, extras)
