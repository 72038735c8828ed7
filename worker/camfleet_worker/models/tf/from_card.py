"""A card's model, cut in two: one that Keras has loaded, or put together from plain data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from camfleet.errors import ModelRefused
from camfleet.registry.cards import Card
from camfleet.settings import Settings
from camfleet_worker.arrays import Array
from camfleet_worker.models import memory
from camfleet_worker.models.engine import relative_error
from camfleet_worker.models.memory import Most, named
from camfleet_worker.models.plain import PlainModel
from camfleet_worker.models.split import HALF_TOLERANCE, FileOrigin, Split
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.rebuilt import put_together
from camfleet_worker.models.tf.signature import Signature
from camfleet_worker.pictures.prepare import prepare
from camfleet_worker.process.runtime import free_memory, gpus


def cut_from_plain(
    card: Card, plain: PlainModel, layer_names: Sequence[str], settings: Settings
) -> list[Split]:
    """Put a card's model together again and cut it at each of the layers; raise `ModelRefused`.

    It must answer as it did when it was loaded from its file, and take no more memory for that than
    running it may.
    """
    most = memory.while_running(settings)
    with named(card):
        memory.check(plain.costs.forward, most)
    model = put_together(plain, card.custom_code, allowed=settings.allow_custom_code)
    splits = [
        replace(split, costs=split.costs.at_least(plain.costs))
        for split in cut_at(card, model, layer_names, plain.origin, most)
    ]
    for split in splits:
        _check_answers(card, split, plain.logits)
    del model
    free_memory()
    return splits


def cut_at(
    card: Card,
    model: Any,
    layer_names: Sequence[str],
    origin: FileOrigin,
    most: Most,
    *,
    measured: bool = False,
) -> list[Split]:
    """Cut a card's model, made of a file of this origin, at each of the layers.

    `most` and `measured` as for `cut_model`.
    """
    signature, probe = _signature(card), _probe(card)
    with named(card):
        splits = [
            cut_model(
                model, signature, layer_name, card.activation, probe, most=most, measured=measured
            )
            for layer_name in layer_names
        ]
    splits = [replace(split, origin=origin) for split in splits]
    _check_labels(card, splits[0].classes)
    return splits


def _check_answers(card: Card, split: Split, expected: Array) -> None:
    # Another device rounds in another way, and GPUs may round to fewer digits.
    tolerance = HALF_TOLERANCE if gpus() else split.tolerance
    found = split.trial.logits
    if found.shape != expected.shape or not relative_error(found, expected) <= tolerance:
        raise ModelRefused(
            f"model {card.id} answers differently once it's put together from its configuration "
            "and its weights: it has something that Keras doesn't save"
        )


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
