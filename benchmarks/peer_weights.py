"""Fits batch normalisation to the photographs, as a process: `python -m benchmarks.peer_weights F`.

With weights as they're drawn, deep networks answer almost nothing: maps of 1e-13, the same for
every image. Normalised, they have highs and lows that are worth comparing.
"""

import keras

from benchmarks.peer import given


def main() -> None:
    folder, _, photos = given()
    model = keras.models.load_model(folder / "model.keras", compile=False)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(photos, training=True)
    model.save(folder / "model.keras")


if __name__ == "__main__":
    main()
