"""What outputs mean: whatever a model ends in, camfleet reports what the model answers."""

import keras
import numpy as np
import pytest
from keras import ops

from camfleet.errors import ModelRefused
from helpers.networks import explainer, images, layers, randomise, targets

SHAPE = (12, 10, 3)


def ended(end):
    """Return a model of one convolution, global average pooling and `end`."""
    image = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return randomise(keras.Model(image, end(x)))


def dense(units, activation=None, **options):
    return layers.Dense(units, activation, **options)


def heads(join, *layers_):
    """Return an end that joins several layers' outputs."""
    return lambda x: join([layer(x) for layer in layers_])


def sigmoids(join=None, count=4):
    return heads(join or layers.Concatenate(), *(dense(1, "sigmoid") for _ in range(count)))


def in_groups(x):
    """Two softmaxes of three units each, made in one."""
    x = layers.Softmax()(layers.Reshape((2, 3))(dense(6)(x)))
    return layers.Flatten()(x)


def interleaved(x):
    """Two softmaxes of three units each, one over every other unit."""
    x = layers.Softmax(axis=1)(layers.Reshape((3, 2))(dense(6)(x)))
    return layers.Flatten()(x)


def nested_end(x):
    inner = keras.Input(x.shape[1:])
    scores = dense(4, activation=layers.Activation(layers.Softmax()))(inner)
    return keras.Model(inner, scores, name="classifier")(x)


def over_cells(activation):
    """A model of class maps: an activation for each cell, then the mean over the grid."""
    return lambda x: layers.GlobalAveragePooling2D()(
        layers.Reshape((1, 2, 4))(dense(8, activation)(x))
    )


def normalised(x):
    """A softmax that is written out."""
    powers = ops.exp(dense(4)(x))
    return powers / ops.sum(powers, axis=-1, keepdims=True)


def of_own(function):
    """An activation that isn't Keras' own function."""

    def own(x):
        return function(x)

    return own


def called_twice(x):
    """One sigmoid layer on two inputs, joined."""
    layer = dense(1, "sigmoid", name="shared")
    return layers.Concatenate()([layer(x), layer(x * -0.5)])


def of_two_outputs(x):
    """A nested model of two outputs, joined outside."""
    inner = keras.Input(x.shape[1:])
    heads_ = keras.Model(inner, [dense(1, "sigmoid")(inner), dense(1, "sigmoid")(inner)])
    return layers.Concatenate()(heads_(x))


def of_two_models(x):
    """Two nested models whose layers have the same names, joined."""
    parts = []
    for name in ("first", "second"):
        inner = keras.Input(x.shape[1:])
        hidden = dense(3, "tanh", name="hidden")(inner)
        parts.append(keras.Model(inner, dense(2, "sigmoid", name="kind")(hidden), name=name)(x))
    return layers.Concatenate()(parts)


def in_parts(x):
    """A softmax for each half of one layer's outputs."""
    halves = ops.split(dense(6)(x), 2, axis=-1)
    return ops.concatenate([ops.softmax(half) for half in halves], axis=-1)


