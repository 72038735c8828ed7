"""A model's inputs and outputs: which is the image, which to explain, what else it needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camfleet.errors import ModelRefused
from camfleet_worker.models.split import Extra
from camfleet_worker.models.tf.flat_graph import FlatGraph


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
        raise ModelRefused(
            "the model has no defined input and output (a subclassed or unbuilt model): build it "
            "with the functional API or as a Sequential with an Input and load the weights into it"
        )
    image = _image(inputs, signature)
    expected = tuple(image.shape[1:])
    fits = len(expected) == 3 and all(
        mine in (None, yours) for mine, yours in zip(expected, signature.shape, strict=True)
    )
    if not fits:
        raise ModelRefused(
            f"the model's input is {expected} (height, width, channels), the card says "
            f"{signature.shape}: correct input.height, input.width or input.color in the card"
        )
    return image.name, _output(model, signature)


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


def _image(inputs: Sequence[Any], signature: Signature) -> Any:
    there = ", ".join(f"{tensor.name} {tuple(tensor.shape[1:])}" for tensor in inputs)
    if signature.image is not None:
        for tensor in inputs:
            if tensor.name == signature.image:
                return tensor
        raise ModelRefused(f"the model has no input {signature.image!r}; it has {there}")
    images = [tensor for tensor in inputs if len(tensor.shape) == 4] if len(inputs) > 1 else inputs
    if len(images) != 1:
        raise ModelRefused(
            f"which input is the image? The model has {there}: set image_input in the card"
        )
    return images[0]


def _output(model: Any, signature: Signature) -> int:
    names = list(getattr(model, "output_names", None) or range(len(model.outputs)))
    if signature.output is not None:
        if signature.output in names:
            return names.index(signature.output)
        raise ModelRefused(f"the model has no output {signature.output!r}; it has {names}")
    if len(names) != 1:
        raise ModelRefused(f"the model has the outputs {names}: set `output` in the card")
    return 0
