"""TensorFlow as an engine."""

import threading

from camfleet_worker.arrays import Array, Classes
from camfleet_worker.models.engine import Engine, Extras, Forward, Gradients, Rows
from camfleet_worker.models.split import Split
from camfleet_worker.models.tf import functions
from camfleet_worker.models.tf.batches import Batches


class TensorFlow(Engine):
    """A split as TensorFlow graphs; with `frozen`, the forward pass has constants for weights.

    Raises `EngineRefused` for a model that can't be frozen.
    """

    pads = True

    def __init__(
        self, split: Split, batch_size: int, gradients: Gradients, *, frozen: bool = False
    ) -> None:
        graph = functions.forward(split.conv, split.head, split.extras, None)
        self.name = "tensorflow, frozen" if frozen else "tensorflow"
        self.nbytes = functions.nbytes([split.conv, split.head])
        run = functions.runner(
            functions.freeze(graph, self.nbytes) if frozen else graph, split.conv, split.head
        )
        self._forward = Batches(run, batch_size)
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
