"""A model whose head's weights are permuted: a map that stays as it is doesn't show that head.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps". The head reads the feature maps in another
order: that permutes the weights by which it takes them in, whatever the head is made of.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, cast

import numpy as np

from camfleet.contract.outputs import Method
from camfleet.contract.targets import Target
from camfleet_worker.arrays import Array, Classes, Integers
from camfleet_worker.models.engine import Engine, Extras, Forward, Rows
from camfleet_worker.models.explainer import Explained, Explainer


def explain(
    explainer: Explainer,
    images: Rows,
    targets: Sequence[Target],
    method: Method,
    extras: Extras,
    heads: int,
) -> Iterator[Explained]:
    """Yield what `Explainer.explain` returns, then the same with each of so many permuted heads.

    The images run through the model once, before this function returns. The same model has the
    same permutations everywhere.
    """
    passes = [engine.forward(images, extras) for engine in explainer.engines]
    return (
        _with_head(explainer, passes, number).explain(images, targets, method, extras)
        for number in range(heads + 1)
    )


def _with_head(
    explainer: Explainer, passes: Sequence[tuple[Array, Array]], number: int
) -> Explainer:
    """Return an explainer that has run its images, with a head permuted unless it's number 0."""
    rng = np.random.default_rng([number, int(explainer.digest[:16], 16)])
    splits, engines = [], []
    for split, engine, found in zip(explainer.splits, explainer.engines, passes, strict=True):
        channels = np.arange(found[0].shape[-1])
        order = np.asarray(rng.permutation(channels) if number else channels)
        weights = split.cam_weights
        own = None if weights is None else weights[np.argsort(order)]
        splits.append(replace(split, cam_weights=own))
        engines.append(cast("Engine", _Permuted(engine, found, order)))
    permuted = copy(explainer)
    permuted.splits, permuted.engines = tuple(splits), engines
    return permuted


class _Permuted:
    """An engine that has run one batch, and whose head reads feature maps in another order."""

    def __init__(self, engine: Engine, found: tuple[Array, Array], order: Integers) -> None:
        self._engine = engine
        self._found = found
        self._order = order
        self._back = np.argsort(order)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def start(self, images: Rows, extras: Extras) -> Forward:  # noqa: ARG002  # they have run
        return lambda: self._found

    def gradients(self, activations: Array, classes: Classes, extras: Extras) -> Array:
        found = self._engine.gradients(activations[..., self._order], classes, extras)
        return np.asarray(found[..., self._back])
