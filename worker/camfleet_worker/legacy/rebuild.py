"""Rebuild a tf_keras model from Keras 3's layers, with the same names and weights.

The recorded graph is walked node by node: a layer becomes Keras 3's layer of the same name, a
TensorFlow function the operations of `camfleet_worker.legacy.tfops`, a nested model a nested model.
Whatever has no counterpart is refused by name. Initializers, regularizers, constraints and frozen
flags are dropped: they only matter during training.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import layers

from camfleet.errors import ModelRefused
from camfleet_worker.legacy import tfops

Call = Callable[..., Any]

_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint", "trainable")
_WRAPPERS = {
    "TimeDistributed": {"layer": "layer"},
    "Bidirectional": {"layer": "forward_layer", "backward_layer": "backward_layer"},
}
_RENAMED = {"LeakyReLU": {"alpha": "negative_slope"}, "ThresholdedReLU": {"theta": "threshold"}}
_CLASSES = {"ThresholdedReLU": "ReLU"}
_NOTHING = ("RandomHeight", "RandomWidth")  # do nothing at inference; Keras 3 has no such layers
# Arguments in Keras 2's files that Keras 3 doesn't know and that don't affect predictions.
_IDLE = (
    *("batch_input_shape", "implementation", "input_dim", "input_length"),
    *("key_shape", "query_shape", "rng_type", "seed", "value_shape"),
)


def rebuild(model: Any) -> Any:
    """Return the Keras 3 model of a functional or Sequential tf_keras model.

    Raises `ModelRefused` with the layer that can't be rebuilt, and why.
    """
    return _Rebuilder().model(model)


class _Rebuilder:
    """One conversion, in which a layer that is called twice is built once."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}

    def model(self, old: Any) -> Any:
        if not getattr(old, "_nodes_by_depth", None):
            raise ModelRefused(
                f"model {old.name!r} has no graph of layers: call it on an input before saving it, "
                "or build it with the functional API"
            )
        made = {id(tensor): _input(tensor) for tensor in old.inputs}
        for depth in sorted(old._nodes_by_depth, reverse=True):  # noqa: SLF001  # no public API
            for node in old._nodes_by_depth[depth]:  # noqa: SLF001
                if not node.is_input:
                    self._run(node, made)
        inputs, outputs = (
            [made[id(tensor)] for tensor in ends] for ends in (old.inputs, old.outputs)
        )
        return keras.Model(_one(inputs), _one(outputs), name=_name(old.name))

    def _run(self, node: Any, made: dict[int, Any]) -> None:
        """Repeat one recorded call on the new tensors, and record its outputs."""
        layer = node.layer
        try:
            args, kwargs = _swap((node.call_args, node.call_kwargs), made)
            kwargs = {key: value for key, value in kwargs.items() if not _is_default(key, value)}
            if id(layer) not in self._calls:
                self._calls[id(layer)] = self._build(layer)
            outputs = self._calls[id(layer)](*args, **kwargs)
            _rename(outputs, node, set(map(id, made.values())))
        except Exception as error:  # whatever Keras raises when it can't build a layer
            raise ModelRefused(_refusal(layer, error)) from error
        pairs = zip(_leaves(node.outputs), _leaves(outputs), strict=True)
        made.update((id(old), new) for old, new in pairs)

    def _build(self, old: Any) -> Call:
        kind = type(old).__name__
        if kind in ("TFOpLambda", "SlicingOpLambda"):
            symbol = old.get_config()["function"]
            function = tfops.find(symbol)
            if function is None:
                raise ModelRefused(f"tf.{symbol} has no counterpart here")
            return function
        if kind in ("Functional", "Sequential", "Model"):
            return _accept_lists(self.model(old))
        new, last = _layer(old)
        return _copy_weights(new, old, last)


def _layer(old: Any) -> tuple[Any, Call | None]:
    """Return Keras 3's layer, still without weights, and an activation to run after it, or None.

    The second is for activations that Keras 3 doesn't have.
    """
    kind = type(old).__name__
    if kind in _NOTHING:
        return layers.Identity(name=_name(old.name), dtype=old.dtype_policy.name), None
    new_kind = getattr(layers, _CLASSES.get(kind, kind), None)
    if new_kind is None:
        raise ModelRefused("Keras 3 has no such layer")
    config, last = _config(old), None
    for key, attribute in _WRAPPERS.get(kind, {}).items():
        config[key], last = _layer(getattr(old, attribute))
        if last:
            raise ModelRefused("its activation can't be wrapped")
    for key in [name for name in config if name.endswith("activation")]:
        config[key], last = _activation(getattr(old, key))
        if last and key != "activation":
            raise ModelRefused(f"Keras 3 has no such {key}")
    known = _parameters(new_kind) | {"name", "dtype"}
    for key in [name for name in config if name not in known]:
        if config[key] not in (None, False, 1) and key not in _IDLE:
            raise ModelRefused(f"Keras 3 doesn't know {key}={config[key]!r}")
        del config[key]
    return new_kind(**config), last


