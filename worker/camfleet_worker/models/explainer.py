"""A built model, ready to explain: targets to classes, classes to maps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from camfleet.contract.outputs import Fuse, Method
from camfleet.contract.targets import MAX_TARGETS, Target
from camfleet.errors import CamfleetError, InvalidRequest, NonFiniteOutput
from camfleet.registry.cards import Card
from camfleet_worker.arrays import Array
from camfleet_worker.models import cam
from camfleet_worker.models.engine import Chosen, Engine, Extras, Rows
from camfleet_worker.models.split import Split, probabilities
from camfleet_worker.pictures import heat


@dataclass(frozen=True)
class Explanation:
    """One image and one class.

    `raw` is the signed map, (h, w) float32 at the layer's own grid. Where maps of several layers
    were fused it's the fused one, and `layers` holds each layer's path and own map.
    """

    class_index: int
    logit: float
    probability: float | None
    raw: Array
    layers: tuple[tuple[str, Array], ...] = ()


Explained: TypeAlias = list[list[Explanation] | CamfleetError]  # of each image


class _Pair(NamedTuple):
    """A map to make: of an image's row, for a class, for or against it."""

    row: int
    class_index: int
    sign: int


class Explainer:
    """One model cut at one layer or several, compiled once. Safe to share by threads."""

    def __init__(
        self,
        card: Card,
        digest: str,
        splits: Sequence[Split],
        fuse: Fuse,
        batch_size: int,
        chosen: Sequence[Chosen],
        origin: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.origin = dict(origin)  # the file's format and the Keras version that wrote it
        self.card = card
        self.digest = digest
        self.splits = tuple(splits)
        self.fuse = fuse
        self.batch_size = batch_size
        self.engines = [each.engine for each in chosen]
        self.disagreement = max(each.disagreement for each in chosen)
        self.nbytes = sum(each.nbytes for each in self.engines)

    @property
    def split(self) -> Split:
        """Return the first cut; activation, classes and further inputs are the same in all."""
        return self.splits[0]

    @property
    def name(self) -> str:
        """Return id@version."""
        return f"{self.card.id}@{self.card.version}"

    @property
    def layer(self) -> str:
        """Return the path of the layer, or of several with commas."""
        return ",".join(each.layer.path for each in self.splits)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (H, W, C) of one input."""
        return (self.card.input.height, self.card.input.width, self.card.channels)

    def warm(self) -> None:
        """Run the sizes that batches are padded to, so that no image pays for tracing."""
        for engine in self.engines:
            for size in sorted({1, self.batch_size} if engine.pads else {self.batch_size}):
                images = np.random.default_rng(0).random((size, *self.shape), np.float32)
                extras = tuple(each.trial(size) for each in self.split.extras)
                maps, _ = engine.forward(images, extras)
                engine.gradients(maps, np.zeros(size, np.int32), extras)

    def predict(self, images: Array, extras: Extras = ()) -> tuple[Array, Array | None]:
        """Return logits and probabilities, (N, classes) each, of (N, H, W, C) images."""
        _, logits = self.engines[0].forward(images, extras)
        return logits, probabilities(logits, self.split.activation)

    def explain(
        self,
        images: Rows,
        targets: Sequence[Target],
        method: Method,
        extras: Extras = (),
    ) -> Explained:
        """Explain N prepared images, (H, W, C) each, in one array or several, each for its target.

        `extras` has an array of N rows for each further input. Returns for every image its
        explanations in the order of the target's classes (none where no class reaches the
        target's threshold), or the error that concerns this image alone (`UnknownTarget`,
        `NonFiniteOutput`). Raises `MethodRefused` where the method doesn't hold for this model.
        """
        return self.start(images, targets, method, extras)()

    def start(
        self,
        images: Rows,
        targets: Sequence[Target],
        method: Method,
        extras: Extras = (),
    ) -> Callable[[], Explained]:
        """Begin to explain, and return when the next batch may begin.

        What's returned waits for the end and is to be called once, as `explain`.
        """
        weights = [each.require_cam() if method == "cam" else None for each in self.splits]
        *others, last = self.engines
        before = [engine.forward(images, extras) for engine in others]
        forward = last.start(images, extras)
        return lambda: self._explained([*before, forward()], targets, method, weights, extras)

    def _explained(
        self,
        forward: Sequence[tuple[Array, Array]],
        targets: Sequence[Target],
        method: Method,
        weights: Sequence[Array | None],
        extras: Extras,
    ) -> Explained:
        logits = forward[0][1]
        chances = probabilities(logits, self.split.activation)
        chosen = [
            self._pairs(row, logits[row], None if chances is None else chances[row], target)
            for row, target in enumerate(targets)
        ]
        pairs = [pair for found in chosen if isinstance(found, list) for pair in found]
        maps = [
            self._maps(engine, activations, pairs, method, matrix, extras)
            for engine, (activations, _), matrix in zip(self.engines, forward, weights, strict=True)
        ]
        made = {
            pair: self._explanation(pair, logits, chances, [each[position] for each in maps])
            for position, pair in enumerate(pairs)
        }
        return [
            _finite([made[pair] for pair in found]) if isinstance(found, list) else found
            for found in chosen
        ]

    def _pairs(
        self, row: int, logits: Array, chances: Array | None, target: Target
    ) -> list[_Pair] | CamfleetError:
        if not np.isfinite(logits).all():
            return NonFiniteOutput(
                f"model {self.card.id} answers NaN or infinity for this image: check the "
                "preprocessing in its card"
            )
        try:
            classes = self._classes(logits, chances, target)
        except CamfleetError as error:
            return error
        sign = -1 if target.counter else 1
        return [_Pair(row, int(index), sign) for index in classes]

    def _classes(self, logits: Array, chances: Array | None, target: Target) -> Sequence[int]:
        if target.kind == "label":
            return [self.card.class_index(target.label)]
        if target.kind == "index":
            self.card.check_index(target.index, len(logits))
            return [target.index]
        if target.kind == "top" and target.count == 1:
            return [int(logits.argmax())]
        ranked = np.argsort(-logits, kind="stable")
        if target.kind == "top":
            return [int(index) for index in ranked[: target.count]]
        if chances is None:
            raise InvalidRequest(
                f"target above:P needs probabilities; model {self.card.id} has none (regression)"
            )
        reached = [int(index) for index in ranked if chances[index] >= target.threshold]
        return reached[:MAX_TARGETS]

    def _maps(
        self,
        engine: Engine,
        activations: Array,
        pairs: list[_Pair],
        method: Method,
        weights: Array | None,
        extras: Extras,
    ) -> list[Array]:
        """Return a raw map for each pair."""
        maps: list[Array] = []
        for start in range(0, len(pairs), self.batch_size):  # bounds the memory of many targets
            rows, classes, signs = np.array(pairs[start : start + self.batch_size], np.int32).T
            maps.extend(
                _map(
                    engine,
                    activations[rows],
                    classes,
                    signs.astype(np.float32),
                    method,
                    weights,
                    tuple(each[rows] for each in extras),
                )
            )
        return maps

    def _explanation(
        self, pair: _Pair, logits: Array, chances: Array | None, maps: list[Array]
    ) -> Explanation:
        several = len(maps) > 1
        return Explanation(
            class_index=pair.class_index,
            logit=float(logits[pair.row, pair.class_index]),
            probability=None if chances is None else float(chances[pair.row, pair.class_index]),
            raw=_fused(maps, self.fuse) if several else maps[0],
            layers=tuple(zip((each.layer.path for each in self.splits), maps, strict=True))
            if several
            else (),
        )


def _map(
    engine: Engine,
    activations: Array,
    classes: NDArray[np.int32],
    signs: Array,
    method: Method,
    weights: Array | None,
    extras: Extras,
) -> Array:
    if weights is not None:
        return cam.cam(activations, weights[:, classes].T * signs[:, None])
    gradients = engine.gradients(activations, classes, extras)
    if signs.min() < 0:
        gradients = gradients * signs[:, None, None, None]
    return cam.GRADIENT_METHODS[method](activations, gradients)


def _fused(maps: Sequence[Array], how: Fuse) -> Array:
    """Return the mean or maximum of the maps' heat (0 to 1) on the finest of their grids."""
    height, width = max((each.shape for each in maps), key=lambda shape: shape[0] * shape[1])
    heats = np.stack([heat.resized(heat.normalise(each), height, width) for each in maps])
    return np.asarray(heats.mean(axis=0) if how == "mean" else heats.max(axis=0), np.float32)


def _finite(explanations: list[Explanation]) -> list[Explanation] | CamfleetError:
    if all(np.isfinite(each.raw).all() for each in explanations):
        return explanations
    return NonFiniteOutput("the class activation map holds NaN or infinity")
