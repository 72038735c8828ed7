"""Cutting models: which layer, which logits, and which refusals with which message."""

import keras
import numpy as np
import pytest

from camfleet.errors import LayerRefused, ModelRefused
from camfleet_worker.models.split import probabilities
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.signature import Signature
from helpers.networks import (
    cut,
    deep_head,
    flatten_dense,
    gap_dense,
    images,
    layers,
    nested,
    randomise,
)


def sequential():
    return randomise(
        keras.Sequential(
            [
                keras.Input((10, 10, 3)),
                layers.Conv2D(4, 3, activation="relu", name="conv"),
                layers.MaxPooling2D(name="pool"),
                layers.Flatten(),
                layers.Dense(3),
                layers.Activation("softmax"),
            ]
        )
    )


def with_operations():
    """`a + b` and `* 2` are operations that model.layers doesn't list."""
    image = keras.Input((8, 8, 3))
    one = layers.Conv2D(4, 3, padding="same")(image)
    other = layers.Conv2D(4, 3, padding="same")(one)
    x = layers.GlobalAveragePooling2D()((one + other) * 2.0)
    return randomise(keras.Model(image, keras.ops.sigmoid(layers.Dense(3)(x))))


@pytest.mark.parametrize(
    ("build", "path", "activation"),
    [
        (gap_dense, "relu", "softmax"),
        (flatten_dense, "conv", "softmax"),
        (deep_head, "conv", "softmax"),
        (nested, "backbone/act", "softmax"),
        (sequential, "pool", "softmax"),
        (with_operations, "multiply", "sigmoid"),
    ],
)
def test_the_last_spatial_tensor_is_the_default_layer(build, path, activation):
    split = cut(build())
    assert split.layer.path.rstrip("_0123456789") == path
    assert split.activation == activation
    assert split.error < 1e-6


@pytest.mark.parametrize("build", [gap_dense, nested, deep_head, sequential, with_operations])
def test_head_of_conv_is_the_model(build):
    model = build()
    split, batch = cut(model), images(5, tuple(model.inputs[0].shape[1:]), seed=9)
    logits = split.head(split.conv(batch)).numpy()
    expected = model.predict(batch, verbose=0)
    found = expected if model.name == "linear" else probabilities(logits, split.activation)
    if build is not gap_dense:  # it ends in logits
        np.testing.assert_allclose(found, expected, atol=1e-6)
    else:
        np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("build", [nested, sequential])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_reloaded_model_is_cut_like_the_fresh_one(tmp_path, build, suffix):
    path = tmp_path / f"model{suffix}"
    build().save(path)
    assert cut(keras.models.load_model(path, compile=False)).layer == cut(build()).layer


def test_a_layer_inside_the_backbone_can_be_chosen_by_its_path():
    split = cut(nested(), "backbone/sepconv")
    assert split.layer.path == "backbone/sepconv"
    assert split.layer.channels == 6
    assert split.error < 1e-6


def test_layers_before_the_backbone_belong_to_the_conv_submodel():
    model = nested()
    batch = images(1, (16, 16, 3))
    inner = model.get_layer("backbone")(model.get_layer("rescale")(batch))
    np.testing.assert_allclose(cut(model).conv(batch), inner, rtol=1e-6)


def test_an_unknown_layer_is_refused_with_usable_ones():
    with pytest.raises(LayerRefused, match=r"no layer 'conv9'.* norm, relu"):
        cut(gap_dense(), "conv9")


def test_a_layer_without_a_grid_is_refused_with_its_shape():
    with pytest.raises(LayerRefused, match=r"'pool' has output \(None, 8\), not a grid"):
        cut(gap_dense(), "pool")


def test_a_layer_that_a_skip_connection_runs_past_is_refused():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(image)
    y = layers.Conv2D(4, 3, padding="same", name="bypassed")(x)
    z = layers.Add(name="sum")([x, y])
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(z)))
    with pytest.raises(
        LayerRefused,
        match=r"'bypassed': other paths run past it; the nearest usable layers are first, sum",
    ):
        cut(model, "bypassed")
    assert cut(model).layer.path == "sum"


def test_dropout_is_not_taken_for_the_last_layer():
    image = keras.Input((8, 8, 3))
    x = layers.SpatialDropout2D(0.5)(layers.Conv2D(4, 3, name="conv")(image))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert cut(model).layer.path == "conv"


def test_an_input_of_unknown_size_takes_the_cards():
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    split = cut(keras.Model(image, layers.Dense(2)(x)), shape=(9, 11, 3))
    assert (split.layer.height, split.layer.width) == (7, 9)


def test_another_input_size_than_the_cards_is_refused_with_both():
    with pytest.raises(ModelRefused, match=r"input is \(12, 10, 3\).*card says \(32, 32, 3\)"):
        cut(gap_dense(), shape=(32, 32, 3))


def test_a_model_without_a_spatial_layer_is_refused():
    image = keras.Input((4, 4, 3))
    with pytest.raises(ModelRefused, match="no layer with a spatial output"):
        cut(keras.Model(image, layers.Dense(2)(layers.Flatten()(image))))


def two_images():
    one, other = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    conv = layers.Conv2D(4, 3, name="conv")
    pooled = [layers.GlobalAveragePooling2D()(conv(x)) for x in (one, other)]
    return keras.Model([one, other], layers.Dense(2)(layers.Concatenate()(pooled)))


def test_of_two_images_the_card_must_name_one():
    with pytest.raises(ModelRefused, match=r"left \(8, 8, 3\), right .*image_input"):
        cut(two_images(), shape=(8, 8, 3))


