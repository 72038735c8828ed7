"""A built model, ready to explain: from prepared images and targets to class activation maps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np

from camfleet.contract.geometry import Geometry
from camfleet.contract.outputs import DEFAULT_PRECISION, Fuse, Method, Precision
from camfleet.contract.targets import Target
from camfleet.errors import CamfleetError, NonFiniteOutput
from camfleet.registry.cards import Card
from camfleet_worker.arrays import Array
from camfleet_worker.models.engine import Extras, Rows, SelectedEngine
from camfleet_worker.models.maps import MapMaker, MapSpec, choose_classes
from camfleet_worker.models.split import Split
from camfleet_worker.pictures import heat

_TOP = Target(kind="top")


@dataclass(frozen=True)
class Explanation:
    """One image and one class.

    `raw` is the signed map, (h, w) float32 on the layer's own grid, upright as the image is. If
    maps of several layers were fused it is the fused one, and `layers` holds each layer's path and
    own map. `first` is the class that the model ranks first, whatever was asked for; a regression
    has none.
    """

    class_index: int
    logit: float
    probability: float | None
    raw: Array
    layers: tuple[tuple[str, Array], ...] = ()
    first: int | None = None


Explained: TypeAlias = list[list[Explanation] | CamfleetError]  # for each image


class _Scores(NamedTuple):
    """The scores of a batch, (N, classes) each; a regression has no probabilities."""

    logits: Array
    chances: Array | None


class Explainer:
    """One model cut at one or several layers, compiled once. Safe to share between threads."""

    def __init__(
        self,
        card: Card,
        digest: str,
        splits: Sequence[Split],
        fuse: Fuse,
        batch_size: int,
        engines: Sequence[SelectedEngine],
        origin: Mapping[str, str] = MappingProxyType({}),
        precision: Precision = DEFAULT_PRECISION,
    ) -> None:
        self.origin = dict(origin)  # the file's format and the Keras version that wrote it
        self.precision = precision
        self.card = card
        self.digest = digest
        self.splits = tuple(splits)
        self.fuse = fuse
        self.engines = [selected.engine for selected in engines]
        self.batch_size = min(batch_size, *(engine.room.batch for engine in self.engines))
        self.working_bytes = sum(engine.room.nbytes for engine in self.engines)
        self.disagreement = max(selected.disagreement for selected in engines)
        self.nbytes = sum(engine.nbytes for engine in self.engines) + self.working_bytes

    @property
    def split(self) -> Split:
        """Return the first split; activation, classes and extra inputs are the same in all."""
        return self.splits[0]

    @property
    def name(self) -> str:
        """Return id@version."""
        return f"{self.card.id}@{self.card.version}"

    @property
    def layer(self) -> str:
        """Return the path of the layer, or of several, separated by commas."""
        return ",".join(split.layer.path for split in self.splits)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (H, W, C) of one input."""
        return (self.card.input.height, self.card.input.width, self.card.channels)

    def place(self, geometry: Geometry) -> Geometry:
        """Return which part of the original image the maps cover, from what the input shows."""
        return self._finest.placement.placed(geometry)

    @property
    def extents(self) -> tuple[float, float, float, float]:
        """Return top, bottom, left and right of the maps in pixels of the input."""
        return self._finest.placement.extents(self.shape[:2])

    @property
    def _finest(self) -> Split:
        """Return the split whose grid maps of several layers are fused on."""
        return max(self.splits, key=lambda split: split.layer.height * split.layer.width)

    def warm(self) -> None:
        """Run every size that batches are padded to, so that no image has to wait for tracing."""
        most = self.batch_size
        for engine in self.engines:
            sizes = {1, max(1, most // 4), most} if engine.pads else {most}
            for size in sorted(sizes):
                images = np.random.default_rng(0).random((size, *self.shape), np.float32)
                extras = tuple(extra.trial(size) for extra in self.split.extras)
                maps, _ = engine.forward(images, extras)
                engine.gradients(maps, np.zeros(size, np.int32), extras)

    def predict(self, images: Rows, extras: Extras = ()) -> tuple[Array, Array | None]:
        """Return logits and probabilities, (N, classes) each, of (N, H, W, C) images."""
        return self.start_predicting(images, extras)()

    def start_predicting(
        self, images: Rows, extras: Extras = ()
    ) -> Callable[[], tuple[Array, Array | None]]:
        """Start to predict, and return once the next batch may start.

        Call the returned function exactly once: it waits, and returns what `predict` does.
        """
        forward = self.engines[0].start(images, extras)

        def finish() -> tuple[Array, Array | None]:
            _, logits = forward()
            return logits, self.split.probabilities(logits)

        return finish

    def explain(
        self,
        images: Rows,
        targets: Sequence[Target],
        method: Method,
        extras: Extras = (),
    ) -> Explained:
        """Explain N prepared images, (H, W, C) each, in one array or several, each for its target.

        `extras` has an array of N rows for each further input. Returns for every image its
        explanations in the order of the target's classes (none if no class reaches the target's
        threshold), or the error that concerns this image alone (`UnknownTarget`,
        `NonFiniteOutput`). Raises `MethodRefused` if the method doesn't hold for this model.
        """
        return self.start(images, targets, method, extras)()

    def start(
        self,
        images: Rows,
        targets: Sequence[Target],
        method: Method,
        extras: Extras = (),
    ) -> Callable[[], Explained]:
        """Start to explain, and return once the next batch may start.

        Call the returned function exactly once: it waits, and returns what `explain` does.
        """
        makers = [
            MapMaker(
                engine,
                method,
                split.require_cam() if method == "cam" else None,
                extras,
                self.batch_size,
            )
            for split, engine in zip(self.splits, self.engines, strict=True)
        ]
        *others, last = self.engines
        before = [engine.forward(images, extras) for engine in others]
        forward = last.start(images, extras)
        return lambda: self._finish([*before, forward()], targets, makers)

    def _finish(
        self,
        forward: Sequence[tuple[Array, Array]],
        targets: Sequence[Target],
        makers: Sequence[MapMaker],
    ) -> Explained:
        logits = forward[0][1]
        scores = _Scores(logits, self.split.probabilities(logits))
        choices = [self._specs(row, scores, target) for row, target in enumerate(targets)]
        specs = [spec for choice in choices if isinstance(choice, list) for spec in choice]
        maps = [
            [split.placement.upright(raw) for raw in maker.make(activations, specs)]
            for split, maker, (activations, _) in zip(self.splits, makers, forward, strict=True)
        ]
        explanations = {
            spec: self._explanation(spec, scores, [layer_maps[index] for layer_maps in maps])
            for index, spec in enumerate(specs)
        }
        return [
            _check_finite([explanations[spec] for spec in choice])
            if isinstance(choice, list)
            else choice
            for choice in choices
        ]

    def _specs(self, row: int, scores: _Scores, target: Target) -> list[MapSpec] | CamfleetError:
        """Return the maps that a target asks for of an image, or why it can't have them."""
        logits = scores.logits[row]
        chances = None if scores.chances is None else scores.chances[row]
        if not np.isfinite(logits).all():
            return NonFiniteOutput(
                f"model {self.card.id} answers NaN or infinity for this image: check the "
                "preprocessing in its card"
            )
        try:
            comparable = self.split.activation != "joined"
            classes = choose_classes(self.card, target, logits, chances, comparable=comparable)
        except CamfleetError as error:
            return error
        sign = -1 if target.counter else 1
        return [MapSpec(row, int(index), sign) for index in classes]

    def _explanation(self, spec: MapSpec, scores: _Scores, maps: list[Array]) -> Explanation:
        several = len(maps) > 1
        paths = (split.layer.path for split in self.splits)
        place = spec.row, spec.class_index
        return Explanation(
            class_index=spec.class_index,
            logit=float(scores.logits[place]),
            probability=None if scores.chances is None else float(scores.chances[place]),
            raw=self._fuse(maps) if several else maps[0],
            layers=tuple(zip(paths, maps, strict=True)) if several else (),
            first=self._first(spec.row, scores),
        )

    def _first(self, row: int, scores: _Scores) -> int | None:
        if scores.chances is None:
            return None
        comparable = self.split.activation != "joined"
        logits, chances = scores.logits[row], scores.chances[row]
        return int(choose_classes(self.card, _TOP, logits, chances, comparable=comparable)[0])

    def _fuse(self, maps: Sequence[Array]) -> Array:
        """Return the mean or maximum of the maps' heat (0 to 1) on the finest of their grids."""
        finest = self._finest.placement
        heats = np.stack(
            [
                split.placement.resample(heat.normalise(raw), finest, self.shape[:2])
                for split, raw in zip(self.splits, maps, strict=True)
            ]
        )
        return np.asarray(
            heats.mean(axis=0) if self.fuse == "mean" else heats.max(axis=0), np.float32
        )


def _check_finite(explanations: list[Explanation]) -> list[Explanation] | CamfleetError:
    if all(np.isfinite(explanation.raw).all() for explanation in explanations):
        return explanations
    return NonFiniteOutput("the class activation map holds NaN or infinity")
