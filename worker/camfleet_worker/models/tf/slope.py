"""Whether the class scores have a gradient at all: without one, every map would be empty."""

from typing import Any

import numpy as np
import tensorflow as tf

from camfleet.errors import ModelRefused
from camfleet_worker.arrays import Array
from camfleet_worker.models.split import Trial
from camfleet_worker.models.tf import blame
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
) -> tuple[Array, Any]:
    """Return the logits of a row's scaled feature maps, and the gradient of a mixture of them."""
    maps = tf.constant(scale * trial.activations[row : row + 1])
    extras = [
        tf.cast(values[row : row + 1], extra.dtype)
        for values, extra in zip(trial.extras, description.extras, strict=True)
    ]
    with tf.GradientTape() as tape:
        tape.watch(maps)
        given = tf.cast(maps, head.inputs[0].dtype)
        logits = head(pack_inputs(given, extras), training=False)
        weights = np.random.default_rng(0).normal(size=logits.shape[-1])
        mixed = tf.linalg.matvec(tf.cast(logits, tf.float32), weights.astype(np.float32))
    return logits.numpy(), tape.gradient(mixed, maps)


def _culprit(description: Description, trial: Trial) -> Step | None:
    """Return the step of the head that stops the gradient; None where it's none alone."""
    start = description.step.output
    maps = tf.constant(trial.activations[:1])
    made: dict[int, Any] = {}
    for tensor, values in zip(description.graph.extras.values(), trial.extras, strict=True):
        made[id(tensor)] = tf.cast(values[:1], tensor.dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        made[id(start)] = tf.cast(maps, start.dtype)
        sloping = {id(start)}
        for step in description.graph.head(start)[0]:
            results = blame.run(step, made)
            fed = any(id(tensor) in sloping for tensor in step.inputs)
            found = [
                id(output)
                for output, result in zip(step.outputs, results, strict=True)
                if _is_nonzero(tape.gradient(result, maps) if result.dtype.is_floating else None)
            ]
            if fed and not found:
                return step
            sloping.update(found)
            made.update(zip(map(id, step.outputs), results, strict=True))
    return None


def _is_nonzero(gradient: Any) -> bool:
    return gradient is not None and bool(gradient.numpy().any())