# Ends whose softmax or sigmoid is taken off: what makes the probabilities, and what was removed.
REMOVED = {
    "softmax by name": (dense(4, "softmax"), "softmax"),
    "softmax layer": (lambda x: layers.Softmax()(dense(4)(x)), "softmax"),
    "softmax layer as activation": (dense(4, layers.Softmax()), "softmax"),
    "softmax layer in an activation": (
        lambda x: layers.Activation(layers.Softmax())(dense(4)(x)),
        "softmax",
    ),
    "activation in an activation": (dense(4, layers.Activation("softmax")), "softmax"),
    "softmax operation": (lambda x: ops.softmax(dense(4)(x)), "softmax"),
    "softmax of ops.nn": (lambda x: ops.nn.softmax(dense(4)(x)), "softmax"),
    "softmax operation as activation": (dense(4, ops.softmax), "softmax"),
    "softmax in a wrapper": (layers.SpectralNormalization(dense(4, "softmax")), "softmax"),
    "softmax layer in a wrapper": (
        layers.SpectralNormalization(dense(4, layers.Softmax())),
        "softmax",
    ),
    "softmax over time": (
        lambda x: layers.Flatten()(
            layers.TimeDistributed(dense(4, "softmax"))(layers.Reshape((1, 6))(x))
        ),
        "softmax",
    ),
    "softmax in a nested model": (nested_end, "softmax"),
    "softmax before a permutation": (lambda x: dense(4, "softmax")(x)[:, ::-1], "softmax"),
    "sigmoid layer as activation": (dense(4, layers.Activation("sigmoid")), "sigmoid"),
    "single sigmoid as layer": (dense(1, layers.Activation("sigmoid")), "sigmoid"),
    "single sigmoid in a wrapper": (layers.SpectralNormalization(dense(1, "sigmoid")), "sigmoid"),
    "sigmoid operation": (lambda x: ops.sigmoid(dense(4)(x)), "sigmoid"),
    "sigmoids joined": (sigmoids(), "sigmoid"),
    "sigmoids joined by an operation": (
        sigmoids(lambda parts: ops.concatenate(parts, axis=-1)),
        "sigmoid",
    ),
    "sigmoids stacked": (sigmoids(lambda parts: ops.stack(parts, axis=1)), "sigmoid"),
    "sigmoids stacked, last": (sigmoids(lambda parts: ops.stack(parts, axis=-1)), "sigmoid"),
    "sigmoids joined twice": (
        lambda x: layers.Concatenate()([sigmoids(count=2)(x), sigmoids(count=3)(x)]),
        "sigmoid",
    ),
    "sigmoids of one unit reshaped": (
        lambda x: layers.Reshape((4,))(sigmoids(lambda parts: ops.stack(parts, axis=1))(x)),
        "sigmoid",
    ),
    "sigmoid layers joined": (
        heads(layers.Concatenate(), *(dense(2, layers.Activation("sigmoid")) for _ in "ab")),
        "sigmoid",
    ),
    "joined, then sigmoid": (
        lambda x: ops.sigmoid(heads(layers.Concatenate(), dense(2), dense(3))(x)),
        "sigmoid",
    ),
    "sigmoid of a unit without axis": (
        lambda x: ops.sigmoid(ops.squeeze(dense(1)(x), axis=-1)),
        "sigmoid",
    ),
    "sigmoids of units without axis, stacked": (
        lambda x: ops.stack([ops.sigmoid(dense(1)(x)[:, 0]) for _ in range(3)], axis=1),
        "sigmoid",
    ),
    "some of the sigmoids": (lambda x: dense(5, "sigmoid")(x)[:, 1:4], "sigmoid"),
    "softmaxes joined": (
        heads(layers.Concatenate(), dense(3, "softmax"), dense(4, "softmax")),
        "joined",
    ),
    "softmaxes of one layer": (in_groups, "joined"),
    "softmaxes interleaved": (interleaved, "joined"),
    "sigmoid layer called twice": (called_twice, "sigmoid"),
    "sigmoids of a nested model": (of_two_outputs, "sigmoid"),
    "sigmoids of two nested models": (of_two_models, "sigmoid"),
    "softmaxes of a layer's halves": (in_parts, "joined"),
    "softmax in parts, turned round": (
        lambda x: ops.concatenate(ops.split(dense(6, "softmax")(x), 2, axis=-1)[::-1], axis=-1),
        "softmax",
    ),
    "two steps of time": (
        lambda x: layers.Flatten()(
            layers.TimeDistributed(dense(3, "softmax"))(layers.Reshape((2, 3))(x))
        ),
        "joined",
    ),
    "softmax and sigmoids": (
        heads(layers.Concatenate(), dense(3, "softmax"), dense(1, "sigmoid"), dense(1, "sigmoid")),
        "joined",
    ),
    "softmax and hard sigmoid": (
        heads(layers.Concatenate(), dense(3, layers.Softmax()), dense(2, "hard_sigmoid")),
        "joined",
    ),
}
# Ends that are left as they are, because what they answer are probabilities already.
GIVEN = {
    "hard sigmoid": dense(4, "hard_sigmoid"),
    "hard sigmoid operation": lambda x: ops.hard_sigmoid(dense(4)(x)),
    "single hard sigmoid": dense(1, "hard_sigmoid"),
    "average of sigmoids": heads(layers.Average(), dense(4, "sigmoid"), dense(4, "sigmoid")),
    "average of single sigmoids": heads(layers.Average(), dense(1, "sigmoid"), dense(1, "sigmoid")),
    "average of softmaxes": heads(layers.Average(), dense(4, "softmax"), dense(4, "softmax")),
    "average by operators": lambda x: (dense(4, "sigmoid")(x) + dense(4, "sigmoid")(x)) / 2.0,
    "weighted average": lambda x: 0.3 * dense(4, "sigmoid")(x) + 0.7 * dense(4, "sigmoid")(x),
    "averages joined": lambda x: layers.Concatenate()(
        [GIVEN["average of sigmoids"](x), GIVEN["average of softmaxes"](x)]
    ),
    "maximum of sigmoids": heads(layers.Maximum(), dense(4, "sigmoid"), dense(4, "sigmoid")),
    "product of sigmoids": heads(layers.Multiply(), dense(4, "sigmoid"), dense(4, "sigmoid")),
    "complement": lambda x: 1.0 - dense(4, "sigmoid")(x),
    "geometric mean": lambda x: ops.sqrt(dense(4, "sigmoid")(x) * dense(4, "sigmoid")(x)),
    "mean over a grid": over_cells("sigmoid"),
    "clipped": lambda x: ops.clip(dense(4)(x), 0, 1),
    "relu up to one": lambda x: layers.ReLU(max_value=1.0)(dense(4)(x)),
    "some of a softmax": lambda x: dense(5, "softmax")(x)[:, 1:],
    "softmax of somebody's own": dense(4, of_own(ops.softmax)),
    "sigmoid of somebody's own": dense(4, of_own(ops.sigmoid)),
    "softmax of a lambda": lambda x: layers.Lambda(of_own(ops.softmax))(dense(4)(x)),
    "sigmoid of a lambda": lambda x: layers.Lambda(of_own(ops.sigmoid))(dense(4)(x)),
    "normalised": normalised,
    "gated sigmoids": lambda x: layers.Dot(axes=1)(
        [dense(2, "softmax")(x), layers.Reshape((2, 4))(dense(8, "sigmoid")(x))]
    ),
    "recurrent sigmoid": lambda x: layers.SimpleRNN(4, activation="sigmoid")(
        layers.Reshape((2, 3))(x)
    ),
    "long memory with sigmoid": lambda x: layers.LSTM(4, activation="sigmoid")(
        layers.Reshape((2, 3))(x)
    ),
}
# Ends that are no probabilities: the score is the model's answer, and there is no probability.
RAW = {
    "tanh": dense(4, "tanh"),
    "single tanh": dense(1, "tanh"),
    "softsign": dense(4, "softsign"),
    "tanh layer": lambda x: layers.Activation("tanh")(dense(4)(x)),
    "tanh operation": lambda x: ops.tanh(dense(4)(x)),
    "softsign as a layer": dense(4, layers.Activation("softsign")),
    "tanhs joined": heads(layers.Concatenate(), dense(2, "tanh"), dense(2, "tanh")),
    "average of tanhs": heads(layers.Average(), dense(4, "tanh"), dense(4, "tanh")),
    "sigmoid and tanh": heads(layers.Concatenate(), dense(2, "sigmoid"), dense(2, "tanh")),
    "sigmoid and tanh in units": heads(layers.Concatenate(), dense(1, "sigmoid"), dense(1, "tanh")),
    "single linear": dense(1),
    "softmax and numbers": heads(layers.Concatenate(), dense(3, "softmax"), dense(2)),
    "logarithms of sigmoids": lambda x: ops.log_sigmoid(dense(4)(x)),
    "percents": lambda x: dense(4, "softmax")(x) * 100.0,
    "long memory": lambda x: layers.LSTM(4)(layers.Reshape((2, 3))(x)),
    "relu up to six": lambda x: layers.ReLU(max_value=6.0)(dense(4)(x)) * 9.0,
}


