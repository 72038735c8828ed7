"""What is known of a Keras model before it is cut: its flat graph, its ending and the layer to cut.

Raises `ModelRefused` for a model that can't be explained, `LayerRefused` for a layer that can't be
cut at, with the layers that can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camfleet.errors import LayerRefused, ModelRefused
from camfleet_worker.models import memory
from camfleet_worker.models.memory import Most
from camfleet_worker.models.placement import Placement
from camfleet_worker.models.split import (
    HALF_TOLERANCE,
    TOLERANCE,
    Candidate,
    Extra,
)
from camfleet_worker.models.tf import blame
from camfleet_worker.models.tf.endings import Ending, find_ending
from camfleet_worker.models.tf.flat_graph import FlatGraph, Step, flatten
from camfleet_worker.models.tf.places import Places, follow
from camfleet_worker.models.tf.signature import Signature, choose_ends, extras_of

_TOGETHER = 2  # images that are run at once, to see whether one's answer depends on the other


@dataclass(frozen=True)
class Description:
    """How to cut a model: `graph` runs from the input `image` to the logits, and is cut at `step`.

    `output` is the index of the model's output to explain, `ending` how the model ends.
    """

    image: str
    output: int
    ending: Ending
    extras: tuple[Extra, ...]
    candidates: list[Step]
    step: Step
    placement: Placement

    @property
    def graph(self) -> FlatGraph:
        return self.ending.graph

    @property
    def tolerance(self) -> float:
        """Return how far the parts' answers may differ from the whole model's."""
        return HALF_TOLERANCE if self.graph.half else TOLERANCE


def describe(
    model: Any,
    signature: Signature,
    layer_name: str,
    *,
    keep_ending: bool = False,
    most: Most | None = None,
) -> Description:
    """Return how to cut a model at a layer, "auto" or a path.

    With `keep_ending` no softmax or sigmoid is taken off the model's end. Raises `TooLarge` before
    it's run, where it would take more than `most`.
    """
    image, output = choose_ends(model, signature)
    whole = flatten(model, image, signature.shape, output)
    if most:
        _check_size(whole, most)
    ending = find_ending(whole, keep=keep_ending)
    graph = ending.graph
    extras = extras_of(graph, signature.defaults)
    places = follow(graph)
    candidates = _candidates(graph, places)
    step = _choose_layer(graph, candidates, places, layer_name)
    placement = places.placement(step.output)
    assert placement is not None  # as of every candidate
    return Description(
        image=image,
        output=output,
        ending=ending,
        extras=extras,
        candidates=candidates,
        step=step,
        placement=placement,
    )


def _check_size(graph: FlatGraph, most: Most) -> None:
    """Raise `TooLarge` if the outputs take more than `most`; Keras keeps all until the end."""
    largest = max(graph.steps, key=lambda step: step.nbytes, default=None)
    if largest:
        where = f" ({largest.nbytes:,} of them in layer {largest.path!r}, a {largest.kind})"
        memory.check(_TOGETHER * graph.image_bytes, most, where)


def candidate(step: Step) -> Candidate:
    _, height, width, channels = step.output.shape
    return Candidate(step.path, int(height), int(width), int(channels))


def _candidates(graph: FlatGraph, places: Places) -> list[Step]:
    """Return the steps whose output is a grid of the picture that all of its paths run through."""
    for step in graph.steps:
        if getattr(step.operation, "data_format", "") == "channels_first":
            raise ModelRefused(
                f"layer {step.path!r} has data_format channels_first: build the model with "
                "channels_last and load the weights into it"
            )
    spatial = [
        step
        for step in graph.steps
        if not step.idle and places.placement(step.output) and graph.head(step.output)[1]
    ]
    if not spatial:
        raise ModelRefused(
            "the model has no layer with a spatial output (batch, height, width, channels) that "
            "all of its paths run through and whose cells are places in the picture: a class "
            f"activation map needs one{_culprit(graph) or _losses(places)}"
        )
    return spatial


def _culprit(graph: FlatGraph) -> str:
    """Return which layer doesn't do at inference what it says, for a refusal."""
    found = blame.find(graph, np.zeros((1, *graph.image.shape[1:]), np.float32))
    return f"; {found}" if found else ""


def _losses(places: Places) -> str:
    """Return which layers lose the picture's places, for a refusal."""
    named = [f"{step.path!r} ({step.kind})" for step in places.lost[:3]]
    return f"; the places are lost in {', '.join(named)}" if named else ""


def _choose_layer(
    graph: FlatGraph, candidates: list[Step], places: Places, layer_name: str
) -> Step:
    if layer_name == "auto":
        return candidates[-1]
    for step in candidates:
        if step.path == layer_name:
            return step
    raise LayerRefused(_refusal(graph, candidates, places, layer_name))


def _refusal(graph: FlatGraph, candidates: list[Step], places: Places, layer_name: str) -> str:
    """Return why a model can't be cut at a layer, and where it can."""
    last = ", ".join(step.path for step in candidates[-5:])
    paths = [step.path for step in graph.steps]
    if layer_name not in paths:
        return f"the model has no layer {layer_name!r}; the last usable ones are {last}"
    position = paths.index(layer_name)
    output = graph.steps[position].output
    shape = tuple(getattr(output, "shape", ()))
    if places.placement(output) is None:
        odd = ""
        if len(shape) == 4:  # batch, height, width, channels
            odd = f": its cells aren't places in the picture{_losses(places)}"
        return (
            f"layer {layer_name!r} has output {shape}, not a grid of feature maps{odd}; the last "
            f"usable ones are {last}"
        )
    return (
        f"the model can't be cut at {layer_name!r}: other paths run past it; the nearest usable "
        f"layers are {', '.join(_nearest(graph, candidates, position))}"
    )


def _nearest(graph: FlatGraph, candidates: Sequence[Step], position: int) -> list[str]:
    """Return the paths of the usable layers just before and just after a position."""
    usable = [graph.steps.index(step) for step in candidates]
    before = [index for index in usable if index < position][-1:]
    after = [index for index in usable if index > position][:1]
    return [graph.steps[index].path for index in (*before, *after)]
