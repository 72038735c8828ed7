"""Cut a Keras model in two: the conv submodel up to a layer's feature maps, and the head after it.

The cut is what makes a worker fast: only the small head is differentiated, and the conv submodel
runs inference alone. The head ends in logits: a final softmax or sigmoid is removed, because its
gradients vanish for confident answers (Grad-CAM is defined on the score before it).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import keras

from camfleet_worker.arrays import Array
from camfleet_worker.models.memory import Most
from camfleet_worker.models.reasons import refusing
from camfleet_worker.models.split import Activation, Costs, Outputs, Split, Trial
from camfleet_worker.models.tf import blame, heads, meaning, slope, verify
from camfleet_worker.models.tf.describe import Description, candidate, describe
from camfleet_worker.models.tf.flat_graph import FlatGraph, Step
from camfleet_worker.models.tf.signature import Signature, pack_inputs
from camfleet_worker.models.tf.weights import nbytes

_GRADIENT = 3  # times what the head's outputs take: they're kept, and theirs come on top
_MAPS = "feature_maps"  # the head's first input


def cut_model(
    model: Any,
    signature: Signature,
    layer_name: str,
    activation: str,
    probe: Array,
    *,
    most: Most | None = None,
    measured: bool = False,
) -> Split:
    """Cut `model` at a layer ("auto" or a path) and verify the two parts against the whole.

    `activation` is "auto" or what the outputs mean, `probe` (B, H, W, C) float32 a batch to
    compare on. Raises `ModelRefused` or `LayerRefused`, and `TooLarge` before it takes more memory
    than `most`. What it takes is `measured` only in a process that does nothing else.
    """
    with refusing("the model can't be cut"):
        description = describe(
            model,
            signature,
            layer_name,
            keep_ending=meaning.keeps_ending(activation),
            most=most,
        )
    with refusing("the model can't be cut", partial(blame.find, description.graph, probe)):
        return _cut(model, description, activation, probe, measured=measured)


def _cut(
    model: Any, description: Description, activation: str, probe: Array, *, measured: bool
) -> Split:
    answers = verify.answers(model, description, probe)
    outputs = meaning.decide(description.ending, activation, answers)
    conv, head = _submodels(description, outputs.activation)
    trial, taken = verify.run(description, conv, head, probe, measured=measured)
    verify.check_placement(conv, description, probe[0])
    error = verify.check_parts(answers, trial, outputs, description)
    split = _split(description, conv, head, trial, outputs, error)
    return replace(split, costs=_costs(description, taken))


def _costs(description: Description, taken: int) -> Costs:
    """Return what one image takes: as measured, and at least what all outputs take."""
    graph = description.graph
    forward = max(taken, graph.image_bytes)
    steps, _ = graph.head(description.step.output)
    # What layers take within may all be the head's.
    head = sum(step.nbytes for step in steps) + forward - graph.image_bytes
    return Costs(forward, _GRADIENT * head)


def _submodels(description: Description, activation: Activation) -> tuple[Any, Any]:
    """Return the conv and the head submodel, which share the whole model's weights."""
    graph, cut_output = description.graph, description.step.output
    with _distinct_names(graph.steps):
        return _build(graph, cut_output, activation)


def _build(graph: FlatGraph, cut_output: Any, activation: Activation) -> tuple[Any, Any]:
    maps = keras.Input(cut_output.shape[1:], dtype=cut_output.dtype, name=_MAPS)
    again = {
        name: keras.Input(extra.shape[1:], dtype=extra.dtype, name=_again(name))
        for name, extra in graph.extras.items()
    }
    logits = heads.class_logits(graph.replay(cut_output, maps, again), activation)
    conv = keras.Model(pack_inputs(graph.image, graph.extras.values()), cut_output)
    return conv, keras.Model(pack_inputs(maps, again.values()), logits)


def _again(name: str) -> str:
    """Return the name of a further input's copy in the head."""
    return f"{name}_again"


@contextmanager
def _distinct_names(steps: Sequence[Step]) -> Iterator[None]:
    """Give operations names of their own for a while.

    Those of nested models may share one, and Keras may name a new operation as an old one, of a
    model that was loaded, is called.
    """
    own = {id(step.operation): step.operation for step in steps}
    names = {key: operation.name for key, operation in own.items()}
    try:
        for number, operation in enumerate(own.values()):
            operation.name = f"step_{number}_{operation.name}"
        yield
    finally:
        for key, name in names.items():
            own[key].name = name


def _split(
    description: Description,
    conv: Any,
    head: Any,
    trial: Trial,
    outputs: Outputs,
    error: float,
) -> Split:
    steps, _ = description.graph.head(description.step.output)
    weights, reason = heads.cam_weights(steps, description.step, outputs.activation)
    if weights is not None:
        reason = verify.check_cam(trial.activations, trial.logits, weights)
    if weights is None or reason:
        slope.check_gradient(description, head, trial)
    return Split(
        conv=conv,
        head=head,
        extras=description.extras,
        layer=candidate(description.step),
        placement=description.placement,
        candidates=tuple(map(candidate, description.candidates)),
        outputs=outputs,
        classes=int(head.output.shape[-1]),
        head_layers=tuple(f"{step.path} ({step.kind})" for step in steps),
        cam_weights=None if reason else weights,
        cam_reason=reason,
        error=error,
        tolerance=description.tolerance,
        trial=trial,
        conv_bytes=nbytes([conv]),
        head_bytes=nbytes([head]),
    )
