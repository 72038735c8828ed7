"""Small networks for the tests, and explainers of them."""

import keras
import numpy as np

from camfleet.contract.targets import Target, parse_target
from camfleet.registry.cards import Card, CardInput
from camfleet.settings import Settings
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted.cache import ConvertedModels
from camfleet_worker.models.engine import SelectedEngine
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.gradients import head_gradients
from camfleet_worker.models.memory import Room
from camfleet_worker.models.split import Split
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.signature import Signature

layers = keras.layers


def images(count, shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)


def targets(*texts) -> list[Target]:
    return [parse_target(str(text)) for text in texts]


def explainer(model, *, layer="auto", labels=None, activation="auto", batch_size=4) -> Explainer:
    """Return an explainer of a built model, for inputs that are prepared already."""
    shape = tuple(model.inputs[0].shape[1:])
    card = Card(
        id="net",
        artifact="net.keras",
        input=CardInput(height=shape[0], width=shape[1], color="gray" if shape[2] == 1 else "rgb"),
        labels=labels,
    )
    split = cut(model, layer, activation)
    return Explainer(card, "0" * 64, [split], "mean", batch_size, plain([split], batch_size))


def cut(model, layer="auto", activation="auto", shape=None) -> Split:
    """Return a built model cut at a layer, for inputs of `shape` or its own."""
    shape = shape or tuple(model.inputs[0].shape[1:])
    return cut_model(model, Signature(shape), layer, activation, images(2, shape))


def select(split, folder=None, engine="auto", threads=0) -> SelectedEngine:
    """Return the engine that a worker would select, which stores what it converts in `folder`."""
    settings = Settings(engine=engine, batch_size=4, cpu_threads=threads)
    converted = ConvertedModels(settings, folder) if folder else None
    return EngineSelector(settings, converted).select(split)


def plain(splits, batch_size=4) -> list[SelectedEngine]:
    """Return plain TensorFlow for each split, as it was verified."""
    from camfleet_worker.models.tf.tensorflow_engine import TensorFlow  # where it's installed

    room = Room(batch_size, 0, 0, 0)
    engines = [TensorFlow(split, room, head_gradients(split, batch_size)) for split in splits]
    return [
        SelectedEngine(engine, split.error) for engine, split in zip(engines, splits, strict=True)
    ]


def randomise(model, seed=0):
    """Give every weight, batch statistics too, a random value, so that none is 0 or 1 by luck."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        low, high = (0.5, 1.5) if "variance" in weight.path else (-0.5, 0.5)
        weight.assign(rng.uniform(low, high, weight.shape))
    return model


def gap_dense(classes=5, activation=None, shape=(12, 10, 3)):
    """Convolutions, global average pooling, one dense layer: where CAM's closed form holds."""
    image = keras.Input(shape)
    x = layers.Conv2D(6, 3, activation="relu", name="conv1")(image)
    x = layers.Conv2D(8, 3, name="conv2")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return randomise(keras.Model(image, layers.Dense(classes, activation, name="scores")(x)))


def flatten_dense(classes=4, shape=(8, 9, 3)):
    """Convolution, flatten, dense: the class weights differ from place to place."""
    image = keras.Input(shape)
    x = layers.Conv2D(5, 3, activation="relu", name="conv")(image)
    x = layers.Flatten(name="flat")(x)
    return randomise(keras.Model(image, layers.Dense(classes, name="scores")(x)))


def deep_head(classes=6, shape=(12, 12, 3), activation="softmax"):
    """A head of two dense layers with a nonlinearity: gradients differ from image to image."""
    image = keras.Input(shape)
    x = layers.Conv2D(6, 3, strides=2, activation="relu", name="conv")(image)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(7, "tanh", name="hidden")(x)
    return randomise(keras.Model(image, layers.Dense(classes, activation, name="scores")(x)))


def nested(classes=3, shape=(16, 16, 3)):
    """Rescaling, then a backbone that is itself a model, then the classifier."""
    inner = keras.Input(shape)
    x = layers.SeparableConv2D(6, 3, name="sepconv")(inner)
    x = layers.BatchNormalization(name="norm")(x)
    backbone = keras.Model(inner, layers.ReLU(name="act")(x), name="backbone")
    image = keras.Input(shape)
    x = layers.Rescaling(2.0, 0.25, name="rescale")(image)
    x = backbone(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    return randomise(keras.Model(image, layers.Dense(classes, "softmax", name="scores")(x)))


def by_hand():
    """A network for a 4 x 4 ramp, which can be worked out with a pencil.

    A 3 x 3 convolution of ones to two equal channels, ReLU, flatten, a dense layer with +1 for
    the first channel and -3 for the second.
    """
    image = keras.Input((4, 4, 1))
    conv = layers.Conv2D(2, 3, activation="relu", use_bias=False, name="conv")
    dense = layers.Dense(1, use_bias=False, name="score")
    model = keras.Model(image, dense(layers.Flatten()(conv(image))))
    conv.set_weights([np.ones((3, 3, 1, 2), np.float32)])
    dense.set_weights([np.tile([[1.0], [-3.0]], (4, 1)).astype(np.float32)])
    return model
