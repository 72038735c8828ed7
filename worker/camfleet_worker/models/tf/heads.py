"""The end of a model: its logits, what they mean, and CAM's weights."""

from typing import Any

import numpy as np
from keras import ops

from camfleet.errors import ModelRefused
from camfleet_worker.arrays import Array
from camfleet_worker.models.split import Activation
from camfleet_worker.models.tf.flat_graph import FlatGraph, Step, activation_name

_SHAPING = ("Flatten", "Reshape", "Cast")


def strip_activation(graph: FlatGraph) -> tuple[FlatGraph, str]:
    """Return the graph up to the logits, and the name of the softmax or sigmoid removed."""
    tensor = graph.output
    while True:
        step = graph.producer(tensor)
        if step is None:
            raise ModelRefused("the model's output is its input: there is nothing to explain")
        name = activation_name(step.operation)
        if name in ("softmax", "log_softmax", "sigmoid"):
            return _stop_before(step, graph), name.removeprefix("log_")
        if not (step.idle or step.kind in _SHAPING):
            return graph, "linear"
        tensor = step.inputs[0]


def meaning(wanted: str, ending: str, units: int) -> Activation:
    """Return what turns logits into probabilities: what the card says, else the model's ending.

    Several linear outputs count as logits of a softmax, a single one as a regression.
    """
    if wanted != "auto":
        return wanted  # type: ignore[return-value]  # the card's field has these values only
    if ending != "linear":
        return ending  # type: ignore[return-value]  # as `strip_activation` names them
    return "softmax" if units > 1 else "none"


def class_logits(logits: Any, kind: Activation) -> Any:
    """Return a symbolic output as (B, classes) float32, a single sigmoid unit z as (-z, z)."""
    if any(size not in (None, 1) for size in logits.shape[1:-1]):
        raise ModelRefused(
            f"the model's output has shape {tuple(logits.shape)}: only classifiers with one score "
            "per class and image can be explained"
        )
    rows = ops.cast(ops.reshape(logits, (-1, logits.shape[-1])), "float32")
    if kind == "sigmoid" and logits.shape[-1] == 1:
        return ops.concatenate([-rows, rows], axis=-1)
    return rows


def cam_weights(steps: list[Step], start: Step, kind: Activation) -> tuple[Array | None, str]:
    """Return CAM's (K, classes) weights for a head of `steps` after `start`.

    Return None and the reason where its closed form doesn't hold.
    """
    acting = [step for step in steps if not step.idle and step.kind not in _SHAPING]
    names = ", ".join(step.kind for step in acting) or "nothing"
    refusal = f"it needs global average pooling and at most one dense layer, not {names}"
    if not acting or not _is_global_average(acting[0], start):
        return None, refusal
    channels = int(start.output.shape[-1])
    if len(acting) == 1:
        weights = np.eye(channels, dtype=np.float32)
    elif len(acting) == 2 and _is_linear(acting[1]):
        weights = np.asarray(acting[1].operation.kernel, np.float32).reshape(channels, -1)
    else:
        return None, refusal
    if kind == "sigmoid" and weights.shape[1] == 1:
        weights = np.concatenate([-weights, weights], axis=1)
    return weights, ""


def _stop_before(step: Step, graph: FlatGraph) -> FlatGraph:
    """Return the graph without the activation of `step`, its last layer or the layer's own."""
    steps = graph.steps[: graph.steps.index(step)]
    if not getattr(step.operation, "weights", None):
        return FlatGraph(graph.image, graph.extras, steps, step.inputs[0])
    layer = step.operation
    config = {**layer.get_config(), "activation": "linear", "name": f"{layer.name}_logits"}
    twin = type(layer).from_config(config)
    output = twin(*step.args, **step.kwargs)
    twin.set_weights(layer.get_weights())
    linear = Step(step.path, twin, step.args, step.kwargs, output)
    return FlatGraph(graph.image, graph.extras, (*steps, linear), output)


def _is_linear(step: Step) -> bool:
    return step.kind in ("Dense", "Conv2D") and activation_name(step.operation) == "linear"


def _is_global_average(pooling: Step, start: Step) -> bool:
    if pooling.kind == "GlobalAveragePooling2D":
        return True
    grid = tuple(start.output.shape[1:3])
    return pooling.kind == "AveragePooling2D" and tuple(pooling.operation.pool_size) == grid
