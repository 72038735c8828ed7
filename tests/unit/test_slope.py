"""A head without a gradient is refused by name, rather than every map being empty."""

import keras
import numpy as np
import pytest
from keras import ops

from camfleet.errors import ModelRefused
from helpers.networks import cut, layers, randomise


class Stopped(layers.Layer):
    """Answers what it's given, and stops the gradient."""

    def call(self, values):
        return ops.stop_gradient(values)


def network(end):
    image = keras.Input((16, 16, 3))
    maps = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="maps")(image)
    pooled = layers.GlobalAveragePooling2D()(maps)
    model = keras.Model(image, end(layers.Dense(3, name="scores")(pooled)))
    randomise(model)
    return model


STEPS = {
    "argmax": (lambda x: ops.one_hot(ops.argmax(x, axis=-1), 3), "argmax"),
    "sign": (lambda x: ops.sign(x), "sign"),  # noqa: PLW0108  # new operations each time
    "round": (lambda x: layers.Dense(3)(ops.round(10 * x)), "round"),
    "greater": (lambda x: ops.cast(ops.greater(x, 0.0), "float32"), "greater"),
    "stopped": (lambda x: layers.Dense(3)(Stopped(name="wall")(x)), "wall"),
}


@pytest.mark.parametrize("name", STEPS)
def test_scores_that_change_in_steps_only_are_refused_by_the_steps_name(name):
    end, culprit = STEPS[name]
    with pytest.raises(ModelRefused, match=f"{culprit}.*lets no gradient through"):
        cut(network(end))


def test_units_that_are_dead_on_the_trial_are_no_reason():
    model = network(lambda x: layers.Dense(2)(layers.Dense(4, "relu", name="dead")(x)))
    model.get_layer("dead").set_weights([np.zeros((3, 4)), np.full(4, -100.0)])
    assert cut(model).cam_weights is None


def test_a_stopped_branch_beside_one_that_isnt_is_no_reason():
    assert cut(network(lambda x: x + Stopped()(x))).cam_weights is None


def test_units_that_are_saturated_on_the_trial_are_no_reason():
    def end(x):
        return layers.Dense(3)(layers.Dense(4, "tanh", name="saturated")(1e4 * x))

    assert cut(network(end)).cam_weights is None
