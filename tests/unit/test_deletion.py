"""Taking cells away: what must hold whatever the model, and what a pencil can work out."""

import itertools

import keras
import numpy as np
import pytest

from camfleet.audit.studies.findings import area, drop
from camfleet.contract.geometry import Geometry
from camfleet.contract.targets import Target
from camfleet.errors import InvalidRequest
from camfleet_worker.models import permuted
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.signature import Signature
from camfleet_worker.pictures import fills
from camfleet_worker.studies.cells import Cells, behind, generator
from camfleet_worker.studies.pointing import point
from camfleet_worker.studies.variants import Variants
from helpers.networks import deep_head, explainer, gap_dense, images, layers, plain, randomise
from helpers.studied import measure

ORDERS = ("most", "least", "random", "centre")
FILLS = ("mean", "blur")


def cells(grid=(3, 4), size=(9, 12), extents=None, shown=None):
    height, width = size
    return Cells(grid, size, extents or (0, height, 0, width), shown or (0, 0, width, height))


def curves(row):
    return [getattr(getattr(row, fill), order) for fill in FILLS for order in ORDERS]


def pooled(classes=3, cell=3, activation="softmax"):
    """A 1x1 convolution, cells averaged to 3 x 3, global average pooling, one dense layer."""
    image = keras.Input((3 * cell, 3 * cell, 3))
    x = layers.Conv2D(4, 1, name="conv")(image)
    x = layers.AveragePooling2D(cell, name="cells")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return randomise(keras.Model(image, layers.Dense(classes, activation, name="scores")(x)))


def test_every_curve_goes_from_the_probability_to_that_of_the_filled_image():
    model = deep_head()
    made, batch = explainer(model), images(3, (12, 12, 3))
    rows = measure(made, batch, class_index=2)
    whole = model.predict(batch, verbose=0)[:, 2]
    for at, row in enumerate(rows):
        assert row.probability == pytest.approx(whole[at], abs=1e-6)
        for fill in FILLS:
            filled = fills.FILLS[fill](batch[at], (0, 0, 12, 12))
            end = model.predict(filled[None], verbose=0)[0, 2]
            for order in ORDERS:
                curve = getattr(getattr(row, fill), order)
                assert curve[0] == row.probability
                assert curve[-1] == pytest.approx(end, abs=1e-6)
                assert len(curve) == len(row.steps) == 9


def test_where_the_fill_is_the_image_every_area_is_the_probability():
    made = explainer(gap_dense(5, "softmax"))
    flat = np.broadcast_to(np.array([0.2, -0.4, 0.7], np.float32), (2, 12, 10, 3)).copy()
    for row in measure(made, flat, class_index=1):
        for curve in curves(row):
            assert area(row.steps, curve) == pytest.approx(row.probability, abs=1e-6)
        assert row.mean.kept == pytest.approx(row.probability, abs=1e-6)


def test_a_model_that_always_answers_the_same_has_no_gap():
    model = gap_dense(5, "softmax")
    dense = model.get_layer("scores")
    dense.set_weights([np.zeros_like(dense.get_weights()[0]), dense.get_weights()[1]])
    study = Variants(
        images(1, (12, 10, 3))[0], (0, 0, 10, 12), images(1, (3, 4))[0],
        cells(size=(12, 10)), 8, "item",
    )  # fmt: skip
    answers = model.predict(np.stack(list(study.images())), verbose=0)[:, 1]
    found = study.read(answers.tolist())
    pairs = itertools.product(FILLS, ORDERS)
    areas = [area(found["steps"], getattr(found[fill], order)) for fill, order in pairs]
    assert areas == pytest.approx([answers[0]] * 8, abs=1e-6)
    assert (found["mean"].kept, found["blur"].shuffled) == pytest.approx((answers[0],) * 2)