@pytest.fixture(scope="module")
def batch():
    return images(5, SHAPE, seed=3)


def answers(model, batch):
    return model.predict(batch, verbose=0).reshape(len(batch), -1)


@pytest.mark.parametrize("name", REMOVED)
def test_what_is_taken_off_leaves_the_probability_that_the_model_answers(name, batch):
    end, activation = REMOVED[name]
    model = ended(end)
    made, expected = explainer(model), answers(model, batch)
    _, chances = made.predict(batch)
    np.testing.assert_allclose(chances[:, -expected.shape[1] :], expected, atol=1e-5)
    assert made.split.activation == activation
    assert made.split.ending != "linear"
    assert not made.split.outputs.guessed


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_a_probability_already_is_reported_as_it_is(name, batch):
    model = ended(GIVEN[name])
    made, expected = explainer(model), answers(model, batch)
    logits, chances = made.predict(batch)
    np.testing.assert_allclose(chances, expected, atol=1e-5)
    np.testing.assert_array_equal(logits, chances)
    assert (made.split.activation, made.split.ending) == ("given", "linear")


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_probability_is_reported_as_a_score(name, batch):
    model = ended(RAW[name])
    made, expected = explainer(model), answers(model, batch)
    logits, chances = made.predict(batch)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert chances is None


@pytest.mark.parametrize("end", [dense(4), heads(layers.Concatenate(), dense(2), dense(3))])
def test_linear_outputs_count_as_logits_which_is_said_to_be_a_guess(end, batch):
    model = ended(end)
    made = explainer(model)
    logits, chances = made.predict(batch)
    np.testing.assert_allclose(logits, answers(model, batch), atol=1e-5)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-6)
    assert made.split.outputs.guessed
    assert "without a softmax" in made.split.outputs.reason


