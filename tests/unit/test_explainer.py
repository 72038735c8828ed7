"""Targets, further inputs and fused layers."""

import keras
import numpy as np
import pytest

from camfleet.errors import InvalidRequest
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.signature import Signature
from camfleet_worker.pictures import heat
from helpers.networks import (
    deep_head,
    explainer,
    gap_dense,
    images,
    layers,
    plain,
    randomise,
    targets,
)

METHODS = ["gradcam", "hirescam", "layercam", "xgradcam", "gradcam++", "cam"]


def raw(made, batch, *wanted, method="gradcam", extras=()):
    answers = made.explain(batch, targets(*wanted), method, extras)
    return [explanations[0].raw for explanations in answers]


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam", "cam"])
def test_a_counterfactual_map_is_the_negated_map_where_the_method_is_linear(method):
    made, batch = explainer(gap_dense()), images(1, (12, 10, 3))
    (normal,) = raw(made, batch, 2, method=method)
    (against,) = raw(made, batch, "not:2", method=method)
    np.testing.assert_allclose(against, -normal, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_for_and_against_in_one_batch_equal_one_at_a_time(method):
    made, batch = explainer(gap_dense()), images(3, (12, 10, 3))
    wanted = ["not:0", 1, "not:top"]
    together = raw(made, batch, *wanted, method=method)
    for row, alone in enumerate(wanted):
        (found,) = raw(made, batch[row : row + 1], alone, method=method)
        np.testing.assert_allclose(together[row], found, rtol=1e-4, atol=1e-7)


def test_above_gives_every_class_that_reaches_the_probability():
    model = gap_dense(6, "sigmoid")
    made, batch = explainer(model), images(2, (12, 10, 3))
    chances = model.predict(batch, verbose=0)
    for row, found in enumerate(made.explain(batch, targets("above:0.5", "above:0.5"), "gradcam")):
        expected = [index for index in np.argsort(-chances[row]) if chances[row, index] >= 0.5]
        assert [explanation.class_index for explanation in found] == expected


def test_above_gives_nothing_where_no_class_reaches_it():
    made = explainer(gap_dense(6, "sigmoid"))
    assert made.explain(images(1, made.shape), targets("above:0.999999"), "gradcam") == [[]]


def test_above_needs_probabilities():
    made = explainer(gap_dense(1))
    (found,) = made.explain(images(1, made.shape), targets("above:0.5"), "gradcam")
    assert isinstance(found, InvalidRequest)
    assert "regression" in str(found)


def test_a_regression_output_is_explained_as_the_only_class():
    made = explainer(gap_dense(1))
    ((found,),) = made.explain(images(1, made.shape), targets("top"), "gradcam")
    assert (found.class_index, found.probability) == (0, None)


def two_inputs():
    """The second input scales the feature maps before the cut and joins the head after it."""
    image, age = keras.Input((10, 10, 3), name="photo"), keras.Input((2,), name="age")
    normal = layers.Normalization(mean=[30.0, 1.0], variance=[100.0, 4.0], name="norm")(age)
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    gain = layers.Reshape((1, 1, 4))(layers.Dense(4, "sigmoid", name="gain")(normal))
    x = layers.Multiply(name="gated")([x, gain])
    x = layers.Concatenate()([layers.Flatten()(x), normal])
    x = layers.Dense(5, "tanh", name="hidden")(x)
    return keras.Model([image, age], layers.Dense(3, "softmax", name="scores")(x))


def randomised(model):
    for name in ("conv", "gain", "hidden", "scores"):
        randomise(model.get_layer(name), seed=len(name))
    return model


def with_two_inputs(model, defaults=None):
    signature = Signature((10, 10, 3), defaults=defaults or {})
    split = cut_model(model, signature, "auto", "auto", images(2, (10, 10, 3)))
    card = explainer(gap_dense()).card
    return Explainer(card, "", [split], "mean", 4, plain([split]))


def test_values_of_a_second_input_reach_the_right_image_before_and_after_the_cut():
    model = randomised(two_inputs())
    made, batch = with_two_inputs(model), images(3, (10, 10, 3))
    assert made.layer == "gated"
    ages = np.float32([[20, 0], [40, 3], [35, 1]])
    expected = model.predict([batch, ages], verbose=0)
    found = made.explain(batch, targets("top:3", 1, 2), "gradcam", (ages,))
    for row, explanations in enumerate(found):
        for explanation in explanations:
            wanted = expected[row, explanation.class_index]
            assert explanation.probability == pytest.approx(wanted, abs=1e-5)
    for row, wanted in enumerate(["top", 1, 2]):
        (alone,) = raw(made, batch[[row]], wanted, extras=(ages[[row]],))
        np.testing.assert_allclose(found[row][0].raw, alone, rtol=1e-4, atol=1e-7)
    (other,) = raw(made, batch[[0]], "top", extras=(ages[[1]],))
    assert not np.allclose(other, found[0][0].raw, rtol=1e-2)


def test_a_second_inputs_value_is_the_items_the_cards_or_missed_by_name():
    model = randomised(two_inputs())
    (with_default,) = with_two_inputs(model, {"age": [30, 1]}).split.extras
    np.testing.assert_array_equal(with_default.value(None), [30, 1])
    np.testing.assert_array_equal(with_default.value((1, 2)), [1, 2])
    with pytest.raises(InvalidRequest, match="'age' of the model takes 2 numbers, not 1"):
        with_default.value((1,))
    (without,) = with_two_inputs(model).split.extras
    with pytest.raises(InvalidRequest, match=r"needs a value for its input 'age'.*\[inputs\.age\]"):
        without.value(None)


@pytest.mark.parametrize(("how", "combine"), [("mean", np.mean), ("max", np.max)])
def test_maps_of_several_layers_are_fused_on_the_finest_grid(how, combine):
    model, batch = gap_dense(), images(2, (12, 10, 3))
    single = [explainer(model, layer=layer) for layer in ("conv1", "relu")]
    splits = [made.split for made in single]
    both = Explainer(single[0].card, "", splits, how, 4, plain(splits))
    assert both.layer == "conv1,relu"
    for row, (found,) in enumerate(both.explain(batch, targets(1, 2), "layercam")):
        own = [raw(made, batch, 1, 2, method="layercam")[row] for made in single]
        assert [path for path, _ in found.layers] == ["conv1", "relu"]
        for (_, stored), expected in zip(found.layers, own, strict=True):
            np.testing.assert_allclose(stored, expected, rtol=1e-5, atol=1e-7)
        # Both convolutions take a pixel off each side: cells of relu lie one further in.
        heats = [heat.normalise(own[0]), inside_by_one(heat.normalise(own[1]), (10, 8))]
        assert found.raw.shape == (10, 8)
        np.testing.assert_allclose(found.raw, combine(heats, axis=0), atol=1e-5)


def inside_by_one(cells, shape):
    """Return a map on a grid that has one more cell on each side, constant beyond its own."""
    across = np.array(
        [np.interp(np.arange(shape[1]) - 1, np.arange(len(row)), row) for row in cells]
    )
    columns = [np.interp(np.arange(shape[0]) - 1, np.arange(len(cells)), part) for part in across.T]
    return np.array(columns).T


def test_many_targets_of_many_images_keep_their_places():
    made, batch = explainer(deep_head()), images(3, (12, 12, 3))
    found = made.explain(batch, targets("top:6", "top:6", "top:6"), "gradcam")
    for row, explanations in enumerate(found):
        for explanation in explanations:
            (alone,) = raw(made, batch[[row]], explanation.class_index)
            np.testing.assert_allclose(explanation.raw, alone, rtol=1e-4, atol=1e-6)
