"""Proof that the two parts of a model compute what the whole does."""

from typing import Any

import keras
import numpy as np
from keras import ops

from camfleet.errors import LayerRefused, ModelRefused
from camfleet_worker.arrays import Array
from camfleet_worker.models.split import Activation, Trial, probabilities
from camfleet_worker.models.tf.describe import Description
from camfleet_worker.models.tf.flat_graph import pack
from camfleet_worker.models.tf.signature import pack_inputs
from camfleet_worker.models.tf.trial import patched, stands_as_said


def run(
    model: Any, description: Description, conv: Any, head: Any, probe: Array
) -> tuple[Trial, Array]:
    """Run the parts and the whole model on the images of `probe`.

    Return the parts' answers, and the explained output of the whole model, (B, units). Runs one
    row at a time, because Keras keeps the outputs of all layers until a call ends.
    """
    extras = {extra.name: extra.trial(len(probe)) for extra in description.extras}
    dtypes = {extra.name: extra.dtype for extra in description.extras}
    inputs = {
        description.image: ops.convert_to_tensor(probe, dtype=description.graph.image.dtype),
        **{
            name: ops.convert_to_tensor(values, dtype=dtypes[name])
            for name, values in extras.items()
        },
    }
    rows = []
    for row in range(len(probe)):
        own = {name: values[row : row + 1] for name, values in inputs.items()}
        image, *others = own.values()
        maps = conv(pack_inputs(image, others), training=False)
        logits = head(pack_inputs(maps, others), training=False)
        outputs = keras.tree.flatten(model(pack(model, own), training=False))
        output = _numpy(outputs[description.output]).reshape(1, -1)
        rows.append((_numpy(maps), _numpy(logits), output))
    all_maps, all_logits, whole = (np.concatenate(column) for column in zip(*rows, strict=True))
    return Trial(probe, tuple(extras.values()), all_maps, all_logits), whole


def check_placement(conv: Any, description: Description, image: Array) -> None:
    """Raise `LayerRefused` unless patches on an (H, W, C) image show in the maps where they lie."""
    placement = description.placement
    images, centres = patched(image, placement)
    extras = [
        ops.convert_to_tensor(extra.trial(len(images)), dtype=extra.dtype)
        for extra in description.extras
    ]
    given = ops.convert_to_tensor(images, dtype=description.graph.image.dtype)
    maps = _numpy(conv(pack_inputs(given, extras), training=False))
    if stands_as_said(maps, centres, placement):
        return
    path, assumed = description.step.path, ", ".join(placement.assumed)
    raise LayerRefused(
        f"the feature maps of layer {path!r} don't stand as the picture does: patches put on it "
        "show elsewhere"
        + (f"; perhaps {assumed} moves the picture" if assumed else "")
        + "; name an earlier layer in the card (layer = ...)"
    )


def are_probabilities(outputs: Array, ending: str) -> bool:
    """Return whether outputs without a final softmax are probabilities all the same.

    The average or product of softmaxes is.
    """
    if ending != "linear" or outputs.shape[1] == 1:
        return False
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def check_parts(outputs: Array, logits: Array, activation: Activation, tolerance: float) -> float:
    """Return the largest difference between the whole model and its two parts.

    Raises `ModelRefused` where it exceeds `tolerance`.
    """
    if not np.isfinite(outputs).all():
        raise ModelRefused("the model answers NaN or infinity for a probe image of random pixels")
    error = _difference(outputs, logits, activation)
    if not error <= tolerance:
        raise ModelRefused(
            f"the two parts do not compute what the whole model does (difference {error:.2g}, "
            f"allowed {tolerance:g}): the model has state or randomness at inference, or its "
            "card's `activation` is not what the model ends in"
        )
    return error


def _difference(outputs: Array, logits: Array, activation: Activation) -> float:
    """Return how far a model's outputs are from what its logits, or their like, would be."""
    chances = probabilities(logits, activation)
    answers = [logits]
    if chances is not None:
        answers += [chances, np.log(np.maximum(chances, 1e-30))]
    if outputs.shape[1] == 1 < logits.shape[1]:
        answers = [answer[:, 1:] for answer in answers]
    scale = max(1.0, float(np.abs(outputs).max()))
    errors = [
        float(np.abs(outputs - answer).max()) / scale
        for answer in answers
        if answer.shape == outputs.shape
    ]
    return min(errors, default=np.inf)


def check_cam(maps: Array, logits: Array, weights: Array) -> str:
    """Return "" if logits minus pooled maps times weights is one constant per class, or why not."""
    rest = logits - maps.mean(axis=(1, 2)) @ weights
    spread = float(np.ptp(rest, axis=0).max()) if len(rest) > 1 else 0.0
    scale = max(1.0, float(np.abs(rest).max()))
    return "" if spread <= 1e-3 * scale else "the head is not linear in the pooled feature maps"


def _numpy(tensor: Any) -> Array:
    return np.asarray(ops.convert_to_numpy(tensor), np.float32)