@pytest.mark.parametrize(
    "end",
    [
        dense(2, layers.Softmax()),
        layers.SpectralNormalization(dense(2, layers.Softmax())),
        sigmoids(count=2),
        heads(layers.Concatenate(), dense(2, "softmax"), dense(1, "sigmoid")),
    ],
)
def test_a_saturated_end_still_has_a_map_and_it_is_that_of_the_logit(end):
    model = ended(end)
    made = explainer(model)
    for weight in model.weights:
        if "dense" in weight.path and weight.path.endswith("kernel"):
            weight.assign(weight * 1000)
    loud = explainer(model)
    batch = images(2, SHAPE)
    for target in (0, 1):
        quiet_maps = made.explain(batch, targets(target, target), "gradcam")
        loud_maps = loud.explain(batch, targets(target, target), "gradcam")
        for (one,), (other,) in zip(quiet_maps, loud_maps, strict=True):
            assert np.abs(one.raw).max() > 0
            np.testing.assert_allclose(one.raw * 1000, other.raw, rtol=1e-3)


def test_joined_softmaxes_are_ranked_by_what_the_model_answers(batch):
    end = heads(layers.Concatenate(), dense(3, "softmax"), dense(4, "softmax"))
    model = ended(end)
    made, expected = explainer(model), answers(model, batch)
    for row, found in enumerate(made.explain(batch, targets(*["top:7"] * 5), "gradcam")):
        assert [one.class_index for one in found] == list(np.argsort(-expected[row]))
    for row, (found,) in enumerate(made.explain(batch, targets(*["top"] * 5), "gradcam")):
        assert found.class_index == expected[row].argmax()


def test_above_finds_what_the_model_answers_of_joined_sigmoids(batch):
    model = ended(sigmoids())
    made, expected = explainer(model), answers(model, batch)
    for row, found in enumerate(made.explain(batch, targets(*["above:0.5"] * 5), "gradcam")):
        assert {one.class_index for one in found} == set(np.flatnonzero(expected[row] >= 0.5))


@pytest.mark.parametrize("end", [dense(4), dense(4, "tanh"), dense(4, "softmax")])
def test_a_card_may_say_that_the_outputs_are_to_be_taken_as_given(end, batch):
    model = ended(end)
    made = explainer(model, activation="given")
    logits, chances = made.predict(batch)
    np.testing.assert_allclose(chances, answers(model, batch), atol=1e-5)
    np.testing.assert_array_equal(logits, chances)


def test_a_card_may_say_that_a_sigmoid_is_a_regression(batch):
    model = ended(dense(1, "sigmoid"))
    made = explainer(model, activation="none")
    logits, chances = made.predict(batch)
    np.testing.assert_allclose(logits, answers(model, batch), atol=1e-5)
    assert chances is None


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", ["average of softmaxes", "softmax of a lambda"])
def test_a_card_cannot_put_a_second_activation_on_probabilities(name, activation, batch):
    model = ended(GIVEN[name])
    _, chances = explainer(model, activation=activation).predict(batch)
    np.testing.assert_allclose(chances, answers(model, batch), atol=1e-5)


def test_a_card_that_contradicts_the_model_is_refused_with_both():
    with pytest.raises(ModelRefused, match=r"ends in softmax, its card says .*'sigmoid'"):
        explainer(ended(dense(4, layers.Softmax())), activation="sigmoid")


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: ops.mean(x, axis=(1, 2)),
        lambda x: ops.mean(x, axis=[-3, -2], keepdims=True),
        lambda x: ops.mean(ops.mean(x, axis=1), axis=1),
        lambda x: layers.GlobalAveragePooling1D()(layers.Reshape((-1, 6))(x)),
        layers.AveragePooling2D((10, 8)),
        lambda x: layers.GlobalAveragePooling2D()(layers.AveragePooling2D(2)(x)),
    ],
)
def test_a_mean_over_the_grid_is_a_pooling_for_cam_however_it_is_written(pool, batch):
    image = keras.Input(SHAPE)
    x = pool(layers.Conv2D(6, 3, activation="relu", name="conv")(image))
    model = randomise(keras.Model(image, dense(3, "softmax")(layers.Flatten()(x))))
    made = explainer(model, layer="conv")
    assert made.split.cam_weights is not None
    by_cam, by_gradients = (
        made.explain(batch, targets(*[1] * 5), method) for method in ("cam", "gradcam")
    )
    for (one,), (other,) in zip(by_cam, by_gradients, strict=True):
        np.testing.assert_allclose(one.raw / 80, other.raw, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: ops.max(x, axis=(1, 2)),
        lambda x: ops.mean(x, axis=(1, 3)),
        lambda x: layers.GlobalAveragePooling2D()(layers.AveragePooling2D(3, strides=1)(x)),
    ],
)
def test_another_reduction_is_no_pooling_for_cam(pool):
    image = keras.Input(SHAPE)
    x = pool(layers.Conv2D(6, 3, activation="relu", name="conv")(image))
    model = randomise(keras.Model(image, dense(3, "softmax")(x)))
    assert explainer(model, layer="conv").split.cam_weights is None
