"""Between which numbers a tensor's values must lie, from the operations that compute it.

So that outputs which are probabilities already, as the average of sigmoids is, are told apart from
scores.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import tree

from camfleet_worker.models.tf.activations import (
    ANYTHING,
    BOUNDS,
    Bounds,
    activation_name,
    is_own,
    plain_name,
    unwrap,
)
from camfleet_worker.models.tf.flat_graph import FlatGraph, Step

# Each value of the output is a value of an input, or lies between some.
_BETWEEN = {
    *("Amax", "Amin", "Average", "BroadcastTo", "Cast", "Concatenate", "Copy", "ExpandDims"),
    *("AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D", "AveragePooling1D", "AveragePooling2D"),
    *("Flatten", "Flip", "GetItem", "GlobalAveragePooling1D", "GlobalAveragePooling2D"),
    *("GlobalMaxPooling1D", "GlobalMaxPooling2D", "Hstack", "Identity", "Max", "MaxPooling1D"),
    *("MaxPooling2D", "Maximum", "Mean", "Median", "Min", "Minimum", "Moveaxis", "Permute"),
    *("Quantile", "Ravel", "RepeatVector", "Repeat", "Reshape", "Slice", "Split", "Squeeze"),
    *("Stack", "StopGradient", "Swapaxes", "Take", "Transpose", "Unstack", "Vstack"),
}
_LAYERS = {
    *("BatchNormalization", "Conv1D", "Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D"),
    *("EinsumDense", "GroupNormalization", "LayerNormalization", "Normalization"),
    "SeparableConv2D",
}
_RECURRENT = {"GRU", "LSTM", "SimpleRNN"}


class Ranges:
    """The bounds of a graph's tensors."""

    def __init__(self, graph: FlatGraph) -> None:
        self._graph = graph
        self._known: dict[int, Bounds | None] = {}

    def of(self, tensor: Any) -> Bounds | None:
        """Return the bounds of a tensor; None where nobody knows what its operation does."""
        if id(tensor) not in self._known:
            self._known[id(tensor)] = ANYTHING  # meanwhile
            step = self._graph.producer(tensor)
            self._known[id(tensor)] = self._after(step) if step else ANYTHING
        return self._known[id(tensor)]

    def _after(self, step: Step) -> Bounds | None:
        operation = unwrap(step.operation)
        kind, name = type(operation).__name__, activation_name(operation)
        if kind in _RECURRENT:
            return _recurrent(name)
        if name != "linear":
            return BOUNDS.get(plain_name(name))  # None for a function of somebody else's
        return self._after_kind(step, kind, operation) if is_own(operation) else None

    def _after_kind(self, step: Step, kind: str, operation: Any) -> Bounds | None:
        """Return the bounds after an operation of Keras' own without activation."""
        if step.idle or kind in _BETWEEN or kind == "Activation":
            return _hull([self.of(tensor) for tensor in step.inputs])
        if kind in _ARITHMETIC:
            return _ARITHMETIC[kind]([self._operand(value) for value in _values(step)], operation)
        if plain_name(kind) in BOUNDS:
            return _clipped(operation, BOUNDS[plain_name(kind)])
        return ANYTHING if kind in _LAYERS else None

    def _operand(self, value: Any) -> Bounds | None:
        """Return the bounds of a tensor, or of a constant."""
        if type(value).__name__ == "KerasTensor":
            return self.of(value)
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" or not array.size:
            return None
        return float(array.min()), float(array.max())


def within(bounds: Bounds | None, outer: Bounds) -> bool:
    return bounds is not None and outer[0] <= bounds[0] and bounds[1] <= outer[1]


def _values(step: Step) -> list[Any]:
    return [value for value in tree.flatten((step.args, step.kwargs)) if value is not None]


def _recurrent(name: str) -> Bounds | None:
    """Return the bounds of a gated mix of an activation's values and zeros."""
    bounds = BOUNDS.get(plain_name(name))
    return (min(0.0, bounds[0]), max(0.0, bounds[1])) if bounds else None


