"""Whether the class scores have a gradient at all: without one, every map would be empty."""

from typing import Any

import keras
import numpy as np
from keras import ops

from camfleet.errors import ModelRefused
from camfleet_worker.arrays import Array
from camfleet_worker.models.split import Trial
from camfleet_worker.models.tf import blame
from camfleet_worker.models.tf.derivatives import gradient
from camfleet_worker.models.tf.describe import Description
from camfleet_worker.models.tf.flat_graph import Step
from camfleet_worker.models.tf.signature import pack_inputs

_SCALES = (1.0, 0.5, 2.0)  # of the feature maps, to see whether the scores follow them
# Operations whose gradient is 0 everywhere; of others it's 0 by chance, where they are saturated.
_STEPS = ("Ceil", "Floor", "FloorDivide", "Rint", "Round", "Sign", "Trunc")


def check_gradient(description: Description, head: Any, trial: Trial) -> None:
    """Raise `ModelRefused` where scores depend on the feature maps, but not by a gradient.

    So it is behind an argmax, a rounding, a sign or a stopped gradient: Grad-CAM would find no
    evidence in any image. Scores that are the same for all maps say nothing either way.
    """
    answers, is_known = [], False
    for row in range(len(trial.activations)):  # one at a time: a tape keeps all that leads there
        for scale in _SCALES:
            logits, gradient = _sloped(description, head, trial, row, scale)
            if _is_nonzero(gradient):
                return
            answers.append(logits)
            is_known = is_known or gradient is not None
    follows = bool(np.ptp(np.concatenate(answers), axis=0).any())
    if is_known and not follows:
        return
    culprit = _culprit(description, trial)
    if is_known and (culprit is None or culprit.kind not in _STEPS):
        return
    name = f"layer {culprit.path!r} ({culprit.kind})" if culprit else "the head"
    raise ModelRefused(
        f"{name} lets no gradient through: the class scores change in steps only, and every map "
        "would be empty; end the model in the scores before it (a Dense layer's), or name a later "
        'layer in the card (layer = "...")'
    )


def _sloped(
    description: Description, head: Any, trial: Trial, row: int, scale: float
) -> tuple[Array, Array | None]:
    """Return the logits of a row's scaled feature maps, and the gradient of a mixture of them."""
    extras = [
        ops.convert_to_tensor(values[row : row + 1], dtype=extra.dtype)
        for values, extra in zip(trial.extras, description.extras, strict=True)
    ]
    weights = np.random.default_rng(0).normal(size=(head.output.shape[-1], 1)).astype(np.float32)

    def mix(maps: Any) -> tuple[Any, Any]:
        given = ops.cast(maps, head.inputs[0].dtype)
        logits = ops.cast(head(pack_inputs(given, extras), training=False), "float32")
        return logits, ops.matmul(logits, weights)

    return gradient(mix, scale * trial.activations[row : row + 1])


def _culprit(description: Description, trial: Trial) -> Step | None:
    """Return the step of the head that stops the gradient; None where it's none alone."""
    start = description.step.output
    given: dict[int, Any] = {
        id(tensor): ops.convert_to_tensor(values[:1], dtype=tensor.dtype)
        for tensor, values in zip(description.graph.extras.values(), trial.extras, strict=True)
    }
    steps = description.graph.head(start)[0]

    def outputs_of(number: int, maps: Any) -> list[Any]:
        made = {**given, id(start): ops.cast(maps, start.dtype)}
        for step in steps[: number + 1]:
            made.update(zip(map(id, step.outputs), blame.run(step, made), strict=True))
        return [made[id(output)] for output in steps[number].outputs]

    def slopes(number: int, place: int) -> bool:
        def one(maps: Any) -> tuple[Any, Any]:
            output = outputs_of(number, maps)[place]
            return output, output

        kind = keras.backend.standardize_dtype(steps[number].outputs[place].dtype)
        return "float" in kind and _is_nonzero(gradient(one, trial.activations[:1])[1])

    sloping = {id(start)}
    for number, step in enumerate(steps):
        fed = any(id(tensor) in sloping for tensor in step.inputs)
        found = [id(output) for place, output in enumerate(step.outputs) if slopes(number, place)]
        if fed and not found:
            return step
        sloping.update(found)
    return None


def _is_nonzero(gradient: Array | None) -> bool:
    return gradient is not None and bool(gradient.any())
