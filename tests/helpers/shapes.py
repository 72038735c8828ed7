"""Networks that have learned shapes, or a tag that stands in the corner of one class."""

from functools import cache

import keras
import numpy as np
from examples.clever_hans.pictures import CLASSES, SIDE, TAGGED, picture

from camfleet.contract.geometry import Geometry

layers = keras.layers
OF_EACH = 30
WHOLE = Geometry(
    image_height=SIDE, image_width=SIDE, input_height=SIDE, input_width=SIDE,
    left=0, top=0, right=SIDE, bottom=SIDE,
)  # fmt: skip


def pictures(count, seed, *, tags):
    """Return pictures of each class, those of one with a tag in the corner or none, and classes."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(len(CLASSES)), count)
    made = [picture(CLASSES[k], rng, tagged=tags and CLASSES[k] == TAGGED) for k in kinds]
    return np.stack(made) / np.float32(255), kinds


@cache
def trained(seed, *, tags):
    """Return a small network that has learned the shapes, or the tag; it isn't to be changed."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(12, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(name="norm", momentum=0.8),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(24, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="last"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(CLASSES), activation="softmax", name="scores"),
        ]
    )
    model.compile(keras.optimizers.Adam(4e-3), "sparse_categorical_crossentropy")
    images, kinds = pictures(100, 1, tags=tags)
    model.fit(images, kinds, batch_size=32, epochs=10, verbose=0)
    return model


def copied(model):
    made = keras.models.clone_model(model)
    made.set_weights(model.get_weights())
    return made
