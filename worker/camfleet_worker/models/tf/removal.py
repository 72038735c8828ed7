"""A softmax or sigmoid taken off a layer, however the layer was given it.

Only what is surely one: a layer with weights is built again without it, and both are tried out.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from camfleet_worker.models.tf.activations import (
    activation_name,
    activation_of,
    is_own,
    softmax_axes,
)
from camfleet_worker.models.tf.flat_graph import Step

_REMOVABLE = ("softmax", "log_softmax", "sigmoid")
_PLAIN = ("Activation", "LogSoftmax", "Sigmoid", "Softmax")  # nothing but the activation
_TRIALS = 2


@dataclass(frozen=True, eq=False)
class Source:
    """A step whose values reach the output unchanged, in whatever order.

    `name` is its softmax or sigmoid, empty if it has none that can be taken off; then `logits` is
    the tensor before it, which the step `twin` computes, or a step of the graph if that's null.
    """

    tensor: Any
    step: Step | None
    name: str = ""
    logits: Any = None
    twin: Step | None = None

    @property
    def size(self) -> int:
        return int(np.prod(self.tensor.shape[1:], dtype=int))


def take_off(source: Source, twins: dict[int, Any]) -> Source:
    """Return a source with the tensor before its softmax or sigmoid, where that is sure.

    `twins` remembers layers without activation, so that one that is called twice has one twin.
    """
    step = source.step
    if step is None or len(step.outputs) != 1 or len(step.inputs) != 1:
        return source
    name = activation_name(step.operation)
    if name not in _REMOVABLE or None in source.tensor.shape[1:]:
        return source
    if name != "sigmoid" and 0 in softmax_axes(step.operation, len(source.tensor.shape)):
        return source  # over the batch
    if step.kind in _PLAIN and is_own(step.operation):
        return Source(source.tensor, step, name, step.inputs[0])
    twin = _twin(step, twins)
    if twin is None:
        return source
    return Source(source.tensor, step, name, twin.output, twin)


def _twin(step: Step, twins: dict[int, Any]) -> Step | None:
    """Return a step with the same weights without activation; None where that can't be had."""
    layer = step.operation
    try:
        twin = twins.get(id(layer)) or _without_activation(layer)
        output = twin(*step.args, **step.kwargs)
        if id(layer) not in twins:
            twin.set_weights(layer.get_weights())
            twins[id(layer)] = twin
        agrees = _agree(layer, twin, step)
    except Exception:  # noqa: BLE001  # whatever a layer raises that isn't made for this
        return None
    return Step(step.path, twin, step.args, step.kwargs, output) if agrees else None


def _without_activation(layer: Any) -> Any:
    config = {**_linear_config(layer), "name": f"{layer.name}_logits"}
    return type(layer).from_config(config)


def _linear_config(layer: Any) -> dict[str, Any]:
    """Return a layer's configuration without activation, also inside wrappers."""
    config: dict[str, Any] = dict(layer.get_config())
    if "layer" in config and hasattr(layer, "layer"):
        config["layer"] = {**config["layer"], "config": _linear_config(layer.layer)}
    else:
        config["activation"] = "linear"
    return config


def _agree(layer: Any, twin: Any, step: Step) -> bool:
    """Return whether a layer is its twin and the activation after it, on random numbers."""
    rng = np.random.default_rng(0)

    def draw(value: Any) -> Any:
        if not isinstance(value, keras.KerasTensor):
            return value
        shape = [size or _TRIALS for size in value.shape]
        return ops.convert_to_tensor(rng.standard_normal(shape), dtype=value.dtype)

    args, kwargs = tree.map_structure(draw, (step.args, step.kwargs))
    expected = layer(*args, **kwargs)
    found = activation_of(layer)(twin(*args, **kwargs))
    half = "float16" in str(step.output.dtype)
    one, other = (ops.convert_to_numpy(ops.cast(value, "float32")) for value in (found, expected))
    return bool(np.allclose(one, other, atol=1e-2 if half else 1e-5))
