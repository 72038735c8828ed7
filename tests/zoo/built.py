"""Small models built on the spot: every way to end, to join, to nest and to prepare an image."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

SHAPE = (12, 10, 3)


def randomise(model: Any, seed: int = 0) -> Any:
    """Give every weight a random value of a size that neither dies nor explodes in depth."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        name, shape = weight.path.rsplit("/", 1)[-1], tuple(weight.shape)
        if "float" not in str(weight.dtype):
            continue  # counters and the states of random layers
        if "variance" in name or "gamma" in name:
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            fan_in = np.prod(shape[:-1]) if "depthwise" not in name else np.prod(shape[:2])
            value = rng.uniform(-1, 1, shape) * np.sqrt(6 / fan_in)
        else:
            value = rng.uniform(-0.2, 0.2, shape)
        weight.assign(value)
    return model


def trunk(image: Any, filters: int = 6) -> Any:
    """Return two convolutions' feature maps; the last layer is called `maps`."""
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    return layers.Conv2D(filters, 3, padding="same", activation="elu", name="maps")(x)


def ended(end: Callable[[Any], Any], shape: tuple[Any, ...] = SHAPE, filters: int = 6) -> Any:
    """Return a model of the trunk and `end`, which takes the feature maps."""
    image = keras.Input(shape, name="image")
    return randomise(keras.Model(image, end(trunk(image, filters))))


def pooled(end: Callable[[Any], Any]) -> Callable[[], Any]:
    """Return a builder: trunk, global average pooling, `end`."""
    return lambda: ended(lambda maps: end(layers.GlobalAveragePooling2D()(maps)))


def prepared(*before: Any, shape: tuple[Any, ...] = SHAPE, dtype: str | None = None) -> Any:
    """Return a model that starts with layers which prepare the image."""
    x = image = keras.Input(shape, dtype=dtype, name="image")
    for each in before:
        x = each(x)
    x = layers.GlobalAveragePooling2D()(trunk(x))
    return randomise(keras.Model(image, layers.Dense(5, "softmax", name="scores")(x)))


def backbone(shape: tuple[Any, ...] = SHAPE, name: str = "backbone") -> Any:
    image = keras.Input(shape)
    return keras.Model(image, trunk(image), name=name)


def classifier(channels: int = 6, name: str = "classifier") -> Any:
    maps = keras.Input((None, None, channels))
    x = layers.GlobalAveragePooling2D()(maps)
    x = layers.Dense(7, "tanh")(x)
    return keras.Model(maps, layers.Dense(5, "softmax", name="scores")(x), name=name)


def with_policy(policy: str) -> Callable[[], Any]:
    """Return a builder of a model in mixed precision with float32 probabilities."""

    def build() -> Any:
        keras.config.set_dtype_policy(policy)
        try:
            return ended(
                lambda maps: layers.Activation("softmax", dtype="float32")(
                    layers.Dense(5)(layers.Dense(7, "tanh")(layers.Flatten()(maps)))
                )
            )
        finally:
            keras.config.set_dtype_policy("float32")

    return build


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
    image, gate = keras.Input(SHAPE, name="image"), keras.Input((6,), name="gate")
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


def skipped() -> Any:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(image)
    y = layers.Conv2D(4, 3, padding="same", name="bypassed")(x)
    x = layers.GlobalAveragePooling2D()(layers.Add(name="sum")([x, y]))
    return keras.Model(image, layers.Dense(2)(x))


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


def nested_with(**options: Any) -> Callable[[], Any]:
    """Return a builder of backbone and classifier, both called with `options`."""

    def build() -> Any:
        image = keras.Input(SHAPE)
        return randomise(keras.Model(image, classifier()(backbone()(image, **options), **options)))

    return build


def nested_by_keyword() -> Any:
    image = keras.Input(SHAPE)
    maps = backbone()(inputs=image)
    return randomise(keras.Model(image, classifier()(inputs=maps)))


def nested_pyramid() -> Any:
    """A backbone that answers a dict of two grids, both of which the classifier needs."""
    image = keras.Input(SHAPE)
    fine = layers.Conv2D(4, 3, activation="elu", name="fine")(image)
    coarse = layers.Conv2D(6, 3, strides=2, activation="elu", name="coarse")(fine)
    inner = keras.Model(image, {"fine": fine, "coarse": coarse}, name="pyramid")
    outer = keras.Input(SHAPE)
    found = inner(outer)
    means = [layers.GlobalAveragePooling2D()(each) for each in (found["fine"], found["coarse"])]
    return randomise(keras.Model(outer, layers.Dense(5, "softmax")(layers.Concatenate()(means))))


def twice_nested() -> Any:
    innermost = backbone(name="innermost")
    middle_in = keras.Input(SHAPE)
    x = innermost(layers.Rescaling(0.5)(middle_in))
    middle = keras.Model(middle_in, layers.SeparableConv2D(5, 3, name="sep")(x), name="middle")
    outer = keras.Input(SHAPE)
    return randomise(keras.Model(outer, classifier(5)(middle(outer * 2.0))))


def sandwich() -> Any:
    """A Sequential in a functional model in a Sequential."""
    filling = keras.Sequential(
        [keras.Input((10, 8, 4)), layers.DepthwiseConv2D(3, name="depth"), layers.ReLU(name="act")],
        name="filling",
    )
    image = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, name="stem")(image)
    bread = keras.Model(image, filling(x), name="bread")
    end = [layers.Flatten(), layers.Dropout(0.5), layers.Dense(5), layers.Softmax()]
    return randomise(keras.Sequential([keras.Input(SHAPE), bread, *end]))


def sequential() -> Any:
    return randomise(
        keras.Sequential(
            [
                keras.Input(SHAPE),
                layers.Conv2D(4, 3, activation="elu", name="conv"),
                layers.MaxPooling2D(name="pool"),
                layers.Flatten(),
                layers.Dense(5),
                layers.Activation("softmax"),
            ]
        )
    )
