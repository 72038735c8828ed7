"""Cut a Keras model in two: the conv submodel up to a layer's feature maps, and the head after it.

The cut is what makes a fast worker: only the small head is differentiated, the conv submodel is
plain inference. The head ends in logits: a final softmax or sigmoid is taken off, because its
gradients vanish for confident answers (Grad-CAM is defined on the score before it).
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from camfleet.errors import LayerRefused, MethodRefused, ModelRefused
from camfleet_worker.graph import FlatGraph, Step, activation_name, as_inputs, flatten

TOLERANCE = 1e-4
HALF_TOLERANCE = 1e-2  # for models that compute in float16 or bfloat16

Array: TypeAlias = NDArray[np.float32]
Activation: TypeAlias = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True)
class Candidate:
    """A layer that the model can be cut at."""

    path: str
    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class Split:
    """A model cut in two.

    `conv` maps images (B, H, W, C) to feature maps (B, h, w, K); `head` maps those to logits
    (B, classes). A single-unit sigmoid head counts as two classes with the logits -z and z.
    `cam_weights` is (K, classes) where CAM's closed form holds, else `cam_reason` says why not.
    """

    conv: Any
    head: Any
    layer: Candidate
    candidates: tuple[Candidate, ...]
    activation: Activation
    classes: int
    head_layers: tuple[str, ...]
    cam_weights: Array | None
    cam_reason: str
    error: float

    def require_cam(self) -> Array:
        """Return CAM's class weights; raise `MethodRefused` with the reason."""
        if self.cam_weights is None:
            raise MethodRefused(f"method cam does not hold here: {self.cam_reason}; use gradcam")
        return self.cam_weights


def split(
    model: Any, shape: tuple[int, int, int], layer: str, activation: str, probe: Array
) -> Split:
    """Cut `model` at `layer` ("auto" or a path) and verify the two parts against the whole.

    `shape` is (H, W, C) of the image input, `activation` "auto" or what the outputs mean,
    `probe` (B, H, W, C) float32 a batch to compare on. Raises `ModelRefused` or `LayerRefused`.
    """
    _check_signature(model, shape)
    graph, found = _without_activation(flatten(model, shape))
    meaning = _meaning(activation, found, int(graph.output.shape[-1]))
    candidates = _candidates(graph)
    step = _choose(graph, candidates, layer)
    conv = keras.Model(graph.image, step.output)
    maps = keras.Input(step.output.shape[1:], dtype=step.output.dtype, name="feature_maps")
    head = keras.Model(maps, _class_logits(graph.replay(step.output, maps), meaning))
    tolerance = HALF_TOLERANCE if graph.half else TOLERANCE
    error = _verify(model, conv, head, meaning, probe, tolerance)
    steps, _ = graph.head(step.output)
    weights, reason = _cam_weights(steps, step, meaning)
    if weights is not None:
        reason = _check_cam(conv, head, weights, probe)
    return Split(
        conv=conv,
        head=head,
        layer=_candidate(step),
        candidates=tuple(_candidate(each) for each in candidates),
        activation=meaning,
        classes=int(head.output.shape[-1]),
        head_layers=tuple(f"{each.path} ({each.kind})" for each in steps),
        cam_weights=None if reason else weights,
        cam_reason=reason,
        error=error,
    )


def probabilities(logits: Array, activation: Activation) -> Array | None:
    """Return (B, classes) probabilities of (B, classes) logits; None where they mean none."""
    wide = logits.astype(np.float64)
    if activation == "softmax":
        shifted = np.exp(wide - wide.max(axis=-1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)
    if activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(0.5 * wide)), np.float32)
    return None


def _check_signature(model: Any, shape: tuple[int, int, int]) -> None:
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise ModelRefused(
            "the model has no defined input and output (a subclassed or unbuilt model): build it "
            "with the functional API or as a Sequential with an Input and load the weights into it"
        )
    for what, tensors in (("inputs", inputs), ("outputs", outputs)):
        if len(tensors) != 1:
            names = ", ".join(f"{each.name} {tuple(each.shape)}" for each in tensors)
            raise ModelRefused(
                f"the model has {len(tensors)} {what} ({names}); one is needed: save a "
                "keras.Model with the single image input and the output to explain"
            )
    expected = tuple(inputs[0].shape[1:])
    fits = len(expected) == 3 and all(
        mine in (None, yours) for mine, yours in zip(expected, shape, strict=True)
    )
    if not fits:
        raise ModelRefused(
            f"the model's input is {expected} (height, width, channels), the card says {shape}: "
            "correct input.height, input.width or input.color in the card"
        )


def _without_activation(graph: FlatGraph) -> tuple[FlatGraph, str]:
    """Return the graph up to the logits, and the name of the softmax or sigmoid taken off."""
    tensor = graph.output
    while True:
        step = graph.producer(tensor)
        if step is None:
            raise ModelRefused("the model's output is its input: there is nothing to explain")
        name = activation_name(step.operation)
        if name in ("softmax", "log_softmax", "sigmoid"):
            return _ending_before(step, graph), name.removeprefix("log_")
        if not (step.idle or step.kind in ("Flatten", "Reshape", "Cast")):
            return graph, "linear"
        tensor = step.inputs[0]


