"""A card's golden image: proof that input and preprocessing are what the model was trained on."""

import numpy as np

from camfleet.errors import GoldenMismatch
from camfleet.registry.cards import Card
from camfleet.settings import Settings
from camfleet_worker.arrays import Array
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.pictures.decoders import Decoders
from camfleet_worker.pictures.load import Loaded, Wanted, load


def check_golden(
    explainer: Explainer, data: bytes, settings: Settings, *, confined: bool = False
) -> None:
    """Raise `GoldenMismatch` unless the model answers the image `data` as its card says.

    A process that is `confined` decodes by itself what others leave to a process apart.
    """
    card, golden = explainer.card, explainer.card.golden
    if golden is None:
        return
    logits, chances = predict_file(
        explainer, data, settings, uri=f"golden of {card.id}", confined=confined
    )
    scores = logits if chances is None else chances
    wanted = golden.class_
    index = wanted if isinstance(wanted, int) else card.class_index(wanted)
    card.check_index(index, len(scores))
    if abs(float(scores[index]) - golden.probability) > golden.tolerance:
        top = int(np.argmax(scores))
        raise GoldenMismatch(
            f"model {card.id} gives its golden image {card.class_name(index)!r} with "
            f"{scores[index]:.4f}, the card says {golden.probability} +- {golden.tolerance} (its "
            f"top class is {card.class_name(top)!r} with {scores[top]:.4f}): check input and "
            "preprocessing in the card"
        )


def predict_file(
    explainer: Explainer, data: bytes, settings: Settings, *, uri: str, confined: bool
) -> tuple[Array, Array | None]:
    """Return logits and probabilities, (classes,) each, of an image file's bytes."""
    pixels = load_file(explainer.card, data, settings, uri=uri, confined=confined).pixels
    extras = tuple(extra.value(None)[None] for extra in explainer.split.extras)
    logits, chances = explainer.predict(pixels[None], extras)
    return logits[0], None if chances is None else chances[0]


def load_file(card: Card, data: bytes, settings: Settings, *, uri: str, confined: bool) -> Loaded:
    """Return what a model takes of an image file's bytes, and its picture at its own size."""
    wanted = Wanted(card.input, card.preprocessing, side=0)  # not reduced
    if confined:
        return load(data, wanted, max_pixels=settings.max_image_pixels, uri=uri)
    with Decoders(settings, 1) as decoders:
        return decoders.load(data, wanted, uri=uri)
