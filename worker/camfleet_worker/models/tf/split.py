"""Cut a Keras model in two: the conv submodel up to a layer's feature maps, and the head after it.

The cut is what makes a fast worker: only the small head is differentiated, the conv submodel is
plain inference. The head ends in logits: a final softmax or sigmoid is taken off, because its
gradients vanish for confident answers (Grad-CAM is defined on the score before it).
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from camfleet.errors import LayerRefused, ModelRefused
from camfleet_worker.arrays import Array
from camfleet_worker.models.split import (
    HALF_TOLERANCE,
    TOLERANCE,
    Activation,
    Candidate,
    Split,
    Trial,
    probabilities,
)
from camfleet_worker.models.tf import heads
from camfleet_worker.models.tf.functions import nbytes
from camfleet_worker.models.tf.graph import FlatGraph, Step, flatten, packed
from camfleet_worker.models.tf.signature import Signature, choose, extras_of, joined


def split(model: Any, signature: Signature, layer: str, activation: str, probe: Array) -> Split:
    """Cut `model` at `layer` ("auto" or a path) and verify the two parts against the whole.

    `activation` is "auto" or what the outputs mean, `probe` (B, H, W, C) float32 a batch to
    compare on. Raises `ModelRefused` or `LayerRefused`.
    """
    image, output = choose(model, signature)
    graph, ending = heads.without_activation(flatten(model, image, signature.shape, output))
    extras = extras_of(graph, signature.defaults)
    kind = heads.meaning(activation, ending, int(graph.output.shape[-1]))
    candidates = _candidates(graph)
    step = _choose(graph, candidates, layer)
    conv, head = _submodels(graph, step, kind)
    given = {each.name: each.trial(len(probe)) for each in extras}
    inputs = {
        image: ops.convert_to_tensor(probe, dtype=graph.image.dtype),
        **{each.name: ops.convert_to_tensor(given[each.name], dtype=each.dtype) for each in extras},
    }
    whole, maps, logits = _answers(model, output, conv, head, inputs)
    if activation == "auto" and ending == "linear" and _are_probabilities(whole):
        kind = "given"
    tolerance = HALF_TOLERANCE if graph.half else TOLERANCE
    error = _verify(whole, logits, kind, tolerance)
    steps, _ = graph.head(step.output)
    weights, reason = heads.cam_weights(steps, step, kind)
    if weights is not None:
        reason = _check_cam(maps, logits, weights)
    return Split(
        conv=conv,
        head=head,
        extras=extras,
        layer=_candidate(step),
        candidates=tuple(_candidate(each) for each in candidates),
        ending=ending,
        activation=kind,
        classes=int(head.output.shape[-1]),
        head_layers=tuple(f"{each.path} ({each.kind})" for each in steps),
        cam_weights=None if reason else weights,
        cam_reason=reason,
        error=error,
        tolerance=tolerance,
        trial=Trial(probe, tuple(given.values()), maps, logits),
        conv_bytes=nbytes([conv]),
        head_bytes=nbytes([head]),
    )


def _submodels(graph: FlatGraph, step: Step, kind: Activation) -> tuple[Any, Any]:
    """Return the conv and the head submodel, which share the whole model's weights."""
    maps = keras.Input(step.output.shape[1:], dtype=step.output.dtype, name="feature_maps")
    again = {
        name: keras.Input(each.shape[1:], dtype=each.dtype, name=f"{name}_again")
        for name, each in graph.extras.items()
    }
    logits = heads.class_logits(graph.replay(step.output, maps, again), kind)
    conv = keras.Model(joined(graph.image, graph.extras.values()), step.output)
    return conv, keras.Model(joined(maps, again.values()), logits)


def _candidates(graph: FlatGraph) -> list[Step]:
    """Return the steps with a spatial output that all of the image's paths run through."""
    for step in graph.steps:
        if getattr(step.operation, "data_format", "") == "channels_first":
            raise ModelRefused(
                f"layer {step.path!r} has data_format channels_first: build the model with "
                "channels_last and load the weights into it"
            )
    spatial = [
        step
        for step in graph.steps
        if _is_grid(step.output) and not step.idle and graph.head(step.output)[1]
    ]
    if not spatial:
        raise ModelRefused(
            "the model has no layer with a spatial output (batch, height, width, channels) that "
            "all of its paths run through: a class activation map needs one"
        )
    return spatial


