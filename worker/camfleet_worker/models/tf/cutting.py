"""From a card's model file to the model cut in two, by Keras."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from camfleet.errors import ModelRefused
from camfleet.registry.cards import Card
from camfleet_worker.models.split import Split
from camfleet_worker.models.tf.loader import load_keras
from camfleet_worker.models.tf.signature import Signature
from camfleet_worker.models.tf.split import split
from camfleet_worker.pictures.prepare import prepare
from camfleet_worker.process.runtime import free_memory


def cut_model(
    card: Card, path: Path, layers: Sequence[str], *, custom_code_allowed: bool
) -> list[Split]:
    """Load a card's model and cut it at each of the layers; raise `ModelRefused`."""
    model = load_keras(path, card.custom_code, allowed=custom_code_allowed)
    probe = _probe(card)
    splits = [split(model, _signature(card), each, card.activation, probe) for each in layers]
    classes = splits[0].classes
    if card.label_list and len(card.label_list) != classes:
        hint = " (a single sigmoid unit counts as two classes)" if classes == 2 else ""
        raise ModelRefused(
            f"model {card.id} has {classes} classes{hint}, its card has "
            f"{len(card.label_list)} labels"
        )
    del model
    free_memory()
    return splits


def _signature(card: Card) -> Signature:
    return Signature(
        shape=(card.input.height, card.input.width, card.channels),
        image=card.image_input,
        output=card.output,
        defaults={name: each.values for name, each in card.inputs.items()},
    )


def _probe(card: Card) -> Any:
    """Return two prepared images of random pixels."""
    rng = np.random.default_rng(0)
    size = (2, card.input.height, card.input.width, 3)
    photos = rng.integers(0, 256, size, np.uint8)
    return np.stack([prepare(each, card.input, card.preprocessing)[0] for each in photos])
