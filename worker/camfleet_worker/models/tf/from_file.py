"""A card's model, loaded from its file and cut in two. Only for a confined process."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from camfleet.registry.cards import Card
from camfleet.settings import Settings
from camfleet_worker.models import memory
from camfleet_worker.models.model_file import read_origin
from camfleet_worker.models.plain import PlainModel
from camfleet_worker.models.split import FileOrigin, Split
from camfleet_worker.models.tf.from_card import cut_at
from camfleet_worker.models.tf.loader import load_keras
from camfleet_worker.models.tf.rebuilt import take_apart
from camfleet_worker.process.runtime import free_memory


def cut_from_file(
    card: Card, path: Path, layer_names: Sequence[str], settings: Settings
) -> list[Split]:
    """Load a card's model and cut it at each of the layers; raise `ModelRefused`."""
    splits, _ = _load_and_cut(card, path, layer_names, settings)
    free_memory()
    return splits


def cut_and_take_apart(
    card: Card, path: Path, layer_names: Sequence[str], settings: Settings
) -> tuple[list[Split], Callable[[], PlainModel]]:
    """As `cut_from_file`, and how to get the model as plain data for `cut_from_plain`."""
    splits, model = _load_and_cut(card, path, layer_names, settings)
    first = splits[0]
    return splits, partial(take_apart, model, first.origin, first.trial.logits, first.costs)


def _load_and_cut(
    card: Card, path: Path, layer_names: Sequence[str], settings: Settings
) -> tuple[list[Split], Any]:
    origin = FileOrigin(**read_origin(path))
    model = load_keras(path, card.custom_code, allowed=settings.allow_custom_code)
    most = memory.while_loading(settings)
    return cut_at(card, model, layer_names, origin, most, measured=True), model