def _is_grid(output: Any) -> bool:
    shape = getattr(output, "shape", ())
    return len(shape) == 4 and None not in shape[1:] and min(shape[1:3]) > 1


def _choose(graph: FlatGraph, candidates: list[Step], layer: str) -> Step:
    if layer == "auto":
        return candidates[-1]
    for step in candidates:
        if step.path == layer:
            return step
    last = ", ".join(step.path for step in candidates[-5:])
    position = next((each for each, step in enumerate(graph.steps) if step.path == layer), None)
    if position is None:
        raise LayerRefused(f"the model has no layer {layer!r}; the last usable ones are {last}")
    named = graph.steps[position]
    if not _is_grid(named.output):
        raise LayerRefused(
            f"layer {layer!r} has output {tuple(named.output.shape)}, not a grid of feature maps; "
            f"the last usable ones are {last}"
        )
    raise LayerRefused(
        f"the model can't be cut at {layer!r}: other paths run past it; the nearest usable layers "
        f"are {', '.join(_nearest(graph, candidates, position))}"
    )


def _nearest(graph: FlatGraph, candidates: Sequence[Step], position: int) -> list[str]:
    """Return the usable layers next before and after a position."""
    places = [graph.steps.index(each) for each in candidates]
    before = [each for each in places if each < position][-1:]
    after = [each for each in places if each > position][:1]
    return [graph.steps[each].path for each in (*before, *after)]


def _candidate(step: Step) -> Candidate:
    _, height, width, channels = step.output.shape
    return Candidate(step.path, int(height), int(width), int(channels))


def _answers(
    model: Any, output: int, conv: Any, head: Any, inputs: dict[str, Any]
) -> tuple[Array, Array, Array]:
    """Return the explained output (B, units), feature maps and logits for the inputs, by name.

    Row by row, because Keras keeps the outputs of all layers until a call ends.
    """
    rows = []
    for row in range(len(next(iter(inputs.values())))):
        own = {name: each[row : row + 1] for name, each in inputs.items()}
        image, *extras = own.values()
        maps = conv(joined(image, extras), training=False)
        logits = head(joined(maps, extras), training=False)
        outputs = keras.tree.flatten(model(packed(model, own), training=False))
        rows.append((_numpy(outputs[output]).reshape(1, -1), _numpy(maps), _numpy(logits)))
    whole, maps, logits = (np.concatenate(each) for each in zip(*rows, strict=True))
    return whole, maps, logits


def _are_probabilities(whole: Array) -> bool:
    """Say whether outputs that end in no softmax are one's average or product all the same."""
    sums = whole.sum(axis=1)
    return whole.shape[1] > 1 and bool((whole >= 0).all() and np.allclose(sums, 1, atol=1e-3))


def _verify(whole: Array, logits: Array, kind: Activation, tolerance: float) -> float:
    """Return the largest difference between the whole model and its two parts, or refuse."""
    if not np.isfinite(whole).all():
        raise ModelRefused("the model answers NaN or infinity for a probe image of random pixels")
    chances = probabilities(logits, kind)
    answers = [logits]
    if chances is not None:
        answers += [chances, np.log(np.maximum(chances, 1e-30))]
    if whole.shape[1] == 1 < logits.shape[1]:
        answers = [each[:, 1:] for each in answers]
    scale = max(1.0, float(np.abs(whole).max()))
    errors = [
        float(np.abs(whole - each).max()) / scale for each in answers if each.shape == whole.shape
    ]
    error = min(errors, default=np.inf)
    if not error <= tolerance:
        raise ModelRefused(
            f"the two parts do not compute what the whole model does (difference {error:.2g}, "
            f"allowed {tolerance:g}): the model has state or randomness at inference, or its "
            "card's `activation` is not what the model ends in"
        )
    return error


def _check_cam(maps: Array, logits: Array, weights: Array) -> str:
    """Return "" if logits minus pooled maps times weights is one constant per class."""
    rest = logits - maps.mean(axis=(1, 2)) @ weights
    spread = float(np.ptp(rest, axis=0).max()) if len(rest) > 1 else 0.0
    scale = max(1.0, float(np.abs(rest).max()))
    return "" if spread <= 1e-3 * scale else "the head is not linear in the pooled feature maps"


def _numpy(tensor: Any) -> Array:
    return np.asarray(ops.convert_to_numpy(tensor), np.float32)
