"""Which layer is to blame where a model can't be cut: its operations run one by one."""

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from camfleet_worker.arrays import Array
from camfleet_worker.models.reasons import reason_of
from camfleet_worker.models.tf.flat_graph import FlatGraph, Step


def find(graph: FlatGraph, probe: Array) -> str:
    """Return which layer can't be run at inference as its graph says, and why; "" if all can.

    `probe` (B, H, W, C) are images; other inputs are ones.
    """
    made: dict[int, Any] = {
        id(graph.image): ops.convert_to_tensor(probe[:1], dtype=graph.image.dtype)
    }
    for tensor in graph.extras.values():
        made[id(tensor)] = ops.ones((1, *tensor.shape[1:]), dtype=tensor.dtype)
    for step in graph.steps:
        where = f"layer {step.path!r} ({step.kind})"
        try:
            results, again = run(step, made), run(step, made)
        except Exception as error:  # noqa: BLE001  # that is what's looked for
            return f"{where} can't be run at inference: {reason_of(error)}"
        for output, result in zip(step.outputs, results, strict=True):
            if not _fits(result.shape, output.shape):
                return (
                    f"{where} says that it answers {tuple(output.shape[1:])}, and at inference it "
                    f"answers {tuple(result.shape[1:])}: take it out, and let the card's input "
                    "resize or crop the picture"
                )
        if any(map(_differ, results, again)):
            return f"{where} answers the same values differently each time"
        made.update(
            (id(output), result) for output, result in zip(step.outputs, results, strict=True)
        )
    return ""


def run(step: Step, made: dict[int, Any]) -> list[Any]:
    """Return a step's results, from the values `made` by tensors' ids."""

    def swap(value: Any) -> Any:
        return made[id(value)] if isinstance(value, keras.KerasTensor) else value

    args, kwargs = tree.map_structure(swap, (step.args, step.kwargs))
    if getattr(step.operation, "_call_has_training_arg", False):
        kwargs = {**kwargs, "training": False}
    results: list[Any] = tree.flatten(step.operation(*args, **kwargs))
    return results


def _fits(found: Any, said: Any) -> bool:
    """Return whether a shape is the one that was said, whatever the batch."""
    own, other = tuple(found)[1:], tuple(said)[1:]
    return len(own) == len(other) and all(
        wanted in (None, size) for size, wanted in zip(own, other, strict=True)
    )


def _differ(one: Any, other: Any) -> bool:
    values = [np.asarray(ops.convert_to_numpy(ops.cast(part, "float32"))) for part in (one, other)]
    return not np.allclose(values[0], values[1], equal_nan=True)