def test_the_maps_order_is_the_best_of_all_for_a_linear_model():
    model = pooled(activation="sigmoid")  # which rises with its own logit alone
    made, batch = explainer(model), images(4, (9, 9, 3))
    for at, row in enumerate(measure(made, batch, class_index=1, steps=9)):
        fill = fills.mean(batch[at], (0, 0, 9, 9))
        own = cells((3, 3), (9, 9))
        subsets = [
            list(chosen) for size in range(10) for chosen in itertools.combinations(range(9), size)
        ]
        changed = [own.without(batch[at], fill, np.array(chosen, int)) for chosen in subsets]
        chances = model.predict(np.stack(changed), verbose=0)[:, 1]
        sizes = np.array([len(chosen) for chosen in subsets])
        least = [chances[sizes == size].min() for size in range(10)]
        most = [chances[sizes == size].max() for size in range(10)]
        assert row.mean.most == pytest.approx(least, abs=1e-6)
        assert row.mean.least == pytest.approx(most, abs=1e-6)


def test_insertion_is_deletion_in_the_reversed_order():
    model = deep_head()
    made, batch = explainer(model), images(1, (12, 12, 3))
    (row,) = measure(made, batch, class_index=2)
    (explained,) = made.explain(batch, [target(2)], "gradcam")
    own = cells(explained[0].raw.shape, (12, 12), made.extents)
    fill = fills.mean(batch[0], (0, 0, 12, 12))
    order = own.ranked(explained[0].raw)
    count = len(order)
    inserted = [own.without(batch[0], fill, order[count - size :]) for size in sizes_of(row, count)]
    chances = model.predict(np.stack(inserted), verbose=0)[:, 2]
    assert area(row.steps, row.mean.least) == pytest.approx(area(row.steps, chances), abs=1e-6)


def sizes_of(row, count):
    return [round(step * count) for step in row.steps]


def target(index):
    return Target(kind="index", index=index)


def test_a_mask_of_ones_takes_nothing_away():
    own, (image,) = cells(), images(1, (9, 12, 3))
    mask = own.mask(np.ones((3, 4), np.float32))
    assert (mask == 1).all()
    seen = behind(image, fills.blur(image, (0, 0, 12, 9)), mask)
    np.testing.assert_array_equal(seen, image)
    model = gap_dense(4, "softmax", (9, 12, 3))
    before, after = model.predict(np.stack([image, seen]), verbose=0)[:, 0]
    assert drop(np.array([before]), np.array([after])) == 0
    assert not after > before


def test_a_mask_of_zeros_leaves_the_fill():
    own, (image,) = cells(), images(1, (9, 12, 3))
    fill = fills.mean(image, (0, 0, 12, 9))
    seen = behind(image, fill, own.mask(np.zeros((3, 4), np.float32)))
    np.testing.assert_allclose(seen, fill, atol=1e-7)


def test_of_equal_cells_the_lower_number_comes_first():
    own = cells((2, 3), (4, 6))
    assert own.ranked(np.array([[1, 2, 1], [2, 0, 1]], np.float32)).tolist() == [1, 3, 0, 2, 5, 4]
    assert own.ranked(np.zeros((2, 3), np.float32)).tolist() == [0, 1, 2, 3, 4, 5]


def test_the_centre_comes_first_and_of_equally_near_cells_the_lower_number():
    own = cells((3, 3), (9, 9))
    assert own.from_centre().tolist() == [4, 1, 3, 5, 7, 0, 2, 6, 8]


def test_cells_that_share_pixels_unevenly_still_cover_every_pixel_once():
    own = cells((3, 3), (10, 11))
    image = np.zeros((10, 11, 1), np.float32)
    gone = [own.without(image, image + 1, np.array([cell])) for cell in range(9)]
    assert (sum(gone) == 1).all()