def _ending_before(step: Step, graph: FlatGraph) -> FlatGraph:
    """Return the graph ending in what `step`, an activation or a layer with one, applies it to."""
    steps = graph.steps[: graph.steps.index(step)]
    if not getattr(step.operation, "weights", None):
        return FlatGraph(graph.image, steps, step.inputs[0])
    layer = step.operation
    config = {**layer.get_config(), "activation": "linear", "name": f"{layer.name}_logits"}
    twin = type(layer).from_config(config)
    output = twin(*step.args, **step.kwargs)
    twin.set_weights(layer.get_weights())
    linear = Step(step.path, twin, step.args, step.kwargs, output)
    return FlatGraph(graph.image, (*steps, linear), output)


def _meaning(wanted: str, found: str, units: int) -> Activation:
    if wanted != "auto":
        return wanted  # type: ignore[return-value]  # the card's field has these values only
    if found != "linear":
        return found  # type: ignore[return-value]  # as `_logits` names them
    return "softmax" if units > 1 else "none"


def _class_logits(logits: Any, meaning: Activation) -> Any:
    """Return `logits` as (B, classes) float32."""
    if any(size not in (None, 1) for size in logits.shape[1:-1]):
        raise ModelRefused(
            f"the model's output has shape {tuple(logits.shape)}: only classifiers with one score "
            "per class and image can be explained"
        )
    rows = ops.cast(ops.reshape(logits, (-1, logits.shape[-1])), "float32")
    if meaning == "sigmoid" and logits.shape[-1] == 1:
        return ops.concatenate([-rows, rows], axis=-1)
    return rows


def _candidates(graph: FlatGraph) -> list[Step]:
    """Return the steps with a spatial output that all of the image's paths run through."""
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
    named = next((step for step in graph.steps if step.path == layer), None)
    if named is None:
        raise LayerRefused(f"the model has no layer {layer!r}; the last usable ones are {last}")
    if not _is_grid(named.output):
        raise LayerRefused(
            f"layer {layer!r} has output {tuple(named.output.shape)}, not a grid of feature maps; "
            f"the last usable ones are {last}"
        )
    raise LayerRefused(
        f"the model can't be cut at {layer!r}: other paths run past it; the last usable layers "
        f"are {last}"
    )


def _candidate(step: Step) -> Candidate:
    _, height, width, channels = step.output.shape
    return Candidate(step.path, int(height), int(width), int(channels))


def _cam_weights(steps: list[Step], start: Step, meaning: Activation) -> tuple[Array | None, str]:
    """Return CAM's (K, classes) weights, or None and the reason there are none."""
    acting = [each for each in steps if not each.idle and each.kind not in ("Flatten", "Reshape")]
    names = ", ".join(each.kind for each in acting) or "nothing"
    refusal = f"it needs global average pooling and at most one dense layer, not {names}"
    if not acting or not _is_global_average(acting[0], start):
        return None, refusal
    channels = int(start.output.shape[-1])
    if len(acting) == 1:
        weights = np.eye(channels, dtype=np.float32)
    elif len(acting) == 2 and acting[1].kind in ("Dense", "Conv2D"):
        weights = np.asarray(acting[1].operation.kernel, np.float32).reshape(channels, -1)
    else:
        return None, refusal
    if meaning == "sigmoid" and weights.shape[1] == 1:
        weights = np.concatenate([-weights, weights], axis=1)
    return weights, ""


def _is_global_average(pooling: Step, step: Step) -> bool:
    if pooling.kind == "GlobalAveragePooling2D":
        return True
    grid = tuple(step.output.shape[1:3])
    return pooling.kind == "AveragePooling2D" and tuple(pooling.operation.pool_size) == grid


def _verify(
    model: Any, conv: Any, head: Any, meaning: Activation, probe: Array, tolerance: float
) -> float:
    """Return the largest difference between the whole model and its two parts, or refuse."""
    whole = _numpy(model(as_inputs(model, probe), training=False)).reshape(len(probe), -1)
    logits = _numpy(head(conv(probe, training=False), training=False))
    if not np.isfinite(whole).all():
        raise ModelRefused("the model answers NaN or infinity for a probe image of random pixels")
    candidates = [logits, probabilities(logits, meaning)]
    if whole.shape[1] == 1 < logits.shape[1]:
        candidates = [None if each is None else each[:, 1:] for each in candidates]
    errors = [
        float(np.abs(whole - each).max() / max(1.0, float(np.abs(whole).max())))
        for each in candidates
        if each is not None and each.shape == whole.shape
    ]
    error = min(errors, default=np.inf)
    if not error <= tolerance:
        raise ModelRefused(
            f"the two parts do not compute what the whole model does (difference {error:.2g}, "
            f"allowed {tolerance:g}): the model has state or randomness at inference, or its "
            "card's `activation` is not what the model ends in"
        )
    return error


def _check_cam(conv: Any, head: Any, weights: Array, probe: Array) -> str:
    """Return "" if logits minus pooled maps times weights is one constant per class."""
    maps = conv(probe, training=False)
    pooled = _numpy(maps).mean(axis=(1, 2))
    rest = _numpy(head(maps, training=False)) - pooled @ weights
    spread = float(np.ptp(rest, axis=0).max()) if len(rest) > 1 else 0.0
    scale = max(1.0, float(np.abs(rest).max()))
    return "" if spread <= 1e-3 * scale else "the head is not linear in the pooled feature maps"


def _numpy(tensor: Any) -> Array:
    return np.asarray(ops.convert_to_numpy(tensor), np.float32)
