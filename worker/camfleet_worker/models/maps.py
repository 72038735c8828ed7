"""From a forward pass to class activation maps: which classes a target means, and their maps."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from camfleet.contract.outputs import Method
from camfleet.contract.targets import MAX_TARGETS, Target
from camfleet.errors import InvalidRequest
from camfleet.registry.cards import Card
from camfleet_worker.arrays import Array, Classes
from camfleet_worker.models import cam
from camfleet_worker.models.engine import Engine, Extras


class MapSpec(NamedTuple):
    """A map to make: of an image's row, for a class, for (1) or against (-1) it."""

    row: int
    class_index: int
    sign: int


class MapMaker(NamedTuple):
    """Makes the maps of one layer for one batch: how, and from what besides the feature maps.

    `cam_weights`, (K, classes), are those of method "cam"; the other methods take gradients.
    """

    engine: Engine
    method: Method
    cam_weights: Array | None
    extras: Extras
    batch_size: int

    def make(self, activations: Array, specs: Sequence[MapSpec]) -> list[Array]:
        """Return a raw map for each spec."""
        maps: list[Array] = []
        for start in range(0, len(specs), self.batch_size):  # bounds the memory of many targets
            rows, classes, signs = np.array(specs[start : start + self.batch_size], np.int32).T
            maps.extend(self._make_batch(activations, rows, classes, signs.astype(np.float32)))
        return maps

    def _make_batch(
        self, activations: Array, rows: Classes, classes: Classes, signs: Array
    ) -> Array:
        own = activations[rows]
        if self.cam_weights is not None:
            return cam.cam(own, self.cam_weights[:, classes].T * signs[:, None])
        extras = tuple(extra[rows] for extra in self.extras)
        gradients = self.engine.gradients(own, classes, extras)
        if signs.min() < 0:
            gradients = gradients * signs[:, None, None, None]
        return cam.GRADIENT_METHODS[self.method](own, gradients)


def choose_classes(
    card: Card, target: Target, logits: Array, chances: Array | None, *, comparable: bool = True
) -> Sequence[int]:
    """Return the classes that a target means for one image, given its scores, (classes,) each.

    Classes are ranked by logits, or by probabilities where logits aren't `comparable`, as those of
    several softmaxes. Raises `UnknownTarget`, and `InvalidRequest` where the target needs
    probabilities and there are none.
    """
    if target.kind == "label":
        return [card.class_index(target.label)]
    if target.kind == "index":
        card.check_index(target.index, len(logits))
        return [target.index]
    if target.kind == "top" and target.count == 1 and comparable:
        return [int(logits.argmax())]
    ranked = rank_classes(logits, None if comparable else chances)
    if target.kind == "top":
        return [int(index) for index in ranked[: target.count]]
    if chances is None:
        raise InvalidRequest(
            f"target above:P needs probabilities; model {card.id} has none (regression): if its "
            'outputs are some, say so in its card (activation = "given")'
        )
    reached = [int(index) for index in ranked if chances[index] >= target.threshold]
    return reached[:MAX_TARGETS]


def rank_classes(logits: Array, chances: Array | None) -> Any:
    """Return class indices, the highest first: by `chances` if given, then by logits."""
    if chances is None:
        return np.argsort(-logits, kind="stable")
    return np.lexsort((-logits, -chances))
