"""The seam that a split model is run through: an engine has two verbs, arrays in, arrays out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from camfleet_worker.arrays import Array

Rows: TypeAlias = Array | Sequence[Array]  # one array, or its rows, which lie anywhere
Classes: TypeAlias = NDArray[np.int32]
Extras: TypeAlias = tuple[Array, ...]  # one array a further input, a row an image
Forward: TypeAlias = Callable[[], tuple[Array, Array]]
Gradients: TypeAlias = Callable[[Array, Classes, Extras], Array]  # as `Engine.gradients`


class Engine(Protocol):
    """Runs one split for any number of images. Safe to share by threads.

    `nbytes` is what its copies of the weights take; `pads`: a few images cost as much as a whole
    batch, unless there's only one. A result doesn't depend on the other images
    of its call, but for float rounding where an image is alone.
    """

    name: str
    nbytes: int
    pads: bool

    def start(self, images: Rows, extras: Extras) -> Forward:
        """Begin a forward pass, and return when the next may begin, so that no core rests.

        What's returned waits for the end and is to be called once, as `forward`. This may wait for
        the end of an earlier pass, so a thread ends the one it has begun before it begins another.
        """

    def forward(self, images: Rows, extras: Extras) -> tuple[Array, Array]:
        """Return feature maps (N, h, w, K) and logits (N, classes) of (N, H, W, C) images."""
        return self.start(images, extras)()

    def gradients(self, activations: Array, classes: Classes, extras: Extras) -> Array:
        """Return the gradient of each row's own class's logit, (N, h, w, K), maybe read-only."""


class Chosen(NamedTuple):
    """An engine and how far its answers are from Keras', as a part of the greatest value."""

    engine: Engine
    disagreement: float


def part(found: Array, expected: Array) -> float:
    """Return the largest difference between arrays as a part of the greatest expected value."""
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(found - expected).max()) / scale


class EngineRefused(Exception):
    """An engine can't run a model, or should not; the next one may. Never leaves `engines`."""
