"""The interface that a split model runs through: two verbs, arrays in and arrays out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from camfleet_worker.arrays import Array, Classes
from camfleet_worker.models.memory import Room

Rows: TypeAlias = Array | Sequence[Array]  # one array, or its rows wherever they lie in memory
Extras: TypeAlias = tuple[Array, ...]  # an array per further input, a row per image
Forward: TypeAlias = Callable[[], tuple[Array, Array]]
Gradients: TypeAlias = Callable[[Array, Classes, Extras], Array]  # as `Engine.gradients`


class Engine(Protocol):
    """Runs one split for any number of images. Safe to share between threads.

    `nbytes` is the size of its copies of the weights, `room` what it may compute at once and the
    memory for that; callers give it batches of at most so many images. `pads` is true where a few
    images cost as much as a whole batch, and only a single image is cheaper. An image's result
    doesn't depend on the other images in the call, except for float rounding when it is alone.
    """

    name: str
    nbytes: int
    room: Room
    pads: bool

    def start(self, images: Rows, extras: Extras) -> Forward:
        """Start a forward pass, and return once the next one may start, so that no core idles.

        Call the returned function exactly once: it waits for the pass and returns what `forward`
        does. `start` may wait for an earlier pass to finish, so a thread must finish the pass it
        has started before it starts another.
        """

    def forward(self, images: Rows, extras: Extras) -> tuple[Array, Array]:
        """Return feature maps (N, h, w, K) and logits (N, classes) of (N, H, W, C) images."""
        return self.start(images, extras)()

    def gradients(self, activations: Array, classes: Classes, extras: Extras) -> Array:
        """Return the gradient of each row's own class's logit, (N, h, w, K), maybe read-only."""


class SelectedEngine(NamedTuple):
    """An engine, and the largest relative error of its answers against Keras'."""

    engine: Engine
    disagreement: float


def relative_error(found: Array, expected: Array) -> float:
    """Return the largest absolute difference, divided by the largest expected magnitude."""
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(found - expected).max()) / scale


class EngineRefused(Exception):
    """An engine can't or shouldn't run a model, but the next one may. Never leaves `models`."""
