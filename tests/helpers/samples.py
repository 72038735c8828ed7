"""Model cards with small real models, and photographs with a bright patch, as files."""

from pathlib import Path

import keras
import numpy as np
from PIL import Image

layers = keras.layers


def patch_model() -> keras.Model:
    """Class `bright` is spoken for by bright pixels, class `dark` against: no training needed."""
    image = keras.Input((32, 48, 3))
    conv = layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")
    dense = layers.Dense(2, "softmax", name="scores")
    model = keras.Model(image, dense(layers.GlobalAveragePooling2D(name="pool")(conv(image))))
    conv.set_weights([np.full((3, 3, 3, 2), 1 / 27, np.float32), np.zeros(2, np.float32)])
    dense.set_weights([np.array([[9.0, -9.0], [9.0, -9.0]], np.float32), np.array([0.2, -0.2])])
    return model


def write_card(folder: Path, model_id: str, *, model: keras.Model | None = None, **extra) -> Path:
    """Save a model with its card; `extra` replaces lines of the card's top."""
    folder.mkdir(parents=True, exist_ok=True)
    (model or patch_model()).save(folder / "model.keras")
    top = {
        "id": f'"{model_id}"',
        "artifact": '"model.keras"',
        "labels": '["bright", "dark"]',
        **extra,
    }
    text = "\n".join(f"{name} = {value}" for name, value in top.items())
    size = '[input]\nheight = 32\nwidth = 48\nresize = "stretch"\n'
    path = folder / "card.toml"
    path.write_text(f'{text}\n{size}[preprocessing]\nmode = "unit"\n')
    return path


def photo(row: int = 10, column: int = 60, size=(60, 80)) -> np.ndarray:
    """Return a (60, 80, 3) black photograph with a white 12 x 12 patch around a place."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[max(0, row - 6) : row + 6, max(0, column - 6) : column + 6] = 255
    return pixels


def write_photos(folder: Path, count: int) -> list[Path]:
    """Write so many different photographs and return their paths, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        path = folder / f"photo-{number:02d}.png"
        Image.fromarray(photo(10 + number % 40, 10 + 3 * number % 60)).save(path)
        paths.append(path)
    return paths
