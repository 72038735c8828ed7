"""The head's end: a score for each class, and CAM's weights where its closed form holds."""

from itertools import takewhile
from typing import Any

import numpy as np
from keras import ops

from camfleet_worker.arrays import Array
from camfleet_worker.models.split import Activation
from camfleet_worker.models.tf.activations import activation_name, unwrap
from camfleet_worker.models.tf.flat_graph import Step

_SHAPING = ("Cast", "ExpandDims", "Flatten", "Ravel", "Reshape", "Squeeze")
_AVERAGES = (
    "AdaptiveAveragePooling2D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
)


def class_logits(logits: Any, kind: Activation) -> Any:
    """Return a symbolic output as (B, classes) float32, a single sigmoid unit z as (-z, z)."""
    units = int(np.prod(logits.shape[1:], dtype=int))
    rows = ops.cast(ops.reshape(logits, (-1, units)), "float32")
    if kind == "sigmoid" and units == 1:
        return ops.concatenate([-rows, rows], axis=-1)
    return rows


def cam_weights(steps: list[Step], start: Step, kind: Activation) -> tuple[Array | None, str]:
    """Return CAM's (K, classes) weights for a head of `steps` after `start`.

    Return None and the reason where its closed form doesn't hold.
    """
    acting = [step for step in steps if not step.idle and step.kind not in _SHAPING]
    said = [step.kind for step in steps if not step.idle]  # Flatten too: it's why Dense is none
    names = ", ".join(said) or "nothing"
    refusal = f"it needs global average pooling and at most one dense layer, not {names}"
    channels = int(start.output.shape[-1])
    pooling = list(takewhile(_averages, acting))
    if not pooling or _size(pooling[-1].output) != channels:
        return None, refusal
    dense = acting[len(pooling) :]
    if not dense:
        weights = np.eye(channels, dtype=np.float32)
    elif len(dense) == 1 and _is_linear(dense[0], channels):
        weights = np.asarray(unwrap(dense[0].operation).kernel, np.float32).reshape(channels, -1)
    else:
        return None, refusal
    if kind == "sigmoid" and weights.shape[1] == 1:
        weights = np.concatenate([-weights, weights], axis=1)
    return weights, ""


def _is_linear(step: Step, channels: int) -> bool:
    """Return whether a step weighs all channels of one place, and does nothing else."""
    inner = unwrap(step.operation)
    if type(inner).__name__ not in ("Dense", "Conv2D") or activation_name(inner) != "linear":
        return False
    return int(np.prod(inner.kernel.shape[:-1])) == channels


def _averages(step: Step) -> bool:
    """Return whether a step averages, over the whole grid or a part; `verify` proves the sum."""
    if step.kind == "Mean":
        axes = step.operation.axis
        rank = len(step.inputs[0].shape)
        return axes is not None and not {0, rank - 1} & {int(axis) % rank for axis in axes}
    if step.kind == "AveragePooling2D":
        return _shares_evenly(step.operation, step.inputs[0].shape[1:3])
    return step.kind in _AVERAGES


def _shares_evenly(pooling: Any, grid: tuple[int, ...]) -> bool:
    """Return whether every cell of the grid lies in just one window."""
    size = tuple(pooling.pool_size)
    whole = all(cells % side == 0 for cells, side in zip(grid, size, strict=True))
    return whole and (size == tuple(grid) or size == tuple(pooling.strides))


def _size(tensor: Any) -> int:
    return int(np.prod(tensor.shape[1:], dtype=int))
