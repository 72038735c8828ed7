"""TensorFlow as an engine, and the gradients of a head, which every engine takes from here."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from camfleet_worker.models import functions
from camfleet_worker.models.batches import Batches
from camfleet_worker.models.engine import Array, Classes, Extras
from camfleet_worker.models.split import Split

Gradients: TypeAlias = Callable[[Array, Classes, Extras], Array]


class TensorFlow:
    """A split as TensorFlow graphs; `frozen`: the forward pass with its weights as constants.

    Raises `EngineRefused` for what can't be frozen.
    """

    pads = True

    def __init__(self, split: Split, batch_size: int, *, frozen: bool = False) -> None:
        graph = functions.forward(split.conv, split.head, split.extras, None)
        self.name = "tensorflow, frozen" if frozen else "tensorflow"
        self.nbytes = functions.nbytes([split.conv, split.head])
        run = functions.runner(
            functions.frozen(graph, self.nbytes) if frozen else graph, split.conv, split.head
        )
        self._forward = Batches(run, batch_size)
        self._gradients = head_gradients(split, batch_size)

    def forward(self, images: Array, extras: Extras) -> tuple[Array, Array]:
        activations, logits = self._forward(images, *extras)
        return activations, logits

    def gradients(self, activations: Array, classes: Classes, extras: Extras) -> Array:
        return self._gradients(activations, classes, extras)


def head_gradients(split: Split, batch_size: int) -> Gradients:
    """Return the gradients of a head: in closed form where CAM holds, else by differentiation."""
    if split.cam_weights is not None:
        return _closed(split.cam_weights)
    run = functions.runner(functions.gradients(split.head, split.extras), split.head)
    batches = Batches(run, batch_size)

    def gradients(activations: Array, classes: Classes, extras: Extras) -> Array:
        (made,) = batches(activations, classes, *extras)
        return made

    return gradients


def _closed(weights: Array) -> Gradients:
    """Return the gradients behind an average over the grid: the class's weights by its size."""

    def gradients(activations: Array, classes: Classes, _extras: Extras) -> Array:
        _, height, width, _ = activations.shape
        rows = weights[:, classes].T / np.float32(height * width)
        return np.broadcast_to(rows[:, None, None, :], activations.shape)

    return gradients