def _hull(found: Sequence[Bounds | None]) -> Bounds | None:
    known = [bounds for bounds in found if bounds is not None]
    if not known or len(known) < len(found):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _clipped(layer: Any, bounds: Bounds) -> Bounds:
    """Return the bounds of a ReLU layer, which may have a highest value of its own."""
    highest = getattr(layer, "max_value", None)
    lowest = ANYTHING[0] if getattr(layer, "negative_slope", 0) else bounds[0]
    return (lowest, float(highest) if highest is not None else bounds[1])


def _folded(combine: Callable[[float, float], float]) -> Callable[..., Bounds | None]:
    """Return an operation on bounds that takes the extremes of all pairs of their ends."""

    def fold(operands: Sequence[Bounds | None], _operation: Any) -> Bounds | None:
        if not operands or any(bounds is None for bounds in operands):
            return None
        first, *others = (bounds for bounds in operands if bounds is not None)
        for other in others:
            ends = [combine(one, two) for one in first for two in other]
            if any(map(math.isnan, ends)):
                return ANYTHING
            first = min(ends), max(ends)
        return first

    return fold


def _quotient(operands: Sequence[Bounds | None], operation: Any) -> Bounds | None:
    if len(operands) != 2 or operands[1] is None:
        return None
    low, high = operands[1]
    if low <= 0 <= high:
        return None if operands[0] is None else ANYTHING
    return _folded(lambda one, two: one / two)(operands, operation)


def _power(operands: Sequence[Bounds | None], _operation: Any) -> Bounds | None:
    if len(operands) == 2 and within(operands[0], (0, 1)) and within(operands[1], (0, math.inf)):
        return 0.0, 1.0
    return None


def _root(operands: Sequence[Bounds | None], _operation: Any) -> Bounds | None:
    return (0.0, 1.0) if within(operands[0], (0, 1)) else None


def _square(operands: Sequence[Bounds | None], _operation: Any) -> Bounds | None:
    return (0.0, 1.0) if within(operands[0], (-1, 1)) else (0.0, math.inf)


def _exponential(operands: Sequence[Bounds | None], _operation: Any) -> Bounds | None:
    return (0.0, 1.0) if within(operands[0], (-math.inf, 0)) else (0.0, math.inf)


def _negative(operands: Sequence[Bounds | None], _operation: Any) -> Bounds | None:
    return None if operands[0] is None else (-operands[0][1], -operands[0][0])


def _absolute(operands: Sequence[Bounds | None], _operation: Any) -> Bounds | None:
    found = operands[0]
    return None if found is None else (0.0, max(map(abs, found)))


def _rescaled(operands: Sequence[Bounds | None], layer: Any) -> Bounds | None:
    scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
    factor, term = (
        (float(scale.min()), float(scale.max())),
        (float(offset.min()), float(offset.max())),
    )
    product = _folded(lambda one, two: one * two)([*operands, factor], layer)
    return _folded(lambda one, two: one + two)([product, term], layer)


def _clip(_operands: Sequence[Bounds | None], operation: Any) -> Bounds | None:
    ends = np.asarray(operation.x_min), np.asarray(operation.x_max)
    return float(ends[0].min()), float(ends[1].max())


_ARITHMETIC: dict[str, Callable[[Sequence[Bounds | None], Any], Bounds | None]] = {
    "Absolute": _absolute,
    "Add": _folded(lambda one, two: one + two),
    "Clip": _clip,
    "Divide": _quotient,
    "Exp": _exponential,
    "Multiply": _folded(lambda one, two: one * two),
    "Negative": _negative,
    "Power": _power,
    "Rescaling": _rescaled,
    "Sqrt": _root,
    "Square": _square,
    "Subtract": _folded(lambda one, two: one - two),
    "TrueDivide": _quotient,
}
