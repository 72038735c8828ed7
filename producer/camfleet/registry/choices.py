"""How a card wants a photograph prepared, in words, and which of that nobody chose."""

from collections.abc import Collection
from typing import NamedTuple

from camfleet.registry.cards import Card, Preprocessing

_SCALINGS = {
    "none": "none: values from 0 to 255 as they are",
    "unit": "unit: values from 0 to 1",
    "tf": "tf: values from -1 to 1",
    "caffe": "caffe: blue, green, red, minus ImageNet's mean",
    "imagenet": "imagenet: ImageNet's mean and deviation",
}


class Choice(NamedTuple):
    """A field of a card, and its value in words; `default` where the card leaves it out."""

    name: str
    field: str
    value: str
    default: bool


def card_choices(card: Card, said: Collection[str] | None = None) -> list[Choice]:
    """Return how a card prepares photographs and names classes.

    `said` are the fields that the card's file names. Where that isn't known, every value that is
    the default counts as one.
    """
    values = {
        "colour": ("input.color", card.input.color, "rgb"),
        "resize": ("input.resize", card.input.resize, "stretch"),
        "interpolation": ("input.interpolation", card.input.interpolation, "bilinear"),
        "scaling": ("preprocessing.mode", _scaling(card.preprocessing), _SCALINGS["none"]),
        "labels": ("labels", _labels(card), _labels(None)),
        "golden image": ("golden.image", _golden(card), _golden(None)),
    }
    return [
        Choice(name, field, value, value == usual if said is None else field not in said)
        for name, (field, value, usual) in values.items()
    ]


def _scaling(preprocessing: Preprocessing) -> str:
    if preprocessing.mode == "scale":
        return f"scale: values times {preprocessing.scale} plus {preprocessing.offset}"
    return _SCALINGS[preprocessing.mode]


def _labels(card: Card | None) -> str:
    labels = card.label_list if card else ()
    if not labels:
        return "none: classes go by their numbers"
    return f"{len(labels)}: {', '.join(labels[:3])}{', ...' if len(labels) > 3 else ''}"


def _golden(card: Card | None) -> str:
    golden = card.golden if card else None
    if not golden:
        return "none: nothing proves that the picture is prepared as the model needs it"
    return f"{golden.image} is {golden.class_} with {golden.probability}"
