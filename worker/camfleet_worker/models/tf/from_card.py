"""A card's model file, loaded by Keras and cut in two."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from camfleet.errors import ModelRefused
from camfleet.registry.cards import Card
from camfleet_worker.arrays import Array
from camfleet_worker.models.split import Split
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.loader import load_keras
from camfleet_worker.models.tf.signature import Signature
from camfleet_worker.pictures.prepare import prepare
from camfleet_worker.process.runtime import free_memory


def cut_from_card(
    card: Card, path: Path, layer_names: Sequence[str], *, custom_code_allowed: bool
) -> list[Split]:
    """Load a card's model and cut it at each of the layers; raise `ModelRefused`."""
    model = load_keras(path, card.custom_code, allowed=custom_code_allowed)
    signature, probe = _signature(card), _probe(card)
    splits = [
        cut_model(model, signature, layer_name, card.activation, probe)
        for layer_name in layer_names
    ]
    _check_labels(card, splits[0].classes)
    del model
    free_memory()
    return splits


def _check_labels(card: Card, classes: int) -> None:
    if card.label_list and len(card.label_list) != classes:
        hint = " (a single sigmoid unit counts as two classes)" if classes == 2 else ""
        raise ModelRefused(
            f"classes of model {card.id}: {classes}{hint}; labels of its card: "
            f"{len(card.label_list)}"
        )


def _signature(card: Card) -> Signature:
    return Signature(
        shape=(card.input.height, card.input.width, card.channels),
        image=card.image_input,
        output=card.output,
        defaults={name: extra.values for name, extra in card.inputs.items()},
    )


def _probe(card: Card) -> Array:
    """Return two prepared images of random pixels."""
    rng = np.random.default_rng(0)
    size = (2, card.input.height, card.input.width, 3)
    photos = rng.integers(0, 256, size, np.uint8)
    return np.stack([prepare(photo, card.input, card.preprocessing)[0] for photo in photos])
