"""What convolutions and poolings do to places: each window's centre is where its cell lies."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from camfleet_worker.models.tf.fields import Fields, Line, axes


def _convolved(before: Fields, layer: Any, shape: tuple[int, ...]) -> Fields | None:
    """Return the places of the centres of a convolution's or a pooling's windows."""
    kernel = _pair(getattr(layer, "kernel_size", None) or layer.pool_size)
    dilation, strides = _pair(getattr(layer, "dilation_rate", 1)), _pair(layer.strides)
    moves = []
    for axis in (0, 1):
        reach = dilation[axis] * (kernel[axis] - 1)
        padding = 0
        if layer.padding == "same":
            wanted = (shape[axis] - 1) * strides[axis] + reach + 1
            padding = max(0, wanted - before.rows.shape[axis]) // 2
        moves.append((float(strides[axis]), reach / 2 - padding))
    return _resampled(before, moves, shape)


def _deconvolved(before: Fields, layer: Any, shape: tuple[int, ...]) -> Fields | None:
    """Return the places of a transposed convolution: those of the convolution that it undoes."""
    moves = []
    for axis in (0, 1):
        size, stride = before.rows.shape[axis], _pair(layer.strides)[axis]
        reach = _pair(layer.dilation_rate)[axis] * (_pair(layer.kernel_size)[axis] - 1)
        padding = 0
        if layer.padding == "same":
            padding = max(0, (size - 1) * stride + reach + 1 - shape[axis]) // 2
        moves.append((1 / stride, (padding - reach / 2) / stride))
    return _resampled(before, moves, shape)


def _adapted(before: Fields, _layer: Any, shape: tuple[int, ...]) -> Fields | None:
    """Return the places of windows that share the grid evenly."""
    ratios = [size / cells for size, cells in zip(before.rows.shape, shape[:2], strict=False)]
    return _resampled(before, [(ratio, (ratio - 1) / 2) for ratio in ratios], shape)


def _resampled(
    before: Fields, moves: Sequence[tuple[float, float]], shape: tuple[int, ...]
) -> Fields | None:
    """Return fields whose cell j along an axis lies at cell `stride * j + offset` of `before`."""
    lines = axes(before)
    if lines is None or len(shape) != 3:  # height, width, channels
        return None
    parts = []
    for line in lines:
        stride, offset = moves[line.axis]
        start = line.start + line.step * offset
        moved = Line(line.axis, start, line.step * stride, shape[line.axis])
        parts.append(np.broadcast_to(moved.along(), shape))
    inside = np.broadcast_to(np.float32(1), shape)
    return Fields((*parts, inside), before.seen, before.assumed)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


WINDOWS: dict[str, Callable[[Fields, Any, tuple[int, ...]], Fields | None]] = {
    "Conv2D": _convolved,
    "DepthwiseConv2D": _convolved,
    "SeparableConv2D": _convolved,
    "AveragePooling2D": _convolved,
    "MaxPooling2D": _convolved,
    "Conv2DTranspose": _deconvolved,
    "AdaptiveAveragePooling2D": _adapted,
    "AdaptiveMaxPooling2D": _adapted,
}
