"""The small languages inside a request: targets, layers, and values of further inputs."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from camfleet.contract.codec import Wire, decode_json
from camfleet.contract.outputs import Values
from camfleet.errors import InvalidRequest

MAX_TARGETS = 100


class Target(Wire, frozen=True, kw_only=True):
    """A parsed target expression."""

    kind: Literal["top", "index", "label", "above"]
    count: int = 1  # of top
    index: int = -1
    label: str = ""
    threshold: float = 0.0  # of above
    counter: bool = False  # what speaks against the class: the negated logit is explained


def parse_target(text: str) -> Target:
    """Parse a target expression.

    `top`, `top:K`, a class index, a label, `label:NAME` for a label that looks like another
    expression, `above:P` for every class of at least that probability, and `not:` before any of
    them for what speaks against the class. Raises `InvalidRequest`.
    """
    if text.startswith("not:"):
        return msgspec.structs.replace(parse_target(text.removeprefix("not:")), counter=True)
    word, _, rest = text.partition(":")
    if text == "top" or word == "top":
        count = rest or "1"
        if not count.isdecimal() or not 1 <= int(count) <= MAX_TARGETS or text == "top:":
            raise InvalidRequest(f"target {text!r}: K in top:K is a number from 1 to {MAX_TARGETS}")
        return Target(kind="top", count=int(count))
    if word == "above":
        try:
            return _above(float(rest))
        except ValueError:
            raise InvalidRequest(
                f"target {text!r}: P in above:P is a probability between 0 and 1"
            ) from None
    if text.isdecimal():
        return Target(kind="index", index=int(text))
    label = text.removeprefix("label:")
    if not label.strip():
        raise InvalidRequest("target is empty: use top, top:3, a class index or a label")
    return Target(kind="label", label=label)


def parse_class(text: str) -> Target:
    """Parse one class: its index, or its label (`label:7` for a label of digits).

    Raises `InvalidRequest`.
    """
    found = parse_target(text)
    if found.kind not in ("index", "label") or found.counter:
        raise InvalidRequest(
            f"{text!r} is neither a class index nor a label (label:{text} if it is one)"
        )
    return found


def _above(threshold: float) -> Target:
    if not 0 < threshold < 1:
        raise ValueError(threshold)
    return Target(kind="above", threshold=threshold)


def parse_layers(text: str) -> tuple[str, ...]:
    """Parse `auto`, a layer's path such as `backbone/relu`, or several with commas between them.

    Raises `InvalidRequest` for an empty name or one that stands twice.
    """
    layers = tuple(layer.strip() for layer in text.split(","))
    if not all(layers) or len(set(layers)) != len(layers) or ("auto" in layers and layers[1:]):
        raise InvalidRequest(
            f"layer {text!r}: one path, several different ones with commas, or auto alone"
        )
    return layers


def parse_inputs(text: str | None) -> dict[str, Values]:
    """Parse an item's `inputs`: a JSON object of numbers or lists of numbers.

    Raises `InvalidRequest`.
    """
    if not text:
        return {}
    given = decode_json(text.encode("utf-8", "surrogatepass"), dict[str, float | Values])
    return {name: (each,) if isinstance(each, float) else each for name, each in given.items()}


def inputs_text(inputs: Mapping[str, Sequence[float] | float] | None) -> str | None:
    """Return values of a model's other inputs as `parse_inputs` reads them; raise `TypeError`."""
    if not inputs:
        return None
    try:
        return json.dumps(dict(inputs), default=float)  # NumPy's numbers too
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"inputs is not a dict of numbers or lists of numbers, such as {{'age': 40.0}}: {error}"
        ) from error
