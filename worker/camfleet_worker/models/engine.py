"""One split model as compiled functions: arrays in, arrays out, in batches of fixed sizes."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from camfleet_worker.models.signature import joined
from camfleet_worker.models.split import Split

Array: TypeAlias = NDArray[np.float32]
Extras: TypeAlias = tuple[Array, ...]  # one array a further input, a row an image


class Engine:
    """The two submodels of a split, each traced once for any batch size.

    Batches are padded to one of two sizes, 1 and `batch_size`, so that a result doesn't depend on
    how many images happened to share its batch.
    """

    def __init__(self, split: Split, batch_size: int) -> None:
        self._batch_size = batch_size
        self._forward, self._gradients = _compile(split)

    def forward(self, images: Array, extras: Extras) -> tuple[Array, Array]:
        """Return feature maps (N, h, w, K) and logits (N, classes) of (N, H, W, C) images."""
        activations, logits = self._batched(self._forward, images, *extras)
        return activations, logits

    def gradients(self, activations: Array, classes: NDArray[np.int32], extras: Extras) -> Array:
        """Return the gradient of each row's own class's logit, (N, h, w, K)."""
        (gradients,) = self._batched(self._gradients, activations, classes, *extras)
        return gradients

    def _batched(self, function: Any, *arrays: Any) -> tuple[Array, ...]:
        count = len(arrays[0])
        size = self._batch_size if count > 1 else 1
        made = [
            [each.numpy()[: min(size, count - start)] for each in function(*batch)]
            for start, batch in _batches(arrays, size)
        ]
        return tuple(np.concatenate(each) for each in zip(*made, strict=True))


def nbytes(models: Sequence[Any]) -> int:
    """Return the bytes of the weights of models, each weight once."""
    weights = {id(weight): weight for model in models for weight in model.weights}
    return sum(int(np.prod(each.shape)) * tf.as_dtype(each.dtype).size for each in weights.values())


def _batches(arrays: Sequence[Any], size: int) -> Iterator[tuple[int, list[Any]]]:
    for start in range(0, len(arrays[0]), size):
        yield start, [_padded(each[start : start + size], size) for each in arrays]


def _padded(batch: Any, size: int) -> Any:
    missing = size - len(batch)
    return np.pad(batch, [(0, missing)] + [(0, 0)] * (batch.ndim - 1)) if missing > 0 else batch


def _compile(split: Split) -> tuple[Any, Any]:
    """Return the forward pass and the head's gradient as TensorFlow functions."""
    conv, head = split.conv, split.head
    image, maps = conv.inputs[0], head.inputs[0]
    others = [tf.TensorSpec((None, *each.shape), tf.float32) for each in split.extras]

    def converted(values: Sequence[Any]) -> list[Any]:
        return [
            tf.cast(value, each.dtype) for value, each in zip(values, split.extras, strict=True)
        ]

    @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow's
        input_signature=[tf.TensorSpec((None, *image.shape[1:]), tf.float32), *others]
    )
    def forward(images: Any, *extras: Any) -> Any:
        rest = converted(extras)
        activations = conv(joined(tf.cast(images, image.dtype), rest), training=False)
        logits = head(joined(activations, rest), training=False)
        return tf.cast(activations, tf.float32), logits

    @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow's
        input_signature=[
            tf.TensorSpec((None, *maps.shape[1:]), tf.float32),
            tf.TensorSpec((None,), tf.int32),
            *others,
        ]
    )
    def gradients(activations: Any, classes: Any, *extras: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(activations)
            rest = converted(extras)
            logits = head(joined(tf.cast(activations, maps.dtype), rest), training=False)
            chosen = tf.gather(logits, classes, axis=1, batch_dims=1)
        return (
            tape.gradient(chosen, activations, unconnected_gradients=tf.UnconnectedGradients.ZERO),
        )

    return forward, gradients
