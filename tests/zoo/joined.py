"""Small models with several inputs, outputs, calls of one layer, or results of one operation."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from zoo.built import SHAPE, backbone, randomise, trunk


def two_inputs() -> Any:
    """An image and a normalised vector that also scales the maps before and after the cut."""
    image, facts = keras.Input(SHAPE, name="image"), keras.Input((4,), name="facts")
    normal = layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0])(facts)
    x = layers.Conv2D(4, 3, activation="elu")(image)
    x = layers.Multiply()([x, layers.Reshape((1, 1, 4))(layers.Dense(4)(normal))])
    x = layers.Conv2D(6, 3, activation="elu", name="maps")(x)
    y = layers.GlobalMaxPooling2D()(x) * layers.Dense(6, "sigmoid", name="gate")(normal)
    y = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), y, normal])
    return randomise(keras.Model([facts, image], layers.Dense(5, "softmax", name="scores")(y)))


def gate_over_grid() -> Any:
    """A second input that is multiplied into the feature maps after the last convolution."""
    image, gate = keras.Input(SHAPE, name="z"), keras.Input((6,), name="a")
    x = trunk(image) * ops.reshape(gate, (-1, 1, 1, 6))
    x = layers.Dense(5, "softmax", name="scores")(layers.GlobalAveragePooling2D()(x))
    return randomise(keras.Model({"z": image, "a": gate}, {"scores": x}))


def shared_layer() -> Any:
    image = keras.Input(SHAPE)
    conv = layers.Conv2D(3, 3, padding="same", activation="elu", name="shared")
    x = layers.GlobalAveragePooling2D()(conv(conv(image)))
    return randomise(keras.Model(image, layers.Dense(5, "softmax")(x)))


def shared_backbone(calls: int) -> Callable[[], Any]:
    """Return a builder: one backbone, called for each `calls` brightness of the image."""

    def build() -> Any:
        inner, image = backbone(), keras.Input(SHAPE)
        maps = [inner(image * float(number + 1)) for number in range(calls)]
        x = layers.Concatenate(name="joined")(maps) if calls > 1 else maps[0]
        x = layers.GlobalAveragePooling2D()(x)
        return randomise(keras.Model(image, layers.Dense(5, "softmax")(x)))

    return build


def several_outputs(*, named: bool) -> Callable[[], Any]:
    """Return a builder of a model with a class, labels and an age, as a list or a dict."""

    def build() -> Any:
        image = keras.Input(SHAPE)
        x = layers.GlobalAveragePooling2D()(trunk(image))
        kind = layers.Dense(5, "softmax", name="kind")(x)
        tags = layers.Dense(4, "sigmoid", name="tags")(x)
        age = layers.Dense(1, name="age")(x)
        outputs = [kind, tags, age]
        wanted = {"kind": kind, "tags": tags, "age": age} if named else outputs
        return randomise(keras.Model(image, wanted))

    return build


def in_halves() -> Any:
    """An operation with two results in the conv submodel and one in the head."""
    image = keras.Input(SHAPE)
    left, right = ops.split(layers.Conv2D(8, 3, name="wide")(image), 2, axis=-1)
    x = layers.Conv2D(6, 3, activation="elu", name="maps")(left * right)
    mean, variance = ops.moments(x, axes=(1, 2))
    x = layers.Concatenate()([mean, variance])
    return randomise(keras.Model(image, layers.Dense(5, "softmax", name="scores")(x)))


def image_and_words() -> Any:
    """Token numbers through an embedding with a mask, beside the image."""
    image, words = keras.Input(SHAPE, name="image"), keras.Input((7,), dtype="int32", name="words")
    text = layers.SimpleRNN(4)(layers.Embedding(9, 3, mask_zero=True)(words))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(trunk(image)), text])
    return randomise(keras.Model([image, words], layers.Dense(5, "softmax", name="scores")(x)))


def unneeded_input() -> Any:
    """Two outputs, of which `kind` doesn't need the second input."""
    image, weight = keras.Input(SHAPE, name="image"), keras.Input((3,), name="weight")
    x = layers.GlobalAveragePooling2D()(trunk(image))
    kind = layers.Dense(5, "softmax", name="kind")(x)
    age = layers.Dense(1, name="age")(layers.Concatenate()([x, weight]))
    return randomise(keras.Model([image, weight], [kind, age]))


def two_photos() -> Any:
    pair = [keras.Input(SHAPE, name=name) for name in ("left", "right")]
    inner = backbone()
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(inner(image)) for image in pair])
    return randomise(keras.Model(pair, layers.Dense(5, "softmax", name="scores")(x)))


def two_views() -> Any:
    """A photograph and its mirror image through one backbone: the paths fork at the input."""
    inner, image = backbone(), keras.Input(SHAPE)
    x = layers.Rescaling(0.5, name="before")(image)
    views = [layers.GlobalAveragePooling2D()(inner(view)) for view in (x, ops.flip(x, axis=2))]
    return randomise(keras.Model(image, layers.Dense(5, "softmax")(layers.Concatenate()(views))))


def two_halves() -> Any:
    """Half of the channels go through `left`, the others through `right`."""
    image = keras.Input(SHAPE)
    halves = ops.split(layers.Conv2D(8, 3, name="wide")(image), 2, axis=-1)
    left, right = (
        layers.Conv2D(6, 3, name=name)(half)
        for name, half in zip(("left", "right"), halves, strict=True)
    )
    x = layers.GlobalAveragePooling2D()(left + right)
    return randomise(keras.Model(image, layers.Dense(5, "softmax")(x)))
