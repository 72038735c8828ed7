"""Where the cells of a tensor lie in the model's input image: followed through every operation.

A place is a pair of fields as large as the tensor (without batch): the row and the column, in
pixels of the input, of what each value is about. Operations that move values about (crops, pads,
slices, flips, transposes, reshapes, resizes) are run on these fields themselves; convolutions and
poolings move them by their kernel, stride and padding; what works value by value, or over
channels, leaves them as they are. Whatever mixes places otherwise, or isn't known, loses them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import ops, tree

from camfleet_worker.arrays import Array
from camfleet_worker.models.placement import Axis, Placement
from camfleet_worker.models.tf.activations import is_own
from camfleet_worker.models.tf.fields import (
    Fields,
    agree,
    axes,
    constant_over_channels,
    middle,
    without_empty_channels,
)
from camfleet_worker.models.tf.flat_graph import FlatGraph, Step
from camfleet_worker.models.tf.place_kinds import (
    MIXES_CHANNELS,
    MOVES,
    REDUCES,
    STAYS,
    VALUE_BY_VALUE,
    WRAPS,
)
from camfleet_worker.models.tf.windows import WINDOWS

_INSIDE = 0.999  # what's less was mixed with padding


@dataclass(frozen=True)
class Places:
    """The places of all tensors of a graph that have any.

    `lost` are the steps after which they no longer run along the rows and columns of a grid.
    """

    by_tensor: dict[int, Fields]
    lost: tuple[Step, ...]

    def of(self, tensor: Any) -> Fields | None:
        return self.by_tensor.get(id(tensor))

    def placement(self, tensor: Any) -> Placement | None:
        """Return where a (B, h, w, K) tensor's grid lies in the image; None if it's no grid."""
        fields = self.of(tensor)
        shape = tuple(getattr(tensor, "shape", ()))
        if fields is None or len(shape) != 4 or None in shape[1:] or max(shape[1:3]) < 2:
            return None
        return _placement(fields)


def follow(graph: FlatGraph) -> Places:
    """Return the places of a graph's tensors, starting at its image."""
    height, width, channels = graph.image.shape[1:]
    rows: Array = np.arange(0.5, height, dtype=np.float32)[:, None, None]
    columns: Array = np.arange(0.5, width, dtype=np.float32)[None, :, None]
    shape = (height, width, channels)
    inside: Array = np.ones((1, 1, 1), np.float32)
    parts: tuple[Array, ...] = tuple(
        np.broadcast_to(part, shape) for part in (rows, columns, inside)
    )
    start = Fields(parts, (0.0, float(height), 0.0, float(width)))
    known: dict[int, Fields] = {id(graph.image): start}
    lost = []
    for step in graph.steps:
        before = [known[id(tensor)] for tensor in step.inputs if id(tensor) in known]
        if not before:
            continue
        made = _after(step, before, known)
        for tensor, fields in zip(step.outputs, made, strict=True):
            if fields is not None:
                known[id(tensor)] = fields
        if any(map(axes, before)) and not any(fields and axes(fields) for fields in made):
            lost.append(step)
    return Places(known, tuple(lost))


def _after(step: Step, before: list[Fields], known: dict[int, Fields]) -> Sequence[Fields | None]:
    """Return the fields of a step's outputs, None for each that has lost its places."""
    operation = step.operation
    kind = _kind(operation)
    if kind in WRAPS and hasattr(operation, "layer"):
        operation = operation.layer
        kind = _kind(operation)
    nothing = [None] * len(step.outputs)
    if kind in MOVES and not _joins_channels(step, kind):
        return _moved(step, known) or nothing
    if len(step.outputs) != 1 or None in step.outputs[0].shape[1:]:
        return nothing
    made = _after_one(step, kind, operation, before, known)
    activation = getattr(operation, "activation", None)
    if made is not None and activation is not None and not is_own(activation):
        made = replace(made, assumed=(*made.assumed, step.path))
    return [made]


def _kind(operation: Any) -> str:
    """Return the name of an operation's class, or of Keras' class of which it has the `call`.

    "" where it computes something of its own.
    """
    own: Any = type(operation)
    keras_class = next((base for base in own.__mro__ if is_own(base)), None)
    if keras_class is None or keras_class.call is not own.call:
        return ""
    return str(keras_class.__name__)


def _after_one(
    step: Step, kind: str, operation: Any, before: list[Fields], known: dict[int, Fields]
) -> Fields | None:
    """Return the fields of the only output of a step that doesn't just move values about."""
    shape = tuple(step.output.shape[1:])
    if kind in WINDOWS:
        return WINDOWS[kind](before[0], operation, shape)
    if kind in MIXES_CHANNELS and not constant_over_channels(before[0]):
        return None
    if kind in REDUCES:
        return _reduced(before[0], operation.axis, shape)
    if kind in STAYS | VALUE_BY_VALUE | MOVES:
        return _merged(step, shape, known)
    return _assumed(step, before, shape)


def _joins_channels(step: Step, kind: str) -> bool:
    """Return whether a step puts the channels of several tensors side by side."""
    rank = len(step.inputs[0].shape)
    return kind == "Concatenate" and step.operation.axis in (-1, rank - 1)


