"""The end of a model: the softmaxes and sigmoids that can be taken off it, also through joins.

What is left ends in logits, one for each of the model's outputs. Whole numbers that run through the
joins instead of values show which output comes from where.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from camfleet.errors import ModelRefused
from camfleet_worker.arrays import AnyArray
from camfleet_worker.models.split import Block
from camfleet_worker.models.tf.activations import Bounds, is_own, softmax_axes
from camfleet_worker.models.tf.flat_graph import FlatGraph, Step
from camfleet_worker.models.tf.ranges import Ranges, within
from camfleet_worker.models.tf.removal import Source, take_off

# Puts the values of its inputs side by side or in another order, and changes none.
_CARRIES = {
    *("Cast", "Concatenate", "ExpandDims", "Flatten", "Flip", "GetItem", "Hstack", "Moveaxis"),
    *("Permute", "Ravel", "Reshape", "Slice", "Split", "Squeeze", "Stack", "Swapaxes", "Take"),
    *("Transpose", "Unstack", "Vstack"),
}


@dataclass(frozen=True)
class Ending:
    """How a model ends: its graph up to the logits, and what was taken off to get them.

    `removed` is empty where nothing was; `blocks` says which classes go into which softmax or
    sigmoid. `bounds` are those of the model's own outputs, None where nobody knows; `mixed` says
    that some of them are bounded and others aren't.
    """

    graph: FlatGraph
    whole: FlatGraph
    bounds: Bounds | None
    last: str  # the kind of the operation that the outputs come from
    mixed: bool = False
    removed: str = ""
    blocks: tuple[Block, ...] = ()


def find_ending(graph: FlatGraph, *, keep: bool = False) -> Ending:
    """Return how a model ends, with nothing taken off if it's to `keep` its end.

    Raises `ModelRefused` where it has no score per class and image.
    """
    if graph.producer(graph.output) is None:
        raise ModelRefused("the model's output is its input: there is nothing to explain")
    shape = tuple(graph.output.shape[1:])
    if None in shape or sum(size > 1 for size in shape) > 1:
        raise ModelRefused(
            f"the model's output has shape {tuple(graph.output.shape)}: only classifiers with one "
            "score per class and image can be explained"
        )
    sources, carriers = _walk_back(graph)
    ranges = Ranges(graph)
    plain = Ending(
        graph, graph, ranges.of(graph.output), _last(sources), mixed=_is_mixed(ranges, sources)
    )
    twins: dict[int, Any] = {}
    taken = sources if keep else [take_off(source, twins) for source in sources]
    if not any(source.name for source in taken):
        return plain
    places = _follow(graph, taken, carriers)
    if places is None or len(places) != np.prod(shape, dtype=int):
        return plain
    starts = np.cumsum([0, *(source.size for source in taken)]).tolist()
    taken = [
        _unless_torn(source, first, places) for source, first in zip(taken, starts, strict=False)
    ]
    blocks = _blocks(ranges, list(zip(taken, starts, strict=False)), places)
    if not blocks or not any(source.name for source in taken):
        return plain
    names = dict.fromkeys(source.name for source in taken if source.name)
    return Ending(
        _rebuild(graph, taken, carriers),
        graph,
        plain.bounds,
        plain.last,
        removed=" and ".join(names),
        blocks=tuple(blocks),
    )


def _walk_back(graph: FlatGraph) -> tuple[list[Source], list[Step]]:
    """Return the steps whose values reach the output, and those that only carry them there."""
    sources: dict[int, Source] = {}
    carriers: dict[int, Step] = {}
    todo = [graph.output]
    while todo:
        tensor = todo.pop()
        step = graph.producer(tensor)
        if step is not None and (step.idle or (step.kind in _CARRIES and is_own(step.operation))):
            if id(step) not in carriers:
                carriers[id(step)] = step
                todo.extend(step.inputs)
        else:
            sources.setdefault(id(tensor), Source(tensor, step))
    return list(sources.values()), [step for step in graph.steps if id(step) in carriers]


def _is_mixed(ranges: Ranges, sources: Sequence[Source]) -> bool:
    """Return whether outputs of bounded and of unbounded operations stand side by side."""
    found = [ranges.of(source.tensor) for source in sources]
    return len({bounds is not None and math.isfinite(bounds[1]) for bounds in found}) > 1


def _last(sources: Sequence[Source]) -> str:
    """Return the kinds of the steps that compute the outputs, for a sentence."""
    kinds = dict.fromkeys(source.step.kind if source.step else "the input" for source in sources)
    return ", ".join(kinds)


def _follow(
    graph: FlatGraph, sources: Sequence[Source], carriers: Sequence[Step]
) -> AnyArray | None:
    """Return where each output comes from: the number of its value among those of all sources.

    None where the operations that carry the values can't say.
    """
    made: dict[int, Any] = {}
    first = 0
    for source in sources:
        shape = (1, *source.tensor.shape[1:])
        if None in shape:
            return None
        numbers: AnyArray = np.arange(first, first + source.size, dtype=np.int32).reshape(shape)
        made[id(source.tensor)] = numbers
        first += source.size
    try:
        for step in carriers:
            _run(step, made, lambda values: ops.convert_to_tensor(values, dtype="int32"))
        return np.asarray(ops.convert_to_numpy(made[id(graph.output)]), np.int64).reshape(-1)
    except Exception:  # noqa: BLE001  # whatever an operation raises on whole numbers
        return None


def _run(step: Step, made: dict[int, Any], given: Callable[[Any], Any]) -> None:
    """Run a step on what was made so far, and add what it makes."""
    if step.idle or step.kind == "Cast":
        made[id(step.output)] = made[id(step.inputs[0])]
        return

    def swap(value: Any) -> Any:
        return given(made[id(value)]) if isinstance(value, keras.KerasTensor) else value

    args, kwargs = tree.map_structure(swap, (step.args, step.kwargs))
    results = tree.flatten(step.operation(*args, **kwargs))
    made.update((id(old), new) for old, new in zip(step.outputs, results, strict=True))


def _groups(source: Source, first: int) -> AnyArray:
    """Return the numbers of a softmax's values, a row for each group that sums to 1."""
    shape = (1, *source.tensor.shape[1:])
    numbers: AnyArray = np.arange(first, first + source.size).reshape(shape)
    assert source.step is not None  # as of every softmax
    axes = softmax_axes(source.step.operation, len(shape))
    moved = np.moveaxis(numbers, axes, range(-len(axes), 0))
    return moved.reshape(-1, int(np.prod([shape[axis] for axis in axes])))


