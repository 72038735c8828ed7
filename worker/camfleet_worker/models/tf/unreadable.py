"""Why Keras can't read a model file: which layer, and what to do about it."""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import keras

from camfleet_worker.models.model_file import references
from camfleet_worker.models.reasons import reason_of

# Where Keras' own classes are, by whatever name a configuration has for them.
_HOMES = (
    *("keras", "keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints"),
    *("keras.optimizers", "keras.losses", "keras.metrics", "keras.random", "keras.quantizers"),
    *("keras.src.ops.numpy", "keras.src.ops.nn", "keras.src.ops.core", "keras.src.ops.math"),
    *("keras.src.ops.image", "keras.src.ops.linalg"),
)
_PARTS = {"Functional", "Policy", "TensorShape", "function", "slice"}  # of a configuration
_KERAS_2 = {"TFOpLambda", "SlicingOpLambda"}
_CONVERT = "convert it with `camfleet models convert OLD NEW.keras`"
_UNSAFE = re.compile(r"[^.]*(safe_mode|unsafe_deserialization)[^.]*\.?")


def cause(config: Any, error: BaseException, named: set[str]) -> str:
    """Return why a file with this configuration can't be read, and the way out.

    `named` are the classes and functions that the card names.
    """
    found = _foreign(config, named) or _activation(config, named)
    if found:
        return found
    last = str(error).rpartition("Exception encountered:")[2]
    reason = _UNSAFE.sub("", reason_of(Exception(last))).strip() or type(error).__name__
    return (
        f"{reason} (rebuild it from Keras' own layers, or see `camfleet models convert` for old "
        "files)"
    )


def _foreign(config: Any, named: set[str]) -> str:
    """Return which class of a configuration isn't Keras' own; "" if all are."""
    for reference in references(config):
        kind = plain_kind(reference)
        if kind in _KERAS_2:
            return f"Keras 2 recorded TensorFlow functions in it ({kind}): {_CONVERT}"
        if kind not in named and not reference.get("module") and not _is_known(kind):
            return (
                f"{_where(reference)} is of class {kind}, which isn't Keras' own: if you wrote it, "
                "put it into a module that is installed on the workers and name it in the card "
                f'(custom_code = ["MODULE:{kind}"]); if it is Keras 2\'s, {_CONVERT}'
            )
    return ""


def _activation(config: Any, named: set[str]) -> str:
    """Return which layer has an activation that Keras doesn't know; "" if none has."""
    for layer, key, value in _activations(config):
        where = f"layer {layer!r} has as its {key}"
        if isinstance(value, dict) and "value" in value and "class_name" not in value:
            return (
                f"{where} a lambda, which is code inside the file and is not run: give a function "
                "of Keras' by name (activation='relu') and save again"
            )
        name = value.get("config") if isinstance(value, dict) else value
        if not isinstance(name, str) or name in named or _can_be_read(value, name):
            continue
        plain = name.removesuffix("_v2")
        if hasattr(keras.activations, plain):
            return (
                f"{where} TensorFlow's tf.nn.{plain} ({name}), which Keras can't read back: build "
                f"the layer with activation={plain!r}, load the weights into it and save again"
            )
        return (
            f"{where} the function {name}, which isn't Keras' own: put it into a module that is "
            f'installed on the workers and name it in the card (custom_code = ["MODULE:{name}"])'
        )
    return ""


def _can_be_read(value: Any, name: str) -> bool:
    """Return whether Keras finds an activation: a function only goes by its own name."""
    function = getattr(keras.activations, name, None)
    return function is not None and (isinstance(value, str) or function.__name__ == name)


def _activations(config: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield the layer, the argument and the value of every activation in a configuration."""
    for reference in references(config):
        inner = reference.get("config")
        if isinstance(inner, dict):
            for key, value in inner.items():
                if key.endswith("activation") and value is not None:
                    yield str(inner.get("name")), key, value


def plain_kind(reference: dict[str, Any]) -> str:
    """Return the name of a class, without the package under which it was registered."""
    return str(reference["class_name"]).split(">")[-1]


def _where(reference: dict[str, Any]) -> str:
    inner = reference.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    return f"layer {name!r}" if name else "something in it"


def _is_known(kind: str) -> bool:
    return kind.startswith("__") or kind in _PARTS or any(map(_has(kind), _HOMES))


def _has(kind: str) -> Any:
    return lambda home: hasattr(import_module(home), kind)
