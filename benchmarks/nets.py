"""Models to measure with, as files with their cards: `python -m benchmarks.nets NAME FOLDER`.

The weights are random: how fast a model is doesn't depend on them.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from examples.demo import lite0

PREPROCESSING = {
    "EfficientNetLite0": "tf",
    "Feed": "tf",
    "MobileNetV2": "tf",
    "ResNet50": "caffe",
    "Small": "unit",
}
SIDES = {"Small": 64}
_CARD = """
id = "{name}"
artifact = "model.keras"
[input]
height = {side}
width = {side}
[preprocessing]
mode = "{mode}"
"""


def write(name: str, folder: Path) -> Path:
    """Write a model in a process of its own; return its card."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.nets", name, str(folder)]
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(command, check=True, env=environ)  # noqa: S603  # ours
    path = folder / "card.toml"
    side = SIDES.get(name, 224)
    path.write_text(_CARD.format(name=name, side=side, mode=PREPROCESSING[name]))
    return path


def build(name: str) -> Any:
    """Return a Keras model."""
    import keras

    keras.utils.set_random_seed(0)
    if name == "Small":
        return _convolutions(keras, SIDES["Small"], filters=(8, 16, 32), strides=2)
    if name == "Feed":
        return _convolutions(keras, 224, filters=(64,), strides=32)
    if name == "EfficientNetLite0":
        return lite0.build()
    return getattr(keras.applications, name)(weights=None)


def _convolutions(keras: Any, side: int, filters: tuple[int, ...], strides: int) -> Any:
    layers = keras.layers
    image = maps = keras.Input((side, side, 3))
    for count in filters:
        maps = layers.Conv2D(count, 3, strides, padding="same", activation="relu")(maps)
    pooled = layers.GlobalAveragePooling2D()(maps)
    return keras.Model(image, layers.Dense(10, "softmax")(pooled))


if __name__ == "__main__":
    build(sys.argv[1]).save(Path(sys.argv[2], "model.keras"))
