"""A card's golden image: proof that input and preprocessing are what the model was trained on."""

import numpy as np

from camfleet.errors import GoldenMismatch
from camfleet_worker.arrays import Array
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.pictures.decode import open_image
from camfleet_worker.pictures.prepare import prepare


def check_golden(explainer: Explainer, data: bytes, max_pixels: int) -> None:
    """Raise `GoldenMismatch` unless the model answers the image `data` as its card says."""
    card, golden = explainer.card, explainer.card.golden
    if golden is None:
        return
    logits, chances = predict_file(
        explainer, data, max_pixels=max_pixels, uri=f"golden of {card.id}"
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
    explainer: Explainer, data: bytes, *, max_pixels: int, uri: str
) -> tuple[Array, Array | None]:
    """Return logits and probabilities, (classes,) each, of an image file's bytes."""
    card = explainer.card
    photo = open_image(data, max_pixels=max_pixels, uri=uri)
    pixels, _ = prepare(photo, card.input, card.preprocessing)
    extras = tuple(extra.value(None)[None] for extra in explainer.split.extras)
    logits, chances = explainer.predict(pixels[None], extras)
    return logits[0], None if chances is None else chances[0]
