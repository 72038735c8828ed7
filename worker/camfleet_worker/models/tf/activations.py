"""Activations, however a layer was given them: by name, as a function, as a layer, in a wrapper."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

Bounds: TypeAlias = tuple[float, float]  # of all values that a tensor can have

ANYTHING: Bounds = (-math.inf, math.inf)
_FROM_ZERO: Bounds = (0.0, math.inf)
_SHARE: Bounds = (0.0, 1.0)
_AROUND_ZERO: Bounds = (-1.0, 1.0)

# What Keras' own activations answer, by names without underscores and capitals.
BOUNDS: dict[str, Bounds] = {
    **dict.fromkeys(("softmax", "sigmoid", "hardsigmoid", "sparsesigmoid", "sparsemax"), _SHARE),
    **dict.fromkeys(("tanh", "softsign", "hardtanh", "sin", "cos", "erf"), _AROUND_ZERO),
    **dict.fromkeys(("relu", "softplus", "exponential", "exp", "squareplus"), _FROM_ZERO),
    **dict.fromkeys(("logsoftmax", "logsigmoid"), (-math.inf, 0.0)),
    **dict.fromkeys(("elu", "selu", "celu", "gelu", "silu", "swish", "mish"), ANYTHING),
    **dict.fromkeys(("leakyrelu", "prelu", "hardsilu", "hardswish", "linear"), ANYTHING),
    **dict.fromkeys(("glu", "tanhshrink", "hardshrink", "softshrink", "threshold"), ANYTHING),
    "sparseplus": _FROM_ZERO,
    "relu6": (0.0, 6.0),
}
_OWN = ("keras", "tensorflow")
_OPERATIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}


def unwrap(operation: Any) -> Any:
    """Return the layer inside wrappers such as SpectralNormalization, or the operation itself."""
    while hasattr(operation, "layer") and not hasattr(operation, "cell"):
        operation = operation.layer
    return operation


def activation_name(operation: Any) -> str:
    """Return the name of the activation that an operation ends in, `linear` if it has none.

    An activation that isn't Keras' or TensorFlow's own goes by `?` and its name.
    """
    operation = unwrap(operation)
    if type(operation).__name__ in _OPERATIONS and is_own(operation):
        return _OPERATIONS[type(operation).__name__]
    function = getattr(operation, "activation", None)
    return _name(function) if callable(function) else "linear"


def activation_of(operation: Any) -> Callable[[Any], Any]:
    """Return the activation of an operation that has one."""
    inner = unwrap(operation)
    function: Callable[[Any], Any] = getattr(inner, "activation", None) or inner
    return function


def softmax_axes(operation: Any, rank: int) -> tuple[int, ...]:
    """Return the axes, counted from 0, over which the softmax of an operation runs."""
    found: Any = activation_of(operation)
    while hasattr(found, "activation"):
        found = found.activation
    axis = getattr(found, "axis", -1)
    axis = -1 if axis is None else axis
    listed = axis if isinstance(axis, (list, tuple)) else (axis,)
    return tuple(int(number) % rank for number in listed)


def plain_name(name: str) -> str:
    """Return a name as `BOUNDS` has it."""
    return name.removesuffix("_v2").replace("_", "").lower()


def is_own(thing: Any) -> bool:
    """Return whether a function, or an object's class, is Keras' or TensorFlow's."""
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return module.partition(".")[0] in _OWN


def _name(function: Any) -> str:
    """Return the name of an activation, which is a function, or a layer that works as one."""
    if hasattr(function, "activation") or hasattr(function, "get_config"):
        found = activation_name(function)
        if found != "linear" or type(function).__name__ == "Activation":
            return found
    name = getattr(function, "__name__", type(function).__name__)
    known = plain_name(name) in BOUNDS and is_own(function)
    return str(name).removesuffix("_v2") if known else f"?{name}"
