"""What the maps must be, by hand and by the identities of the papers."""

import keras
import numpy as np
import pytest

from camfleet.errors import MethodRefused, NonFiniteOutput, UnknownTarget
from camfleet_worker.models import cam
from helpers.networks import (
    by_hand,
    deep_head,
    explainer,
    flatten_dense,
    gap_dense,
    images,
    layers,
    nested,
    randomise,
    targets,
)


def raw(made, batch, *wanted, method="gradcam"):
    return [explanations[0].raw for explanations in made.explain(batch, targets(*wanted), method)]


def test_the_networks_map_that_can_be_written_down_by_hand():
    ramp = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    # Sums of the 3 x 3 windows: 45, 54 / 81, 90, the same in both channels; the gradient is +1
    # and -3 everywhere, so the map is -2 times the sums and nothing speaks for the class.
    (found,) = explainer(by_hand()).explain(ramp, targets(0), "gradcam")
    np.testing.assert_allclose(found[0].raw, [[-90, -108], [-162, -180]])
    assert found[0].logit == -540
    assert found[0].probability is None


def test_gradcam_weighs_each_map_by_its_gradients_mean_over_the_grid():
    activations = np.array([[[[1, 10]], [[2, 20]]]], np.float32)  # one image, 2 x 1, two maps
    gradients = np.array([[[[1, 0]], [[3, -2]]]], np.float32)  # means: 2 and -1
    np.testing.assert_array_equal(cam.gradcam(activations, gradients), [[[-8], [-16]]])


def test_cam_weighs_each_map_by_the_class_weight():
    activations = np.array([[[[1, 10]], [[2, 20]]]], np.float32)
    np.testing.assert_array_equal(cam.cam(activations, np.array([[3, -1]])), [[[-7], [-14]]])


def test_gradcam_is_cam_divided_by_the_grids_size_where_cam_holds():
    made, batch = explainer(gap_dense()), images(3, (12, 10, 3))
    by_cam = raw(made, batch, 0, 3, 4, method="cam")
    by_gradient = raw(made, batch, 0, 3, 4)
    for closed, gradient in zip(by_cam, by_gradient, strict=True):
        assert closed.shape == (8, 6)
        np.testing.assert_allclose(gradient, closed / 48, rtol=1e-4, atol=1e-6)


def test_cam_of_a_pooling_head_without_dense_is_the_class_map_itself():
    image = keras.Input((9, 9, 1))
    maps = layers.Conv2D(4, 3, name="classes")(image)
    model = randomise(keras.Model(image, layers.Softmax()(layers.GlobalAveragePooling2D()(maps))))
    batch = images(1, (9, 9, 1))
    expected = keras.Model(image, maps)(batch).numpy()[0, :, :, 2]
    (found,) = raw(explainer(model), batch, 2, method="cam")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("build", [flatten_dense, deep_head])
def test_cam_is_refused_with_the_reason_where_its_closed_form_does_not_hold(build):
    made = explainer(build())
    with pytest.raises(MethodRefused, match="global average pooling and at most one dense layer"):
        made.explain(images(1, made.shape), targets("top"), "cam")


