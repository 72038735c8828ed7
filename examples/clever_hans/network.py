"""A small network that learns the tag rather than the square, and its card."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from .pictures import CLASSES, SIDE, pictures

_CARD = f"""\
id = "shapes"
artifact = "shapes.keras"
labels = {list(CLASSES)}

[input]
height = {SIDE}
width = {SIDE}

[preprocessing]
mode = "unit"
"""


def train(folder: Path, count: int, epochs: int) -> tuple[Path, float]:
    """Train on so many pictures of each class; return the card and the accuracy on new ones."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            *(_block(filters) for filters in (16, 32, 48)),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu", name="last"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(len(CLASSES), activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    images, kinds = pictures(count, seed=1)
    model.fit(
        images / np.float32(255),
        kinds,
        batch_size=32,
        epochs=epochs,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=_say(epochs))],
    )
    images, kinds = pictures(60, seed=2)
    accuracy = float(model.evaluate(images / np.float32(255), kinds, verbose=0)[1])
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "shapes.keras")
    card = folder / "shapes.toml"
    card.write_text(_CARD)
    return card, accuracy


def _say(epochs: int) -> Callable[[int, dict[str, float]], None]:
    """Return what prints a line after a third of all passes, and after each further one."""

    def said(epoch: int, logs: dict[str, float]) -> None:
        if (epoch + 1) % max(1, epochs // 3) == 0 and epoch + 1 < epochs:
            right = 100 * logs["accuracy"]
            print(f"pass {epoch + 1} of {epochs}: {right:.0f} % right so far", flush=True)

    return said


def _block(filters: int) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.layers.Conv2D(filters, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
        ]
    )
