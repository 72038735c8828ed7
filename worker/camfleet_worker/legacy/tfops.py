"""TensorFlow functions that Keras 2 recorded in a model's graph, by Keras 3's operations.

`a + b`, `x / 127.5` or `tf.nn.relu(x)` in a functional Keras 2 model became a layer that names
the function. Only the functions listed here are ever called, and each takes the arguments of its
TensorFlow namesake.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from camfleet.errors import ModelRefused

Function = Callable[..., Any]


def find(symbol: str) -> Function | None:
    """Return the function for a symbol such as `math.add` or `__operators__.getitem`."""
    short = symbol.removeprefix("compat.v1.")
    if short.startswith(("keras.activations.", "activations.")):
        return activation(short.rpartition(".")[2])
    return _FUNCTIONS.get(short)


def activation(name: str) -> Function | None:
    """Return an activation as Keras 2 computed it, or None if it's unknown."""
    if name == "hard_sigmoid":  # Keras 3 has another function of this name
        return lambda x: ops.clip(x * 0.2 + 0.5, 0.0, 1.0)
    known = ACTIVATIONS.get(name)
    return getattr(keras.activations, known) if known else None


# Names in Keras 2's files -> Keras 3's names for the same functions.
ACTIVATIONS = {
    **{
        name: name
        for name in (
            *("elu", "exponential", "gelu", "leaky_relu", "linear", "mish", "relu", "relu6"),
            *("selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "tanh"),
        )
    },
    "log_softmax_v2": "log_softmax",
    "softmax_v2": "softmax",
    "swish": "silu",
}


def _unary(function: Function) -> Function:
    return lambda x, *_: function(x)  # the other arguments name the layer, or mean nothing here


def _binary(function: Function) -> Function:
    def call(x: Any, y: Any) -> Any:
        return function(_constant(x, y), _constant(y, x))

    return call


def _constant(value: Any, other: Any) -> Any:
    """Return a list of numbers as a tensor of the other operand's dtype."""
    if not isinstance(value, (keras.KerasTensor, int, float)):
        return ops.convert_to_tensor(value, dtype=other.dtype)
    return value


def _identity(input: Any) -> Any:  # noqa: A002  # TensorFlow's name
    return layers.Identity(dtype=input.dtype)(input)


def _reduce(function: Function) -> Function:
    def call(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return function(input_tensor, axis=_axes(axis), keepdims=keepdims)

    return call


def _mean(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return a mean, which over height and width becomes a recognisable pooling layer."""
    rank = len(input_tensor.shape)
    listed = axis if isinstance(axis, (list, tuple)) else ()
    if rank == 4 and sorted(index % rank for index in listed) == [1, 2]:
        pool = layers.GlobalAveragePooling2D(
            data_format="channels_last", keepdims=keepdims, dtype=input_tensor.dtype
        )
        return pool(input_tensor)
    return ops.mean(input_tensor, axis=_axes(axis), keepdims=keepdims)


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, (list, tuple)) else axis


def _softmax(logits: Any, axis: int | None = -1) -> Any:
    return ops.softmax(logits, axis=-1 if axis is None else axis)


def _gelu(features: Any, approximate: bool = False) -> Any:
    return ops.gelu(features, approximate=approximate)


def _leaky_relu(features: Any, alpha: float = 0.2) -> Any:
    return ops.leaky_relu(features, negative_slope=alpha)


def _clip(t: Any, clip_value_min: float, clip_value_max: float) -> Any:
    return ops.clip(t, clip_value_min, clip_value_max)


def _cast(x: Any, dtype: Any) -> Any:
    return ops.cast(x, getattr(dtype, "name", dtype))


def _bias_add(value: Any, bias: Any, data_format: str = "NHWC") -> Any:
    if data_format.startswith("NC"):
        raise ModelRefused("its channels come first")
    return value + _constant(bias, value)


def _concat(values: Any, axis: int) -> Any:
    return ops.concatenate(values, axis=axis)


def _stack(values: Any, axis: int = 0) -> Any:
    return ops.stack(values, axis=axis)


def _reshape(tensor: Any, shape: Any) -> Any:
    return ops.reshape(tensor, tuple(int(length) for length in shape))


def _transpose(a: Any, perm: Any = None, *_: Any) -> Any:
    return ops.transpose(a, None if perm is None else tuple(perm))


def _squeeze(input: Any, axis: Any = None, *_: Any) -> Any:  # noqa: A002  # TensorFlow's name
    return ops.squeeze(input, axis=_axes(axis))


def _expand_dims(input: Any, axis: int) -> Any:  # noqa: A002  # TensorFlow's name
    return ops.expand_dims(input, axis)


def _pad(
    tensor: Any, paddings: Any, mode: str = "CONSTANT", _: Any = None, constant_values: float = 0
) -> Any:
    pairs = tuple(tuple(int(width) for width in pair) for pair in paddings)
    value = {"constant_values": constant_values} if mode.upper() == "CONSTANT" else {}
    return ops.pad(tensor, pairs, mode=mode.lower(), **value)


def _resize(images: Any, size: Any, method: str = "bilinear", antialias: bool = False) -> Any:
    size = tuple(int(length) for length in size)
    return ops.image.resize(images, size, interpolation=method, antialias=antialias)


def _pool(function: Function) -> Function:
    def call(input: Any, ksize: Any, strides: Any, padding: str, **_: Any) -> Any:  # noqa: A002
        return function(input, _two(ksize), _two(strides), padding.lower(), "channels_last")

    return call


def _two(size: Any) -> Any:
    """Return the height and width of a window, as Keras takes it."""
    listed = tuple(size) if isinstance(size, (list, tuple)) else (size,)
    return listed[1:3] if len(listed) == 4 else listed * (2 // len(listed))


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12) -> Any:
    squares = ops.sum(ops.square(x), axis=_axes(axis), keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, epsilon))


def _matmul(a: Any, b: Any) -> Any:
    return ops.matmul(_constant(a, b), _constant(b, a))


def _getitem(tensor: Any, slice_spec: Any) -> Any:
    listed = slice_spec if isinstance(slice_spec, (list, tuple)) else (slice_spec,)
    return tensor[tuple(_slice(item) for item in listed)]


def _slice(part: Any) -> Any:
    if isinstance(part, dict):
        return slice(part.get("start"), part.get("stop"), part.get("step"))
    if part is None or part is Ellipsis or isinstance(part, (int, slice)):
        return part
    raise ModelRefused("it slices by a tensor")


_FUNCTIONS: dict[str, Function] = {
    "__operators__.add": _binary(ops.add),
    "__operators__.getitem": _getitem,
    "cast": _cast,
    "clip_by_value": _clip,
    "concat": _concat,
    "expand_dims": _expand_dims,
    "identity": _identity,
    "image.resize": _resize,
    "linalg.matmul": _matmul,
    "math.abs": _unary(ops.absolute),
    "math.add": _binary(ops.add),
    "math.divide": _binary(ops.true_divide),
    "math.exp": _unary(ops.exp),
    "math.l2_normalize": _l2_normalize,
    "math.log": _unary(ops.log),
    "math.maximum": _binary(ops.maximum),
    "math.minimum": _binary(ops.minimum),
    "math.multiply": _binary(ops.multiply),
    "math.negative": _unary(ops.negative),
    "math.pow": _binary(ops.power),
    "math.reduce_max": _reduce(ops.max),
    "math.reduce_mean": _mean,
    "math.reduce_min": _reduce(ops.min),
    "math.reduce_prod": _reduce(ops.prod),
    "math.reduce_sum": _reduce(ops.sum),
    "math.rsqrt": _unary(ops.rsqrt),
    "math.sigmoid": _unary(ops.sigmoid),
    "math.softplus": _unary(ops.softplus),
    "math.sqrt": _unary(ops.sqrt),
    "math.square": _unary(ops.square),
    "math.subtract": _binary(ops.subtract),
    "math.tanh": _unary(ops.tanh),
    "math.truediv": _binary(ops.true_divide),
    "nn.avg_pool2d": _pool(ops.average_pool),
    "nn.bias_add": _bias_add,
    "nn.elu": _unary(ops.elu),
    "nn.gelu": _gelu,
    "nn.leaky_relu": _leaky_relu,
    "nn.max_pool2d": _pool(ops.max_pool),
    "nn.relu": _unary(ops.relu),
    "nn.relu6": _unary(ops.relu6),
    "nn.selu": _unary(ops.selu),
    "nn.silu": _unary(ops.silu),
    "nn.softmax": _softmax,
    "nn.softplus": _unary(ops.softplus),
    "nn.swish": _unary(ops.silu),
    "pad": _pad,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "stack": _stack,
    "stop_gradient": _identity,
    "transpose": _transpose,
}