def _moved(step: Step, known: dict[int, Fields]) -> list[Fields | None]:
    """Return the fields that an operation makes of its inputs' own fields; none where it fails."""
    if any(id(tensor) not in known and _spreads(tensor.shape[1:]) for tensor in step.inputs):
        return []  # values from elsewhere, in an order that nobody knows
    padding = _run(step, known, lambda fields: np.zeros_like(fields.inside))
    if padding is None:
        return []
    results = []
    for part in (
        lambda fields: fields.rows * fields.inside,
        lambda fields: fields.columns * fields.inside,
        lambda fields: fields.inside,
    ):
        made = _run(step, known, part)
        if made is None:
            return []
        results.append([found - value for found, value in zip(made, padding, strict=True)])
    assumed = _assumptions(known, step.inputs)
    outputs: list[Fields | None] = []
    for rows, columns, inside in zip(*results, strict=True):
        whole = inside > _INSIDE
        if not whole.any():
            outputs.append(None)
            continue
        seen = _seen(step, known, rows[whole], columns[whole])
        parts = (rows, columns, whole.astype(np.float32))
        outputs.append(Fields(without_empty_channels(parts), seen, assumed))
    return outputs


def _run(
    step: Step, known: dict[int, Fields], part: Callable[[Fields], Array]
) -> list[Array] | None:
    """Run an operation on one part of its inputs' fields; a tensor without any is all padding."""

    def swap(value: Any) -> Any:
        if not hasattr(value, "shape") or not hasattr(value, "dtype"):
            return value
        fields = known.get(id(value))
        if fields is None:
            if type(value).__name__ != "KerasTensor":
                return value
            return ops.zeros((1, *value.shape[1:]), "float32")
        return ops.convert_to_tensor(np.ascontiguousarray(part(fields))[None], "float32")

    args, kwargs = tree.map_structure(swap, (step.args, step.kwargs))
    try:
        outputs = tree.flatten(step.operation(*args, **kwargs))
        found = [np.asarray(ops.convert_to_numpy(output), np.float32) for output in outputs]
        whole = all(len(values) == 1 for values in found)  # and not parts that became a batch
        return [values[0] for values in found] if whole else None
    except Exception:  # noqa: BLE001  # whatever an operation raises on other numbers than its own
        return None


def _seen(
    step: Step, known: dict[int, Fields], rows: Array, columns: Array
) -> tuple[float, float, float, float]:
    """Return the part of the image that is left after its values were moved about."""
    before = next(known[id(tensor)] for tensor in step.inputs if id(tensor) in known)
    lines = axes(before) if before.rows.ndim == 3 else None  # height, width, channels
    cells = [abs(line.step) / 2 for line in lines] if lines else [0.5, 0.5]
    top, bottom, left, right = before.seen
    return (
        max(top, float(rows.min()) - cells[0]),
        min(bottom, float(rows.max()) + cells[0]),
        max(left, float(columns.min()) - cells[1]),
        min(right, float(columns.max()) + cells[1]),
    )


def _merged(step: Step, shape: tuple[int, ...], known: dict[int, Fields]) -> Fields | None:
    """Return the places on which all inputs of a step agree, broadcast to its output."""
    found = []
    for tensor in step.inputs:
        fields, own = known.get(id(tensor)), tuple(tensor.shape[1:])
        if fields is None or len(own) != len(shape) or own[:-1] != shape[:-1]:
            if _spreads(own[max(0, len(own) - len(shape)) :]):
                return None  # values from elsewhere, in an order that nobody knows
            continue
        if own[-1] != shape[-1]:
            if not constant_over_channels(fields):
                return None
            fields = fields.of_shape(shape)
        found.append(fields)
    if not found or not all(agree(found[0], fields) for fields in found[1:]):
        return None
    parts = found[0].parts
    if len(found) > 1:
        parts = middle(found)
    return Fields(parts, found[0].seen, _assumptions(known, step.inputs))


def _spreads(own: Sequence[int]) -> bool:
    """Return whether a shape has more than one value along an axis other than the channels."""
    return any(size != 1 for size in own[:-1])


def _reduced(before: Fields, axis: Any, shape: tuple[int, ...]) -> Fields | None:
    """Return the places after a mean, maximum or the like over channels, and nothing else."""
    rank = before.rows.ndim + 1
    listed = axis if isinstance(axis, (list, tuple)) else (axis,)
    if any(number is None or number % rank != rank - 1 for number in listed):
        return None
    if not constant_over_channels(before):
        return None
    if len(shape) == rank - 1:
        return before.of_shape(shape)
    parts = tuple(part[..., 0] for part in before.parts)
    return Fields(parts, before.seen, before.assumed)


def _assumed(step: Step, before: list[Fields], shape: tuple[int, ...]) -> Fields | None:
    """Return the same places after a user's own layer or function that leaves the grid's size."""
    fields = before[0]
    own = _kind(step.operation) != "" and ".applications." not in type(step.operation).__module__
    if (
        (own and _kind(step.operation) != "Lambda")
        or len(before) != 1
        or fields.rows.shape[:-1] != shape[:-1]
        or len(shape) != 3
    ):
        return None
    if not constant_over_channels(fields):
        return None
    kept = fields.of_shape(shape)
    return Fields(kept.parts, kept.seen, (*fields.assumed, step.path))


def _placement(fields: Fields) -> Placement | None:
    lines = axes(fields)
    if lines is None:
        return None
    rows, columns = (
        Axis(line.start, line.step, line.count, *fields.seen[2 * place : 2 * place + 2])
        for place, line in enumerate(lines)
    )
    return Placement(rows, columns, transposed=lines[0].axis == 1, assumed=fields.assumed)


def _assumptions(known: dict[int, Fields], tensors: Sequence[Any]) -> tuple[str, ...]:
    found = (
        path for tensor in tensors if id(tensor) in known for path in known[id(tensor)].assumed
    )
    return tuple(dict.fromkeys(found))
