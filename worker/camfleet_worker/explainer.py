"""A built model, ready to explain: conv and head as compiled functions, warm."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from camfleet.cards import Card
from camfleet.contract import Method, Target
from camfleet.errors import CamfleetError, NonFiniteOutput
from camfleet_worker import cam
from camfleet_worker.split import Split, probabilities

Array: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Explanation:
    """One image and one class: the raw signed map is (h, w) float32 at the layer's own grid."""

    class_index: int
    logit: float
    probability: float | None
    raw: Array


class Explainer:
    """The two submodels of one model, compiled once and shared by all threads of a process.

    Batches are padded to one of two sizes, 1 and `batch_size`, so that a result doesn't depend on
    how many images happened to share its batch. Calls take turns: between two batches of a job an
    interactive image gets its turn.
    """

    def __init__(self, card: Card, digest: str, split: Split, batch_size: int) -> None:
        self.card = card
        self.digest = digest
        self.split = split
        self.batch_size = batch_size
        self.nbytes = sum(nbytes(part) for part in (split.conv, split.head))
        self._turn = threading.Lock()
        self._forward, self._gradients = _compile(split)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (H, W, C) of one input."""
        return (self.card.input.height, self.card.input.width, self.card.channels)

    def warm(self) -> None:
        """Run both batch sizes once, so that the first image doesn't pay for tracing."""
        for size in sorted({1, self.batch_size}):
            images = np.zeros((size, *self.shape), np.float32)
            self._class_gradients(self._run(images)[0], np.zeros(size, np.int32))

    def predict(self, images: Array) -> tuple[Array, Array | None]:
        """Return logits and probabilities, (N, classes) each, of (N, H, W, C) images."""
        with self._turn:
            _, logits = self._run(images)
        return logits, probabilities(logits, self.split.activation)

    def explain(
        self, images: Array, targets: Sequence[Target], method: Method
    ) -> list[list[Explanation] | CamfleetError]:
        """Explain (N, H, W, C) prepared images, each for its own target.

        Returns for every image its explanations in the order of the target's classes, or the
        error that concerns this image alone (`UnknownTarget`, `NonFiniteOutput`). Raises
        `MethodRefused` where the method doesn't hold for this model.
        """
        weights = self.split.require_cam() if method == "cam" else None
        with self._turn:
            activations, logits = self._run(images)
            chosen = [
                self._classes(row, target) for row, target in zip(logits, targets, strict=True)
            ]
            pairs = [
                (row, index)
                for row, found in enumerate(chosen)
                if not isinstance(found, CamfleetError)
                for index in found
            ]
            maps = list(self._maps(activations, pairs, method, weights))
        chances = probabilities(logits, self.split.activation)
        made = {
            (row, index): Explanation(
                class_index=index,
                logit=float(logits[row, index]),
                probability=None if chances is None else float(chances[row, index]),
                raw=raw,
            )
            for (row, index), raw in zip(pairs, maps, strict=True)
        }
        return [
            found
            if isinstance(found, CamfleetError)
            else _finite([made[row, index] for index in found])
            for row, found in enumerate(chosen)
        ]

    def _classes(self, logits: Array, target: Target) -> list[int] | CamfleetError:
        if not np.isfinite(logits).all():
            return NonFiniteOutput(
                f"model {self.card.id} answers NaN or infinity for this image: check the "
                "preprocessing in its card"
            )
        try:
            if target.kind == "label":
                return [self.card.class_index(target.label)]
            if target.kind == "index":
                self.card.check_index(target.index, len(logits))
                return [target.index]
        except CamfleetError as error:
            return error
        ranked = np.argsort(-logits, kind="stable")[: target.count]
        return [int(index) for index in ranked]

    def _maps(
        self,
        activations: Array,
        pairs: list[tuple[int, int]],
        method: Method,
        weights: Array | None,
    ) -> Iterator[Array]:
        """Yield a raw map for each (row, class) pair."""
        size = self.batch_size if len(pairs) > 1 else 1
        for start in range(0, len(pairs), size):
            rows, classes = np.array(pairs[start : start + size], np.int32).T
            chosen = activations[rows]
            if weights is not None:
                yield from cam.cam(chosen, weights[:, classes].T)
            else:
                gradients = self._class_gradients(chosen, classes)
                yield from cam.GRADIENT_METHODS[method](chosen, gradients)

    def _run(self, images: Array) -> tuple[Array, Array]:
        """Return feature maps (N, h, w, K) and logits (N, classes)."""
        activations, logits = [], []
        size = self.batch_size if len(images) > 1 else 1
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            maps, rows = self._forward(_padded(batch, size))
            activations.append(maps.numpy()[: len(batch)])
            logits.append(rows.numpy()[: len(batch)])
        return np.concatenate(activations), np.concatenate(logits)

    def _class_gradients(self, activations: Array, classes: NDArray[np.int32]) -> Array:
        size = self.batch_size if len(activations) > 1 else 1
        gradients = self._gradients(_padded(activations, size), _padded(classes, size))
        return np.asarray(gradients.numpy()[: len(activations)], np.float32)


def _compile(split: Split) -> tuple[Any, Any]:
    """Return the forward pass and the head's gradient as functions traced once, for any batch."""
    conv, head = split.conv, split.head
    maps = split.layer.height, split.layer.width, split.layer.channels

    @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow's
        input_signature=[tf.TensorSpec((None, *conv.input.shape[1:]), tf.float32)]
    )
    def forward(images: Any) -> Any:
        activations = conv(tf.cast(images, conv.input.dtype), training=False)
        return tf.cast(activations, tf.float32), head(activations, training=False)

    @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow's
        input_signature=[
            tf.TensorSpec((None, *maps), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ]
    )
    def gradients(activations: Any, classes: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(activations)
            logits = head(tf.cast(activations, head.input.dtype), training=False)
            chosen = tf.gather(logits, classes, axis=1, batch_dims=1)
        return tape.gradient(chosen, activations)

    return forward, gradients


def _finite(explanations: list[Explanation]) -> list[Explanation] | CamfleetError:
    if all(np.isfinite(each.raw).all() for each in explanations):
        return explanations
    return NonFiniteOutput("the class activation map holds NaN or infinity")


def _padded(batch: Any, size: int) -> Any:
    missing = size - len(batch)
    return np.pad(batch, [(0, missing)] + [(0, 0)] * (batch.ndim - 1)) if missing > 0 else batch


def nbytes(model: Any) -> int:
    return sum(
        int(np.prod(weight.shape))
        * np.dtype(str(weight.dtype).replace("bfloat16", "float16")).itemsize
        for weight in model.weights
    )