def test_nothing_but_what_is_visible_is_filled():
    shown = (0, 2, 12, 7)  # of 9 x 12 pixels; above and below is padding
    own = Cells((9, 4), (9, 12), (0, 9, 0, 12), shown)
    assert own.visible.min() == 2 * 4
    assert own.visible.max() == 7 * 4 - 1
    (image,) = images(1, (9, 12, 3))
    image[:2], image[7:] = -1, -1
    for make in fills.FILLS.values():
        fill = make(image, shown)
        gone = own.without(image, fill, np.arange(36))
        np.testing.assert_array_equal(gone[:2], image[:2])
        np.testing.assert_array_equal(gone[7:], image[7:])
        np.testing.assert_array_equal(gone[2:7], fill[2:7])
    flat = np.where(np.arange(9)[:, None, None] // 1 % 9 < 2, -1, 5).astype(np.float32)
    flat = np.broadcast_to(flat, (9, 12, 1)).copy()
    flat[7:] = -1
    np.testing.assert_allclose(fills.blur(flat, shown), flat, atol=1e-5)  # no padding seeps in
    assert own.mean(own.mask(np.zeros((9, 4), np.float32))) == 0


def test_pixels_beyond_a_map_belong_to_its_outermost_cells():
    own = Cells((2, 2), (8, 8), (2, 6, 2, 6), (0, 0, 8, 8))
    image = np.zeros((8, 8, 1), np.float32)
    corner = own.without(image, image + 1, np.array([0]))
    np.testing.assert_array_equal(corner[..., 0], np.outer(np.arange(8) < 4, np.arange(8) < 4))


@pytest.mark.parametrize(("count", "steps"), [(49, 8), (64, 8), (9, 8), (4, 8), (1, 8), (9, 9)])
def test_a_curve_has_even_steps_and_never_more_than_there_are_cells(count, steps):
    own = cells((1, count), (1, count))
    made = Variants(
        np.zeros((1, count, 1), np.float32), (0, 0, count, 1), np.zeros((1, count), np.float32),
        own, steps, "item",
    )  # fmt: skip
    passes = sum(1 for _ in made.images())
    found = made.read([0.5] * passes)
    sizes = np.array(found["steps"]) * count
    assert (sizes[0], sizes[-1], len(sizes)) == (0, count, min(steps, count) + 1)
    assert np.abs(sizes - np.linspace(0, count, len(sizes))).max() <= 0.5 + 1e-9
    assert passes == 1 + 2 * (4 * (len(sizes) - 2) + 3)


def test_random_orders_depend_on_the_item_and_on_nothing_else():
    drawn = {item: generator(item, "order").permutation(49).tolist() for item in "abc"}
    assert drawn["a"] == generator("a", "order").permutation(49).tolist()
    assert drawn["a"] != drawn["b"] != drawn["c"]
    assert drawn["a"] != generator("a", "mask").permutation(49).tolist()


def test_what_is_measured_of_an_image_does_not_depend_on_the_others():
    made, batch = explainer(deep_head()), images(5, (12, 12, 3))
    together = measure(made, batch, class_index=2, heads=2)
    (alone,) = measure(made, batch[:1], class_index=2, heads=2)
    np.testing.assert_allclose(curves(alone), curves(together[0]), atol=1e-5)
    assert alone.heads == pytest.approx(together[0].heads, abs=1e-5)


def test_maps_follow_a_permuted_head_and_are_the_same_with_the_models_own():
    for model in (gap_dense(5, "softmax"), deep_head()):
        made = explainer(model)
        for row in measure(made, images(3, made.shape), class_index=1, heads=3):
            assert row.again < 1e-6
            assert len(row.heads) == 3
            assert max(row.heads) > 0.01


def test_a_permuted_head_is_the_head_with_its_weights_permuted():
    model = gap_dense(5, "softmax")
    made, batch = explainer(model), images(3, made_shape(model))
    wanted = [target(index) for index in (0, 3, 1)]
    for method in ("gradcam", "cam", "layercam"):
        found = list(permuted.explain(made, batch, wanted, method, (), 2))
        for number in (1, 2):
            order = np.random.default_rng([number, 0]).permutation(8)
            other = keras.models.clone_model(model)
            other.set_weights(model.get_weights())
            kernel, bias = other.get_layer("scores").get_weights()
            mixed = np.empty_like(kernel)
            mixed[order] = kernel
            other.get_layer("scores").set_weights([mixed, bias])
            expected = explainer(other).explain(batch, wanted, method)
            for (one,), (two,) in zip(found[number], expected, strict=True):
                np.testing.assert_allclose(one.raw, two.raw, rtol=1e-4, atol=1e-6)


def made_shape(model):
    return tuple(model.inputs[0].shape[1:])


def test_further_inputs_come_along_with_every_variant():
    image, age = keras.Input((10, 10, 3), name="photo"), keras.Input((2,), name="age")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Concatenate()([x, age])
    model = randomise(keras.Model([image, age], layers.Dense(3, "softmax", name="scores")(x)))
    signature = Signature((10, 10, 3), defaults={})
    split = cut_model(model, signature, "auto", "auto", images(2, (10, 10, 3)))
    card = explainer(gap_dense(shape=(10, 10, 3))).card
    made = Explainer(card, "0" * 64, [split], "mean", 4, plain([split]))
    batch, ages = images(3, (10, 10, 3)), images(3, (2,), seed=1)
    rows = measure(made, batch, class_index=1, heads=1, extras=(ages,))
    expected = model.predict([batch, ages], verbose=0)[:, 1]
    assert [row.probability for row in rows] == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_regression_is_refused_by_name():
    made = explainer(gap_dense(1))
    with pytest.raises(InvalidRequest, match=r"net@1 is a regression"):
        measure(made, images(1, made.shape))


def test_answers_that_are_no_probabilities_are_refused_by_name():
    made = explainer(gap_dense(3), activation="given")
    with pytest.raises(InvalidRequest, match=r"net@1 answers .* probability"):
        measure(made, 9 * images(4, made.shape))


def test_a_row_that_does_not_speak_for_its_class_is_an_error_of_its_own():
    made = explainer(gap_dense(3, "softmax"))
    (row,) = measure(made, images(1, made.shape), target="not:top")
    assert row.error.code == "invalid_request"
    assert row.mean is None


WHOLE = Geometry(
    image_height=40, image_width=60, input_height=20, input_width=20,
    left=0, top=0, right=60, bottom=40,
)  # fmt: skip


def test_a_box_of_the_whole_image_is_hit_and_has_all_energy():
    found = point(images(1, (4, 6))[0], WHOLE, (10, 30), [(0, 0, 60, 40)])
    assert (found.peak_distance, found.centre_distance) == (0, 0)
    assert (found.energy, found.area) == pytest.approx((1, 1))


def test_energy_is_the_share_of_heat_in_boxes_that_count_once_where_they_overlap():
    heat = np.array([[3, 1], [0, -4]], np.float32)
    left = point(heat, WHOLE, (15, 10), [(0, 0, 30, 40)])
    assert (left.energy, left.area) == pytest.approx((0.75, 0.5))
    twice = point(heat, WHOLE, (15, 10), [(0, 0, 30, 40), (0, 0, 15, 20), (0, 0, 30, 40)])
    assert (twice.energy, twice.area) == pytest.approx((0.75, 0.5))
    part = point(heat, WHOLE, (15, 10), [(0, 0, 15, 20)])
    assert (part.energy, part.area) == pytest.approx((3 / 8, 1 / 8))


def test_heat_outside_the_image_counts_for_nothing():
    padded = Geometry(
        image_height=20, image_width=60, input_height=20, input_width=20,
        left=0, top=-20, right=60, bottom=40,
    )  # fmt: skip
    heat = np.array([[9], [1], [9]], np.float32)
    found = point(heat, padded, (30, 10), [(0, 0, 60, 20)])
    assert (found.energy, found.area) == pytest.approx((1, 1))


def test_distances_are_those_to_the_nearest_box():
    found = point(np.ones((2, 2), np.float32), WHOLE, (33, 24), [(0, 0, 30, 20), (50, 0, 60, 9)])
    assert found.peak_distance == pytest.approx(5)
    assert found.centre_distance == 0