def test_cam_is_refused_behind_a_layer_norm():
    image = keras.Input((9, 9, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, layers.Dense(3)(layers.LayerNormalization()(x)))
    with pytest.raises(MethodRefused, match="LayerNormalization"):
        explainer(model).explain(images(1, (9, 9, 3)), targets("top"), "cam")


def test_a_batch_of_mixed_classes_equals_one_image_at_a_time():
    made, batch = explainer(deep_head()), images(7, (12, 12, 3))  # 4 + 3: a ragged last batch
    wanted = [0, 5, 2, 2, 4, 1, 3]
    together = raw(made, batch, *wanted)
    for position, alone in enumerate(wanted):
        (found,) = raw(made, batch[position : position + 1], alone)
        np.testing.assert_allclose(together[position], found, rtol=1e-4, atol=1e-7)


def test_the_order_of_a_batch_does_not_matter():
    made, batch = explainer(deep_head()), images(6, (12, 12, 3))
    order, wanted = [3, 0, 5, 1, 4, 2], [0, 1, 2, 3, 4, 5]
    forward = raw(made, batch, *wanted)
    shuffled = raw(made, batch[order], *[wanted[row] for row in order])
    for position, origin in enumerate(order):
        np.testing.assert_allclose(shuffled[position], forward[origin], rtol=1e-4, atol=1e-7)


def test_a_result_does_not_depend_on_how_full_its_batch_is():
    made, batch = explainer(deep_head()), images(4, (12, 12, 3))
    made.warm()  # the very first row goes alone
    raw(made, batch, 0, 1, 2, 3)
    full = raw(made, batch, 0, 1, 2, 3)
    for first in (2, 3):
        part = raw(made, batch[:first], *range(first))
        np.testing.assert_array_equal(part, full[:first])


def test_every_row_is_explained_for_its_own_winning_class():
    made, batch = explainer(deep_head()), images(12, (12, 12, 3), seed=3)
    winners = made.predict(batch)[0].argmax(axis=1)
    assert len(set(winners)) > 1, "the test needs images of different classes"
    found = made.explain(batch, targets(*["top"] * 12), "gradcam")
    assert [explanations[0].class_index for explanations in found] == winners.tolist()


def test_the_logit_is_explained_and_the_probability_reported():
    model = deep_head(activation="softmax")
    made, batch = explainer(model), images(2, (12, 12, 3))
    expected = model.predict(batch, verbose=0)
    for row, found in enumerate(made.explain(batch, targets("top:6", "top:6"), "gradcam")):
        for explanation in found:
            wanted = expected[row, explanation.class_index]
            assert explanation.probability == pytest.approx(wanted, abs=1e-6)
        logits = np.array([explanation.logit for explanation in found])
        chances = np.exp(logits) / np.exp(logits).sum()
        found_chances = [explanation.probability for explanation in found]
        np.testing.assert_allclose(chances, found_chances, rtol=1e-4)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_saturated_answer_still_has_a_map(activation):
    linear, saturated = gap_dense(2), gap_dense(2, activation)
    for model in (linear, saturated):
        kernel, bias = model.get_layer("scores").get_weights()
        model.get_layer("scores").set_weights([kernel, bias + np.float32([60, -60])])
    batch = images(1, (12, 10, 3))
    assert saturated.predict(batch, verbose=0)[0, 0] == 1
    (expected,) = raw(explainer(linear), batch, 0)
    (found,) = raw(explainer(saturated), batch, 0)
    assert np.abs(found).max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_map_is_the_sum_of_the_weighted_maps_not_their_mean():
    model = gap_dense()
    made, batch = explainer(model), images(1, (12, 10, 3))
    maps = made.split.conv(batch).numpy()[0]
    weights = model.get_layer("scores").get_weights()[0][:, 1] / 48
    (found,) = raw(made, batch, 1)
    np.testing.assert_allclose(found, (maps * weights).sum(axis=-1), rtol=1e-4, atol=1e-6)


def test_gradients_agree_with_finite_differences_of_the_head():
    made, batch = explainer(deep_head(activation=None)), images(1, (12, 12, 3))
    maps = made.split.conv(batch).numpy()
    analytic = made.engines[0].gradients(maps, np.array([2], np.int32), ())[0]
    for place in [(0, 0, 0), (2, 3, 4), (4, 4, 5)]:
        step = np.zeros_like(maps)
        step[0, *place] = 1e-2
        high, low = (made.split.head(maps + sign * step).numpy()[0, 2] for sign in (1, -1))
        assert (high - low) / 2e-2 == pytest.approx(analytic[place], rel=0.02, abs=1e-4)


def test_a_nested_model_gives_the_maps_of_its_flat_twin():
    model = nested()
    image = keras.Input((16, 16, 3))
    x = model.get_layer("rescale")(image)
    for name in ("sepconv", "norm", "act"):
        x = model.get_layer("backbone").get_layer(name)(x)
    for name in ("pool", "drop", "scores"):
        x = model.get_layer(name)(x)
    batch = images(2, (16, 16, 3))
    expected = raw(explainer(keras.Model(image, x)), batch, 1, 2)
    np.testing.assert_allclose(raw(explainer(model), batch, 1, 2), expected, rtol=1e-5)


def test_a_planted_bright_patch_is_found():
    image = keras.Input((24, 32, 1))
    conv = layers.Conv2D(1, 3, padding="same", use_bias=False, name="conv")
    dense = layers.Dense(2, use_bias=False)
    model = keras.Model(image, dense(layers.GlobalAveragePooling2D()(conv(image))))
    conv.set_weights([np.full((3, 3, 1, 1), 1 / 9, np.float32)])
    dense.set_weights([np.array([[1.0, -1.0]], np.float32)])
    photo = np.zeros((1, 24, 32, 1), np.float32)
    photo[0, 4:9, 20:25] = 1
    (found,) = raw(explainer(model), photo, 0)
    assert np.unravel_index(found.argmax(), found.shape) == (5, 21) or (
        found[6, 22] == pytest.approx(found.max())
    )
    (against,) = raw(explainer(model), photo, 1)
    assert against.max() <= 0, "nothing speaks for the other class"


def test_another_head_gives_another_map():
    first, second = gap_dense(), gap_dense()
    kernel, bias = second.get_layer("scores").get_weights()
    second.get_layer("scores").set_weights([np.roll(kernel, 3, axis=0), bias])
    batch = images(1, (12, 10, 3))
    (one,), (other,) = raw(explainer(first), batch, 0), raw(explainer(second), batch, 0)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.9


def test_top_three_are_the_strongest_classes_in_order():
    made, batch = explainer(gap_dense()), images(1, (12, 10, 3))
    logits = made.predict(batch)[0][0]
    (found,) = made.explain(batch, targets("top:3"), "gradcam")
    assert [explanation.class_index for explanation in found] == np.argsort(-logits)[:3].tolist()


def test_a_binary_head_of_one_unit_counts_as_two_opposite_classes():
    model = gap_dense(1, "sigmoid")
    made, batch = explainer(model, labels=("no", "yes")), images(2, (12, 10, 3))
    yes = model.predict(batch, verbose=0)[:, 0]
    for row, found in enumerate(made.explain(batch, targets("label:yes", "label:no"), "gradcam")):
        assert found[0].probability == pytest.approx([yes[0], 1 - yes[1]][row], abs=1e-6)
    positive, negative = raw(made, batch[[0, 0]], 1, 0)
    np.testing.assert_allclose(positive, -negative, rtol=1e-6)


def test_a_wrong_class_index_or_label_fails_its_own_image_only():
    made = explainer(gap_dense(2), labels=("cat", "dog"))
    found = made.explain(images(3, (12, 10, 3)), targets("cat", 7, "horse"), "gradcam")
    assert found[0][0].class_index == 0
    assert isinstance(found[1], UnknownTarget)
    assert "has no class 7: it has 2" in str(found[1])
    assert isinstance(found[2], UnknownTarget)
    assert "'horse'" in str(found[2])


def test_an_image_that_the_model_answers_with_nan_fails_alone():
    batch = images(3, (12, 10, 3))
    batch[1, 0, 0, 0] = np.nan
    image = keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    made = explainer(keras.Model(image, layers.Dense(2)(x)))
    found = made.explain(batch, targets("top", "top", "top"), "gradcam")
    assert [isinstance(answer, NonFiniteOutput) for answer in found] == [False, True, False]
