"""Arguments of layers as HDF5 files and older versions of Keras spell them."""

from typing import Any

# Of Lambda layers, unknown to Keras 3.
_OF_LAMBDA = ("module", "function_type", "output_shape_type", "output_shape_module")


def arguments(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a layer's arguments under the names that Keras 3 gives them."""
    new = dict(config)
    shape = new.pop("batch_input_shape", None)
    if shape is not None:
        new["batch_shape" if kind == "InputLayer" else "input_shape"] = shape
    axis = new.get("axis")
    if isinstance(axis, list) and len(axis) == 1 and isinstance(axis[0], (int, float)):
        new["axis"] = int(axis[0])
    return new


def arguments_of_lambda(config: dict[str, Any]) -> dict[str, Any]:
    """Return a trusted Lambda layer's arguments, its code as Keras 3 has it."""
    new = {key: value for key, value in config.items() if key not in _OF_LAMBDA}
    function = new.get("function")
    if isinstance(function, list) and len(function) == 3:
        inner = dict(zip(("code", "defaults", "closure"), function, strict=True))
        new["function"] = {"class_name": "__lambda__", "config": inner}
    return new