def _config(old: Any) -> dict[str, Any]:
    """Return a layer's arguments under the names that Keras 3 gives them."""
    kind = type(old).__name__
    config = {
        _RENAMED.get(kind, {}).get(key, key): value
        for key, value in old.get_config().items()
        if not key.endswith(_TRAINING_ONLY)
    }
    config.update(name=_name(old.name), dtype=old.dtype_policy.name)
    if isinstance(config.get("axis"), (list, tuple)) and len(config["axis"]) == 1:
        config["axis"] = int(config["axis"][0])
    return config


def _parameters(kind: type) -> set[str]:
    """Return the arguments that a class's constructor takes or passes on."""
    found: set[str] = set()
    for base in [base for base in kind.__mro__ if "__init__" in vars(base)]:
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        found.update(parameters)
        if all(one.kind is not inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
            break
    return found


def _activation(function: Any) -> tuple[Any, Call | None]:
    """Return an activation's name in Keras 3, or None and the function to run afterwards."""
    if function is None:
        return None, None
    if hasattr(function, "get_config"):
        return _layer(function)[0], None
    name = function.__name__
    if name in tfops.ACTIVATIONS:
        return tfops.ACTIVATIONS[name], None
    after = tfops.activation(name)
    if after is None:
        raise ModelRefused(f"Keras 3 has no activation {name!r}")
    return None, after


def _copy_weights(new: Any, old: Any, last: Call | None) -> Call:
    """Return a call of `new` that copies `old`'s weights as soon as they exist."""
    todo = [old]

    def call(*args: Any, **kwargs: Any) -> Any:
        output = new(*args, **kwargs)
        if todo:
            _copy(new, todo.pop())
        return last(output) if last else output

    return call


def _copy(new: Any, old: Any) -> None:
    values = old.get_weights()
    shapes = [value.shape for value in values]
    wanted = [tuple(weight.shape) for weight in new.weights]
    if shapes != wanted:
        raise ModelRefused(f"its weights have the shapes {shapes}, Keras 3's {wanted}")
    new.set_weights(values)
    if hasattr(new, "finalize_state"):
        new.finalize_state()


def _accept_lists(model: Any) -> Call:
    """Return a call of a nested model that takes several inputs as its graph lists them."""
    return lambda inputs, **kwargs: model(_one(list(_leaves(inputs))), **kwargs)


def _input(tensor: Any) -> Any:
    shape, name = tuple(tensor.shape), _name(tensor.node.layer.name)
    return keras.Input(shape[1:], dtype=tensor.dtype.name, name=name)


def _rename(outputs: Any, node: Any, known: set[int]) -> None:
    """Name the operations that made `outputs` from `known` tensors after the old layer.

    Keras would number its operations itself, with names that the model may have already.
    """
    base = _name(node.layer.name)
    number = node.layer._inbound_nodes.index(node)  # noqa: SLF001  # no public API
    again = f".call{number + 1}" if number else ""
    operations = _between(outputs, known)
    unnamed = [operation for operation in operations if operation.name != base]
    for count, operation in enumerate(unnamed, start=int(len(unnamed) < len(operations))):
        operation.name = base + again + (f".{count}" if count else "")


def _between(outputs: Any, known: set[int]) -> list[Any]:
    """Return the operations between `known` tensors and `outputs`, the last one first."""
    todo, found = list(_leaves(outputs)), {}
    while todo:
        tensor = todo.pop(0)
        if id(tensor) not in known:
            operation, index, _ = tensor._keras_history  # noqa: SLF001  # no public API
            found[id(operation)] = operation
            todo += operation._inbound_nodes[index].input_tensors  # noqa: SLF001
    return list(found.values())


def _swap(value: Any, made: dict[int, Any]) -> Any:
    """Return recorded arguments with the new tensors instead of the old ones."""
    if isinstance(value, dict):
        return {key: _swap(item, made) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        kind = tuple if isinstance(value, tuple) else list
        return kind(_swap(item, made) for item in value)
    if hasattr(value, "_keras_history"):
        return made[id(value)]
    return value.numpy() if hasattr(value, "numpy") else value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _is_default(key: str, value: Any) -> bool:
    return key == "name" or value is None or value is False


def _one(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _name(name: str) -> str:
    return name.replace("/", "_")


def _refusal(layer: Any, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, ModelRefused) and reason.startswith("layer "):
        return reason  # of a nested model, named already
    return f"layer {layer.name!r} ({type(layer).__name__}) can't be converted: {reason}"
