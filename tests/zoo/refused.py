"""Small models that can't be explained, or not at the layer asked for, and the reason."""

import keras
import numpy as np
from keras import layers, ops

from camfleet.errors import LayerRefused, ModelRefused
from zoo import built, joined
from zoo.built import SHAPE
from zoo.checks import Refused


def skipped():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(image)
    y = layers.Conv2D(4, 3, padding="same", name="bypassed")(x)
    x = layers.GlobalAveragePooling2D()(layers.Add(name="sum")([x, y]))
    return keras.Model(image, layers.Dense(2)(x))


def channels_first():
    image = keras.Input((8, 8, 3))
    x = layers.Permute((3, 1, 2))(image)
    x = layers.Conv2D(4, 3, data_format="channels_first")(x)
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def spatial():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Conv2D(2, 3, activation="softmax")(image))


def words():
    tokens = keras.Input((20,), dtype="int32")
    return keras.Model(tokens, layers.Dense(2)(layers.LSTM(4)(layers.Embedding(50, 3)(tokens))))


def rows():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dense(2)(layers.GRU(4)(layers.Reshape((8, 24))(image))))


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(4, 3)

    def call(self, x):
        return ops.mean(self.conv(x), axis=(1, 2))


def own():
    model = Own()
    model(np.zeros((1, 8, 8, 3), np.float32))
    return model


def with_own_inside():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dense(2)(Own()(image)))


REFUSED = {
    "skipped": Refused(
        build=skipped,
        chosen="bypassed",
        error=LayerRefused,
        words="run past it; the nearest usable layers are first, sum",
    ),
    "spatial output": Refused(build=spatial, error=ModelRefused, words="one score per class"),
    "words": Refused(build=words, error=ModelRefused, words=r"input is \(20,\)"),
    "rows": Refused(build=rows, error=ModelRefused, words="no layer with a spatial output"),
    "subclassed": Refused(build=own, error=ModelRefused, words="functional API"),
    "subclassed inside": Refused(
        build=with_own_inside, error=ModelRefused, words="no layer with a spatial output"
    ),
    "two photographs": Refused(
        build=joined.two_photos, shape=SHAPE, error=ModelRefused, words="image_input"
    ),
    "pyramid's coarse grid": Refused(
        build=built.nested_pyramid,
        chosen="pyramid/coarse",
        shape=SHAPE,
        error=LayerRefused,
        words="nearest usable layers are pyramid/fine",
    ),
    "one of two halves": Refused(
        build=joined.two_halves,
        chosen="left",
        shape=SHAPE,
        error=LayerRefused,
        words="other paths run past it",
    ),
    "channels first": Refused(
        build=channels_first,
        error=ModelRefused,
        words="channels_first",
    ),
}
