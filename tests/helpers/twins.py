"""A small network of random weights, a twin of it, and one that looks elsewhere."""

import keras
import numpy as np

layers = keras.layers


def network():
    """Return a network of random weights with batch normalisation, whose maps differ by image."""
    image = keras.Input((48, 48, 3))
    found = layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")(image)
    found = layers.ReLU()(layers.BatchNormalization(name="norm")(found))
    found = layers.MaxPooling2D(4)(found)
    found = layers.Conv2D(24, 3, padding="same", activation="relu", name="last")(found)
    scores = layers.Dense(4, "softmax", name="scores")(layers.GlobalAveragePooling2D()(found))
    model = keras.Model(image, scores)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        given = [rng.normal(0, 0.3, value.shape) for value in layer.get_weights()]
        layer.set_weights([np.abs(one) if one.ndim == 1 else one for one in given])
    return model


def twin():
    """Return the same network, saved again with its normalisation changed by a millionth."""
    model = network()
    norm = model.get_layer("norm")
    norm.set_weights([value * (1 + 1e-6) for value in norm.get_weights()])
    return model


def headless():
    """Return the network with the rows of its head permuted."""
    model = network()
    kernel, bias = model.get_layer("scores").get_weights()
    order = np.random.default_rng(1).permutation(len(kernel))
    model.get_layer("scores").set_weights([kernel[order], bias])
    return model
