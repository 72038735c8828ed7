"""The other methods: each by hand on two cells and two maps, and by the papers' identities."""

import numpy as np
import pytest

from camfleet_worker.models import cam
from helpers.networks import explainer, flatten_dense, gap_dense, images, targets

# One image, a grid of 1 x 2, two feature maps.
ACTIVATIONS = np.array([[[[1, 4], [3, 2]]]], np.float32)
GRADIENTS = np.array([[[[2, -1], [0, 3]]]], np.float32)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # means 1 and 1
        (cam.gradcam, [1 * 1 + 4 * 1, 3 * 1 + 2 * 1]),
        (cam.hirescam, [1 * 2 + 4 * -1, 3 * 0 + 2 * 3]),
        (cam.layercam, [1 * 2, 2 * 3]),
        # weights (2 * 1 + 0 * 3) / 4 and (-1 * 4 + 3 * 2) / 6
        (cam.xgradcam, [1 / 2 + 4 / 3, 3 / 2 + 2 / 3]),
        # sums 4 and 6; shares 4 / (8 + 4 * 8) of gradient 2 and 9 / (18 + 6 * 27) of gradient 3
        (
            cam.gradcam_plus_plus,
            [1 * 0.1 * 2 + 4 * 0.05 * 3, 3 * 0.1 * 2 + 2 * 0.05 * 3],
        ),
    ],
)
def test_by_hand(method, expected):
    np.testing.assert_allclose(method(ACTIVATIONS, GRADIENTS), [[expected]], rtol=1e-6)


@pytest.mark.parametrize("method", cam.GRADIENT_METHODS.values())
def test_images_of_a_batch_do_not_touch_each_other(method):
    other = np.random.default_rng(0).normal(size=(2, *ACTIVATIONS.shape)).astype(np.float32)
    both = method(np.concatenate([ACTIVATIONS, other[0]]), np.concatenate([GRADIENTS, other[1]]))
    np.testing.assert_array_equal(both[:1], method(ACTIVATIONS, GRADIENTS))


@pytest.mark.parametrize("method", cam.GRADIENT_METHODS.values())
def test_no_gradient_and_no_activation_give_an_empty_map_and_no_warning(method):
    nothing = np.zeros_like(ACTIVATIONS)
    assert not method(ACTIVATIONS, nothing).any()
    assert not method(nothing, GRADIENTS).any()


def maps(made, batch, wanted, method):
    answers = made.explain(batch, targets(*wanted), method)
    return np.stack([explanations[0].raw for explanations in answers])


def test_behind_global_average_pooling_hirescam_and_xgradcam_equal_gradcam():
    made, batch = explainer(gap_dense()), images(3, (12, 10, 3))
    expected = maps(made, batch, (0, 1, 2), "gradcam")
    for method in ("hirescam", "xgradcam"):
        found = maps(made, batch, (0, 1, 2), method)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", [gap_dense, flatten_dense])
def test_the_sum_of_the_hirescam_map_and_the_bias_is_the_logit(build):
    model = build()
    made = explainer(model)
    batch, wanted = images(4, made.shape), [3, 0, 1, 2]
    bias = model.get_layer("scores").get_weights()[1]
    for row, found in enumerate(made.explain(batch, targets(*wanted), "hirescam")):
        total = found[0].raw.sum() + bias[wanted[row]]
        assert total == pytest.approx(found[0].logit, rel=1e-4, abs=1e-4)


def test_layercam_differs_from_gradcam_as_soon_as_one_class_weight_is_negative():
    model = gap_dense()
    kernel, bias = model.get_layer("scores").get_weights()
    batch = images(1, (12, 10, 3))
    for weights, same in ((np.abs(kernel), True), (kernel, False)):
        model.get_layer("scores").set_weights([weights, bias])
        made = explainer(model)
        found, expected = (maps(made, batch, (0,), name) for name in ("layercam", "gradcam"))
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-6) is same