def _unless_torn(source: Source, first: int, places: AnyArray) -> Source:
    """Return a source as it is, or as it stands where its softmax isn't among the outputs whole."""
    if source.name in ("", "sigmoid"):
        return source
    counts = np.bincount(places, minlength=first + source.size)
    groups = [group for group in _groups(source, first) if counts[group].any()]
    whole = all((counts[group] == 1).all() for group in groups)
    if not whole or (source.name == "log_softmax" and len(groups[0]) != len(places)):
        return Source(source.tensor, source.step)
    return source


def _blocks(ranges: Ranges, sources: Sequence[tuple[Source, int]], places: AnyArray) -> list[Block]:
    """Return which outputs go into which softmax or sigmoid; none where one is no probability.

    `sources` are given with the number of their first value.
    """
    found: dict[str, list[int]] = {"sigmoid": [], "given": []}
    blocks = []
    index_of = {int(number): index for index, number in enumerate(places)}
    for source, first in sources:
        own = [
            index for index, number in enumerate(places) if first <= number < first + source.size
        ]
        if "softmax" in source.name:
            groups = (group for group in _groups(source, first) if int(group[0]) in index_of)
            blocks += [
                Block("softmax", [index_of[int(number)] for number in group]) for group in groups
            ]
        elif source.name:
            found["sigmoid"] += own
        elif within(ranges.of(source.tensor), (0, 1)):
            found["given"] += own
        else:
            return []
    blocks += [Block(name, sorted(own)) for name, own in found.items() if own]  # type: ignore[arg-type]  # both are
    return sorted(blocks, key=lambda block: block.classes[0])


def _rebuild(graph: FlatGraph, sources: Sequence[Source], carriers: Sequence[Step]) -> FlatGraph:
    """Return a graph that ends in logits: without what was taken off, and carried as before."""
    made = {id(source.tensor): source.logits for source in sources if source.name}
    again = [_repeat(step, made) for step in carriers]
    twins = {id(source.step): source.twin for source in sources if source.name}
    steps: list[Step] = []
    for step in graph.steps:
        steps.append(step)
        if twin := twins.get(id(step)):
            steps.append(twin)
    output = made.get(id(graph.output), graph.output)
    full = FlatGraph(graph.image, graph.extras, (*steps, *again), output)
    needed = {id(step) for step in full.head(graph.image)[0]}
    replaced = {*twins, *map(id, carriers)}
    kept = [step for step in full.steps if id(step) not in replaced or id(step) in needed]
    return FlatGraph(graph.image, graph.extras, tuple(kept), output)


def _repeat(step: Step, made: dict[int, Any]) -> Step:
    """Return a step run on what has been replaced so far, and remember what it makes instead."""

    def swap(value: Any) -> Any:
        return made.get(id(value), value) if isinstance(value, keras.KerasTensor) else value

    args, kwargs = tree.map_structure(swap, (step.args, step.kwargs))
    output = step.operation(*args, **kwargs)
    pairs = zip(step.outputs, tree.flatten(output), strict=True)
    made.update((id(old), new) for old, new in pairs)
    return Step(step.path, step.operation, args, kwargs, output)