def test_an_unknown_input_or_output_in_the_card_is_refused_with_those_there_are():
    model = gap_dense()
    for signature, message in (
        (Signature((12, 10, 3), image="photo"), "no input 'photo'; it has"),
        (Signature((12, 10, 3), output="labels"), r"no output 'labels'; it has \['scores'\]"),
        (Signature((12, 10, 3), defaults={"age": [1]}), "input 'age'; the model has none but"),
    ):
        with pytest.raises(ModelRefused, match=message):
            cut_model(model, signature, "auto", "auto", images(2, (12, 10, 3)))


def test_of_several_outputs_the_card_must_name_one():
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    kind = layers.Dense(3, "softmax", name="kind")(x)
    model = randomise(keras.Model(image, [layers.Dense(1, name="age")(x), kind]))
    with pytest.raises(ModelRefused, match=r"outputs \['age', 'kind'\]: set `output`"):
        cut(model)
    for output, classes in (("age", 1), ("kind", 3)):
        signature = Signature((8, 8, 3), output=output)
        assert cut_model(model, signature, "auto", "auto", images(2, (8, 8, 3))).classes == classes


def test_a_shared_layer_has_a_path_for_each_of_its_calls():
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    x = layers.GlobalAveragePooling2D()(shared(shared(image)))
    split = cut(keras.Model(image, layers.Dense(2)(x)))
    assert [candidate.path for candidate in split.candidates] == ["shared", "shared#2"]


def test_a_subclassed_model_is_refused_with_the_way_out():
    class Own(keras.Model):
        def call(self, x):
            return keras.ops.mean(x, axis=(1, 2))

    model = Own()
    model(np.zeros((1, 4, 4, 3), np.float32))
    with pytest.raises(ModelRefused, match="functional API"):
        cut(model, shape=(4, 4, 3))


def test_an_output_with_an_own_place_per_pixel_is_refused():
    image = keras.Input((8, 8, 3))
    with pytest.raises(ModelRefused, match="one score per class and image"):
        cut(keras.Model(image, layers.Conv2D(2, 3, name="segments")(image)))


def test_a_model_that_answers_nan_is_refused():
    model = gap_dense()
    weights = model.get_layer("scores").get_weights()
    model.get_layer("scores").set_weights([weights[0] * np.nan, weights[1]])
    with pytest.raises(ModelRefused, match="NaN"):
        cut(model)


def test_a_cards_activation_that_the_model_does_not_end_in_is_refused():
    with pytest.raises(ModelRefused, match="activation"):
        cut(gap_dense(5, "softmax"), activation="sigmoid")


def test_mixed_precision_models_are_cut_within_their_own_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = gap_dense(5, "softmax")
    finally:
        keras.config.set_dtype_policy("float32")
    assert cut(model).classes == 5


def after_pooling(layer):
    """A model with a layer on the grid between its convolution and its flat end."""
    image = keras.Input((12, 10, 3))
    x = layer(layers.Conv2D(4, 3, name="conv")(image))
    return keras.Model(image, layers.Dense(2, "softmax")(layers.Flatten()(x)))


def test_a_layer_that_answers_another_size_at_inference_is_refused_by_name():
    """RandomCrop says that it crops, and crops in training only."""
    model = after_pooling(layers.RandomCrop(6, 6, name="random_crop"))
    with pytest.raises(ModelRefused, match=r"'random_crop' \(RandomCrop\) says that it answers"):
        cut(model, "conv")


def test_a_crop_of_the_picture_that_only_training_does_is_named():
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3)(layers.RandomCrop(8, 6, name="random_crop")(image))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(
        ModelRefused, match=r"'random_crop' .*at inference it answers \(12, 10, 3\)"
    ):
        cut(model)


class Broken(layers.Layer):
    """A layer that fails on numbers only."""

    def call(self, values):
        if keras.ops.is_tensor(values) and not isinstance(values, keras.KerasTensor):
            raise ValueError("out of order")
        return values * 1.0

    def compute_output_spec(self, values):
        return keras.KerasTensor(values.shape, values.dtype)


class Noisy(layers.Layer):
    def call(self, values):
        return values + keras.random.normal(keras.ops.shape(values))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Broken(name="broken"), r"'broken' \(Broken\) can't be run at inference: out of order"),
        (Noisy(name="noisy"), r"'noisy' \(Noisy\) answers the same values differently"),
    ],
)
def test_a_layer_that_breaks_or_is_random_at_inference_is_refused_by_name(layer, words):
    with pytest.raises(ModelRefused, match=words):
        cut(after_pooling(layer), "conv")


def test_a_layer_that_cannot_take_the_cards_size_is_refused_by_name():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 9, name="wide")(image)
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(ModelRefused, match=r"'wide' \(Conv2D\) can't be run on the input"):
        cut(model, shape=(6, 6, 3))


def test_answers_for_more_than_one_picture_are_refused():
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.ops.concatenate([layers.Dense(2)(x)] * 2, axis=0))
    with pytest.raises(ModelRefused, match="2 answers to one picture"):
        cut(model)


def test_a_final_recurrent_layer_with_a_sigmoid_is_not_blamed_on_randomness():
    image = keras.Input((12, 10, 3))
    x = layers.Reshape((10, 32))(layers.Conv2D(4, 3)(image))
    split = cut(keras.Model(image, layers.LSTM(3, activation="sigmoid")(x)))
    assert split.activation == "given"


def test_a_grid_of_one_row_can_be_explained():
    image = keras.Input((3, 12, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="row")(image))
    split = cut(keras.Model(image, layers.Dense(2)(x)))
    assert (split.layer.path, split.layer.height, split.layer.width) == ("row", 1, 10)
