"""Proof that the two parts of a model compute what the whole does."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from camfleet.errors import LayerRefused, ModelRefused
from camfleet_worker.arrays import Array
from camfleet_worker.models import memory
from camfleet_worker.models.split import Outputs, Trial, probabilities
from camfleet_worker.models.tf import blame
from camfleet_worker.models.tf.describe import Description
from camfleet_worker.models.tf.flat_graph import pack
from camfleet_worker.models.tf.signature import pack_inputs
from camfleet_worker.models.tf.trial import others, patched, stands_as_said
from camfleet_worker.process.runtime import free_memory


def answers(model: Any, description: Description, probe: Array) -> Array:
    """Return the explained output of the whole model for the images of `probe`, (B, units)."""
    rows = []
    for own in _rows(description, probe):
        output = _answer(model, description, own)
        if len(output) != 1:
            raise ModelRefused(
                f"the model gives {len(output)} answers to one picture: an operation "
                "joins or splits along the batch"
            )
        rows.append(output.reshape(1, -1))
    found = np.concatenate(rows)
    _check_batch(model, description, probe, found)
    return found


def _answer(model: Any, description: Description, inputs: dict[str, Any]) -> Array:
    """Return the explained output of the whole model for the inputs by name."""
    outputs = keras.tree.flatten(model(pack(model, inputs), training=False))
    return _numpy(outputs[description.output])


def _check_batch(model: Any, description: Description, probe: Array, alone: Array) -> None:
    """Raise `ModelRefused` where an image's answer depends on the others of its batch."""
    if not np.isfinite(alone).all():
        return  # which is refused as such
    own = {name: values[:2] for name, values in _inputs(description, probe).items()}
    together = _answer(model, description, own)
    if len(together) == len(alone[:2]):
        together = together.reshape(len(together), -1)
        scale = max(1.0, float(np.abs(alone).max()))
        if float(np.abs(together - alone[:2]).max()) <= description.tolerance * scale:
            return
    raise ModelRefused(
        blame.find(description.graph, probe)
        or "a picture's answer depends on the others of its batch: an operation works along the "
        "batch axis"
    )


def run(
    description: Description, conv: Any, head: Any, probe: Array, *, measured: bool
) -> tuple[Trial, int]:
    """Return the answers of a model's two parts for the images of `probe`.

    Runs one row at a time, because Keras keeps the outputs of all layers until a call ends. Returns
    the bytes that the last one took as well, if that is to be `measured`, and otherwise 0.
    """

    def answer(own: dict[str, Any]) -> tuple[Array, Array]:
        image, *others = own.values()
        maps = conv(pack_inputs(image, others), training=False)
        logits = head(pack_inputs(maps, others), training=False)
        return _numpy(maps), _numpy(logits)

    *firsts, last = _rows(description, probe)
    rows, taken = [answer(own) for own in firsts], 0
    if measured:
        free_memory()
        answered, taken = memory.peak(partial(answer, last))
    else:
        answered = answer(last)
    rows.append(answered)
    maps, logits = (np.concatenate(column) for column in zip(*rows, strict=True))
    extras = tuple(extra.trial(len(probe)) for extra in description.extras)
    return Trial(probe, extras, maps, logits), taken


def _rows(description: Description, probe: Array) -> Iterator[dict[str, Any]]:
    """Yield the values of all inputs by name, the image first, for one image after the other."""
    inputs = _inputs(description, probe)
    for row in range(len(probe)):
        yield {name: values[row : row + 1] for name, values in inputs.items()}


def _inputs(description: Description, probe: Array) -> dict[str, Any]:
    return {
        description.image: ops.convert_to_tensor(probe, dtype=description.graph.image.dtype),
        **{
            extra.name: ops.convert_to_tensor(extra.trial(len(probe)), dtype=extra.dtype)
            for extra in description.extras
        },
    }


