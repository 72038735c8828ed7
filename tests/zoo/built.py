"""Small models built on the spot, with every kind of ending, nesting and preprocessing."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

SHAPE = (12, 10, 3)


def randomise(model: Any, seed: int = 0) -> Any:
    """Give every weight a random value, scaled so that activations neither vanish nor explode."""
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
    for layer in before:
        x = layer(x)
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
    """A backbone that returns a dict of two grids, both of which the classifier needs."""
    image = keras.Input(SHAPE)
    fine = layers.Conv2D(4, 3, activation="elu", name="fine")(image)
    coarse = layers.Conv2D(6, 3, strides=2, activation="elu", name="coarse")(fine)
    inner = keras.Model(image, {"fine": fine, "coarse": coarse}, name="pyramid")
    outer = keras.Input(SHAPE)
    found = inner(outer)
    means = [layers.GlobalAveragePooling2D()(maps) for maps in (found["fine"], found["coarse"])]
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


def fixed_batch() -> Any:
    image = keras.Input(batch_shape=(1, *SHAPE))
    x = layers.GlobalAveragePooling2D()(trunk(image))
    return randomise(keras.Model(image, layers.Dense(5, "softmax")(x)))


def nested_bytes() -> Any:
    image = keras.Input(SHAPE, dtype="uint8")
    return randomise(keras.Model(image, classifier()(backbone()(layers.Rescaling(1 / 255)(image)))))
