"""A model's inputs and outputs: which is the image, which to explain, what else it needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camfleet.errors import ModelRefused
from camfleet_worker.models.split import Extra
from camfleet_worker.models.tf.flat_graph import FlatGraph

SUBCLASSED = (
    "it is subclassed or was never built; build it with the functional API or as a Sequential with "
    "an Input and load the weights into it"
)
_PICTURE = "a picture (height, width, channels)"


@dataclass(frozen=True)
class Signature:
    """What a card says about a model's inputs and outputs.

    Where a name is null there must be only one: one output, and one input or one of rank 4.
    """

    shape: tuple[int, int, int]  # (H, W, C) of the image
    image: str | None = None
    output: str | None = None
    defaults: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of the other inputs


def choose_ends(model: Any, signature: Signature) -> tuple[str, int]:
    """Return the name of the image input and the index of the output to explain.

    Raises `ModelRefused` where they are ambiguous or don't fit, and says what the model has.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise ModelRefused(f"the model has no defined input and output: {SUBCLASSED}")
    image = picture_of(inputs, signature.image)
    expected = tuple(image.shape[1:])
    if not all(
        mine in (None, yours) for mine, yours in zip(expected, signature.shape, strict=True)
    ):
        raise ModelRefused(
            f"the model's input is {expected} (height, width, channels), the card says "
            f"{signature.shape}: correct input.height, input.width or input.color in the card"
        )
    return image.name, _output(model, signature)


def picture_of(inputs: Sequence[Any], name: str | None = None) -> Any:
    """Return the input that takes the picture: the one named, or the only one that can.

    Raises `ModelRefused` where there's none or more than one.
    """
    there = ", ".join(f"{tensor.name} {tuple(tensor.shape[1:])}" for tensor in inputs)
    if name is not None:
        named = [tensor for tensor in inputs if tensor.name == name]
        if not named:
            raise ModelRefused(f"the model has no input {name!r}; it has {there}")
        return _check_picture(named[0])
    if len(inputs) == 1:
        return _check_picture(inputs[0])
    pictures = [tensor for tensor in inputs if len(tensor.shape) == 4]
    if not pictures:
        raise ModelRefused(f"the model has the inputs {there}: none of them is {_PICTURE}")
    if len(pictures) != 1:
        raise ModelRefused(
            f"which input is the image? The model has {there}: set image_input in the card"
        )
    return _check_picture(pictures[0])


def _check_picture(tensor: Any) -> Any:
    """Return an input that takes pictures; raise `ModelRefused` for any other."""
    shape = tuple(tensor.shape[1:])
    trouble = _trouble(shape)
    if trouble:
        raise ModelRefused(f"the model's input is {shape}: {trouble}")
    return tensor


def _trouble(shape: tuple[int | None, ...]) -> str:
    """Return why an input of this shape takes no picture, whatever the card says, or ""."""
    if len(shape) != 3:  # height, width, channels
        kinds = {
            1: "a list of numbers",
            2: "a sequence, as one-dimensional networks take it",
            4: "a volume or film, as three-dimensional and time-distributed networks take it",
        }
        kind = kinds.get(len(shape), f"{len(shape)} axes")
        return f"that is {kind}, and camfleet explains networks that take {_PICTURE}"
    if shape[2] in (None, 1, 3):
        return ""
    if shape[0] in (1, 3):
        return (
            "its channels come first; build the model with data_format channels_last, whose input "
            "is (height, width, channels), and load the weights into it"
        )
    return (
        f"it has {shape[2]} channels, and photographs have 3 (input.color rgb or bgr) or 1 (gray), "
        "which no card can change"
    )


def extras_of(graph: FlatGraph, defaults: Mapping[str, Sequence[float]]) -> tuple[Extra, ...]:
    """Return the inputs other than the image; raise `ModelRefused` if numbers can't fill one."""
    unknown = set(defaults) - set(graph.extras)
    if unknown:
        there = ", ".join(graph.extras) or "none but the image"
        raise ModelRefused(f"the card names an input {min(unknown)!r}; the model has {there}")
    extras = []
    for name, tensor in graph.extras.items():
        shape = tuple(tensor.shape[1:])
        if None in shape or tensor.dtype == "string":
            raise ModelRefused(
                f"input {name!r} of the model has shape {shape} and type {tensor.dtype}: an input "
                "beside the image must be a fixed number of numbers"
            )
        extra = Extra(name, shape, tensor.dtype, None)
        if name in defaults:
            extra = Extra(name, shape, tensor.dtype, extra.value(defaults[name]))
        extras.append(extra)
    return tuple(extras)


def pack_inputs(first: Any, others: Iterable[Any]) -> Any:
    """Return what a submodel takes: a tensor, or a list if there are further inputs."""
    rest = list(others)
    return [first, *rest] if rest else first


def _output(model: Any, signature: Signature) -> int:
    names = list(getattr(model, "output_names", None) or range(len(model.outputs)))
    if signature.output is not None:
        if signature.output in names:
            return names.index(signature.output)
        raise ModelRefused(f"the model has no output {signature.output!r}; it has {names}")
    if len(names) != 1:
        raise ModelRefused(f"the model has the outputs {names}: set `output` in the card")
    return 0