def check_placement(conv: Any, description: Description, image: Array) -> None:
    """Raise `LayerRefused` unless patches on an (H, W, C) image show in the maps where they lie.

    What one image seems to contradict may be chance, in small grids and where most units are dead:
    then more of them are tried, and all are judged together.
    """
    placement = description.placement
    images, centres = patched(image, placement)
    maps = _patched_maps(conv, description, images)
    if stands_as_said(maps, centres, placement):
        return
    more = [_patched_maps(conv, description, patched(own, placement)[0]) for own in others(image)]
    if stands_as_said(np.concatenate([maps, *more], axis=-1), centres, placement):
        return
    path, assumed = description.step.path, ", ".join(placement.assumed)
    raise LayerRefused(
        f"the feature maps of layer {path!r} don't stand as the picture does: patches put on it "
        "show elsewhere"
        + (f"; perhaps {assumed} moves the picture" if assumed else "")
        + "; name an earlier layer in the card (layer = ...)"
    )


def _patched_maps(conv: Any, description: Description, images: Array) -> Array:
    count = memory.rows_at_once(description.graph.image_bytes)
    starts = range(0, len(images), count)
    pieces = (images[start : start + count] for start in starts)
    return np.concatenate([_maps_of(conv, description, piece) for piece in pieces])


def _maps_of(conv: Any, description: Description, images: Array) -> Array:
    extras = [
        ops.convert_to_tensor(extra.trial(len(images)), dtype=extra.dtype)
        for extra in description.extras
    ]
    given = ops.convert_to_tensor(images, dtype=description.graph.image.dtype)
    maps = _numpy(conv(pack_inputs(given, extras), training=False))
    if len(maps) != len(images):
        raise LayerRefused(
            f"layer {description.step.path!r} gives {len(maps)} feature maps for {len(images)} "
            "pictures: an operation before it moves places into the batch; name an earlier layer "
            "in the card (layer = ...)"
        )
    return maps


def check_parts(outputs: Array, trial: Trial, meant: Outputs, description: Description) -> float:
    """Return the largest difference between the whole model's `outputs` and its two parts'.

    Raises `ModelRefused` where it exceeds the model's tolerance.
    """
    if not np.isfinite(outputs).all():
        raise ModelRefused("the model answers NaN or infinity for a probe image of random pixels")
    error = _difference(outputs, trial.logits, meant)
    tolerance = description.tolerance
    if not error <= tolerance:
        culprit = blame.find(description.graph, trial.images)
        raise ModelRefused(
            f"the two parts do not compute what the whole model does (difference {error:.2g}, "
            f"allowed {tolerance:g}): "
            + (culprit or "the model has state or randomness at inference")
        )
    return error


def _difference(outputs: Array, logits: Array, meant: Outputs) -> float:
    """Return how far a model's outputs are from what its logits make of them."""
    chances = probabilities(logits, meant.activation, meant.blocks)
    stripped = meant.removed != "linear" and chances is not None
    expected = (
        [logits]
        if not stripped or chances is None
        else [chances, np.log(np.maximum(chances, 1e-30))]
    )
    if outputs.shape[1] == 1 < logits.shape[1]:
        expected = [answer[:, 1:] for answer in expected]
    scale = max(1.0, float(np.abs(outputs).max()))
    return min(float(np.abs(outputs - answer).max()) / scale for answer in expected)


def check_cam(maps: Array, logits: Array, weights: Array) -> str:
    """Return "" if logits minus pooled maps times weights is one constant per class, or why not."""
    rest = logits - maps.mean(axis=(1, 2)) @ weights
    spread = float(np.ptp(rest, axis=0).max()) if len(rest) > 1 else 0.0
    scale = max(1.0, float(np.abs(rest).max()))
    return "" if spread <= 1e-3 * scale else "the head is not linear in the pooled feature maps"


def _numpy(tensor: Any) -> Array:
    return np.asarray(ops.convert_to_numpy(tensor), np.float32)
