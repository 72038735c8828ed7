"""Heat lies where the picture's evidence does, whatever the model does to the picture on its way.

A network that answers to brightness gets a bright square, and the heat's centre must come back to
the square's to within half a cell, for every kind of layer that camfleet accepts.
"""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from camfleet.contract.geometry import Geometry
from camfleet.errors import LayerRefused, ModelRefused
from camfleet_worker.models.placement import Axis, Placement
from camfleet_worker.models.tf.flat_graph import flatten
from camfleet_worker.models.tf.places import follow
from camfleet_worker.models.tf.trial import patched, stands_as_said
from camfleet_worker.pictures import regions
from helpers.networks import cut, explainer, targets

layers = keras.layers
SIDE = 96
SQUARE = 8


def conv(stride=1, kernel=3, padding="same", **extra):
    """Return a convolution that answers to brightness."""
    return layers.Conv2D(
        2,
        kernel,
        strides=stride,
        padding=padding,
        activation="relu",
        kernel_initializer=keras.initializers.Constant(1 / kernel**2),
        **extra,
    )


def bright(move, size=(SIDE, SIDE)):
    """Return a network that moves the picture, and answers `bright` or `dark`."""
    image = keras.Input((*size, 3))
    pooled = layers.GlobalAveragePooling2D()(move(image))
    dense = layers.Dense(2, "softmax")
    model = keras.Model(image, dense(pooled))
    kernel = np.zeros(dense.kernel.shape, np.float32)
    kernel[:, 0], kernel[:, 1] = 1, -1
    dense.set_weights([kernel, np.zeros(2, np.float32)])
    return model


def picture(row, column, size=(SIDE, SIDE)):
    """Return a dark image with a bright square around a place, as rows, columns and channels."""
    half = SQUARE // 2
    pixels = np.zeros((*size, 3), np.float32)
    pixels[row - half : row + half, column - half : column + half] = 1
    return pixels


def heat_centre(made, row, column, size=(SIDE, SIDE)):
    """Return the heat's centre (row, column) for a square, in pixels of the input."""
    found = made.explain(picture(row, column, size)[None], targets("0"), "gradcam")[0][0]
    whole = Geometry(
        image_height=size[0],
        image_width=size[1],
        input_height=size[0],
        input_width=size[1],
        left=0,
        top=0,
        right=size[1],
        bottom=size[0],
    )
    focus = regions.focus(found.raw, made.place(whole))
    return focus.centre_y, focus.centre_x


ACCEPTED = {
    "nothing": lambda x: conv()(x),  # noqa: PLW0108  # a new layer each time
    "stride 2, same": lambda x: conv(2)(x),  # noqa: PLW0108  # a new layer each time
    "stride 2, valid": lambda x: conv(2, padding="valid")(x),  # noqa: PLW0108  # a new layer each time
    "stride 4 twice": lambda x: conv(2)(conv(4)(x)),
    "valid 7 twice": lambda x: conv(kernel=7, padding="valid")(conv(kernel=7, padding="valid")(x)),
    "dilated": lambda x: conv(dilation_rate=3, padding="valid")(x),  # noqa: PLW0108  # a new layer each time
    "max pooling": lambda x: layers.MaxPooling2D(3, strides=2)(conv()(x)),
    "average pooling, same": lambda x: layers.AveragePooling2D(3, 2, "same")(conv()(x)),
    "adaptive pooling": lambda x: layers.AdaptiveAveragePooling2D((12, 16))(conv()(x)),
    "depthwise": lambda x: layers.DepthwiseConv2D(  # noqa: PLW0108  # a new layer each time
        3, strides=2, padding="same", depthwise_initializer="ones", activation="relu"
    )(x),
    "separable": lambda x: layers.SeparableConv2D(  # noqa: PLW0108  # a new layer each time
        2, 3, strides=2, depthwise_initializer="ones", pointwise_initializer="ones"
    )(x),
    "transposed convolution": lambda x: layers.Conv2DTranspose(
        2, 3, strides=2, padding="same", kernel_initializer="ones", activation="relu"
    )(conv(4)(x)),
    "transposed convolution, valid": lambda x: layers.Conv2DTranspose(
        2, 4, strides=2, kernel_initializer="ones", activation="relu"
    )(conv(4)(x)),
    "crop after": lambda x: layers.Cropping2D(((10, 30), (4, 0)))(conv()(x)),
    "centre crop": lambda x: conv()(layers.CenterCrop(64, 64)(x)),
    "crop before": lambda x: conv()(layers.Cropping2D(((24, 0), (0, 10)))(x)),
    "crop between": lambda x: conv()(layers.Cropping2D(((4, 8), (2, 2)))(conv(2)(x))),
    "pad before": lambda x: conv(2)(layers.ZeroPadding2D(((20, 4), (0, 7)))(x)),
    "slice": lambda x: conv()(x[:, 16:88, 10:]),
    "slice by steps": lambda x: conv()(x[:, 16:88:2, ::3]),
    "flip by slice": lambda x: conv()(x[:, ::-1]),
    "flip": lambda x: conv()(ops.flip(x, axis=2)),
    "transpose": lambda x: conv()(layers.Permute((2, 1, 3))(x)),
    "transpose between": lambda x: conv(2)(ops.transpose(conv(2)(x), (0, 2, 1, 3))),
    "turn": lambda x: conv()(ops.rot90(x, k=1, axes=(1, 2))),
    "resize": lambda x: conv(2)(layers.Resizing(60, 40)(x)),
    "resize, nearest": lambda x: conv()(layers.Resizing(48, 192, "nearest")(x)),
    "resize with crop": lambda x: conv()(layers.Resizing(96, 64, crop_to_aspect_ratio=True)(x)),
    "resize with padding": lambda x: conv()(layers.Resizing(96, 64, pad_to_aspect_ratio=True)(x)),
    "resize operation": lambda x: conv()(ops.image.resize(x, (32, 48))),
    "upsample": lambda x: layers.UpSampling2D(2)(conv(4)(x)),
    "upsample, bilinear": lambda x: layers.UpSampling2D(4, interpolation="bilinear")(conv(4)(x)),
    "tokens and back": lambda x: layers.Reshape((24, 24, 2))(layers.Reshape((576, 2))(conv(4)(x))),
    "crop operation": lambda x: conv()(
        ops.image.crop_images(x, 10, 6, target_height=70, target_width=80)
    ),
    "pad operation": lambda x: conv()(ops.pad(x, ((0, 0), (8, 0), (0, 4), (0, 0)))),
    "inception": lambda x: layers.Concatenate()(
        [conv(2)(x), conv(2, 5)(x), layers.MaxPooling2D(2)(conv()(x))]
    ),
    "squeeze and excitation": lambda x: layers.Multiply()(
        [
            conv(2)(x),
            layers.Reshape((1, 1, 2))(layers.Dense(2, "sigmoid")(layers.GlobalMaxPooling2D()(x))),
        ]
    ),
    "residual": lambda x: layers.Add()([conv(2)(x), conv(2, 1)(x)]),
    "normalised": lambda x: layers.BatchNormalization()(layers.Rescaling(2.0)(conv()(x))),
    "random flips, idle": lambda x: conv()(layers.RandomFlip()(layers.RandomRotation(0.5)(x))),
    "one row": lambda x: layers.AveragePooling2D((SIDE, 2))(conv()(x)),
    "skip of a padded half": lambda x: layers.Concatenate()(
        [
            conv(2)(x),
            layers.ZeroPadding2D(((0, 1), (0, 1)))(layers.Cropping2D(((0, 1), (0, 1)))(conv(2)(x))),
        ]
    ),
    "upsampled, padded and joined": lambda x: layers.Concatenate()(
        [
            conv(2)(x),
            layers.ZeroPadding2D(((0, 2), (0, 2)))(
                layers.UpSampling2D(2)(layers.Cropping2D(((0, 1), (0, 1)))(conv(4)(x)))
            ),
        ]
    ),
    "nested": lambda x: keras.Sequential(  # noqa: PLW0108  # a new layer each time
        [keras.Input((SIDE, SIDE, 3)), layers.CenterCrop(64, 80), conv(2)]
    )(x),
}


@pytest.mark.parametrize("move", ACCEPTED.values(), ids=ACCEPTED)
def test_heat_comes_back_to_the_bright_square(move):
    made = explainer(bright(move))
    placement = made.split.placement
    for row, column in itertools.product((40, 52), (36, 56)):
        found = heat_centre(made, row, column)
        for axis, place, wanted in zip(
            (placement.rows, placement.columns), found, (row, column), strict=True
        ):
            if axis.step:  # one cell alone says nothing of a place
                assert abs(place - wanted) <= max(1.0, abs(axis.step)) / 2 + 0.05, (
                    found,
                    placement,
                )


LOST = {
    "channels first": (lambda x: layers.Permute((3, 1, 2))(conv(4)(x)), "conv"),
    "a roll": (lambda x: ops.roll(conv()(x), 20, axis=1), "conv"),
    "a tile": (lambda x: ops.tile(conv()(x), (1, 2, 1, 1)), "conv"),
    "two pictures in one": (
        lambda x: layers.Concatenate(axis=1)([conv(name="a")(x), conv(name="b")(x)]),
        None,
    ),
    "a wrong reshape": (lambda x: layers.Reshape((48, 192, 2))(conv()(x)), "conv"),
    "attention": (
        lambda x: layers.Reshape((24, 24, 2))(
            layers.MultiHeadAttention(1, 2)(*[layers.Reshape((576, 2))(conv(4)(x))] * 2)
        ),
        "conv",
    ),
    "a sum with its mirror image": (
        lambda x: layers.Add()([y := conv()(x), ops.flip(y, axis=1)]),
        "conv",
    ),
}


@pytest.mark.parametrize(("move", "before"), LOST.values(), ids=LOST)
def test_where_places_are_lost_the_map_is_made_before(move, before):
    model = bright(lambda x: layers.GlobalAveragePooling2D(keepdims=True)(move(x)))
    if before is None:
        with pytest.raises(ModelRefused, match="places are lost in 'concatenate"):
            cut(model)
    else:
        assert cut(model).layer.path.startswith(before)


def test_a_grid_of_channels_by_rows_is_no_grid_of_the_picture():
    image = keras.Input((32, 48, 3))
    maps = conv(2, name="maps")(image)
    turned = layers.Permute((3, 1, 2), name="turned")(maps)
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(turned)))
    assert cut(model).layer.path == "maps"
    with pytest.raises(
        LayerRefused, match=r"'turned' has output .*not a grid .* aren't places in the picture"
    ):
        cut(model, "turned")


def test_a_model_that_loses_all_places_is_refused_with_the_layer_that_does():
    with pytest.raises(ModelRefused, match=r"places are lost in 'roll\w*' \(Roll\)"):
        cut(bright(lambda x: conv()(ops.roll(x, 20, axis=1))))


class Mirror(layers.Layer):
    """A layer of somebody's own, which turns the picture upside down without a word."""

    def call(self, x):
        return ops.flip(x, axis=1)


class Swish(layers.Layer):
    def call(self, x):
        return x * ops.sigmoid(x)


@pytest.mark.parametrize("times", [2, 3, (2, 5)])
def test_repeated_cells_stand_where_they_are(times):
    placement = cut(bright(lambda x: layers.UpSampling2D(times)(conv(4)(x)))).placement
    down, across = times if isinstance(times, tuple) else (times, times)
    assert placement.rows.step == pytest.approx(4 / down, abs=1e-4)
    assert placement.columns.step == pytest.approx(4 / across, abs=1e-4)
    assert placement.columns.count == 24 * across


def _over_places(x):
    """Mix the cells, as an MLP-Mixer does, in a tensor whose last axis runs over them."""
    turned = layers.Permute((2, 1))(layers.Reshape((576, 2))(conv(4)(x)))
    return layers.Reshape((24, 24, 2))(layers.Permute((2, 1))(layers.Dense(576)(turned)))


def _halves(x):
    """Put a tensor that has lost its places below one that has them."""
    return ops.concatenate([conv()(x), ops.roll(conv()(x), 3, axis=1)], axis=1)


def _reduced(x):
    """Reduce rows of a cube, in which every axis is as long."""
    maps = layers.Conv2D(16, 3, 6, "same", activation="relu")(x)
    return conv()(layers.Reshape((16, 16, 1))(ops.max(maps, axis=1)))


def test_a_tensor_without_places_is_no_padding():
    with pytest.raises(ModelRefused, match="places are lost"):
        cut(bright(_halves))


@pytest.mark.parametrize("move", [_over_places, _reduced])
def test_what_mixes_places_in_a_shape_that_looks_the_same_loses_them(move):
    kinds = {"Dense", "Concatenate", "Max", "Reshape", "Permute"}
    net = bright(move)
    assert cut(net).layer.path.partition("_")[0] == "conv2d"
    found = [layer.name for layer in net.layers if type(layer).__name__ in kinds]
    for name in found[-1:]:
        with pytest.raises(LayerRefused):
            cut(net, name)


@pytest.mark.parametrize("shift", [8, 16])
def test_a_function_of_ones_own_that_shifts_the_picture_is_found_out(shift):
    def shifted(pixels):
        return ops.roll(pixels, shift, axis=1)

    for move in (layers.Lambda(shifted), layers.Activation(shifted)):
        with pytest.raises(LayerRefused, match="patches put on it show elsewhere"):
            cut(bright(lambda x, move=move: conv(2)(conv(2)(move(x)))))


@pytest.mark.parametrize("share", [0.2, 0.4, 0.7])
def test_a_function_of_ones_own_that_enlarges_the_middle_is_found_out(share):
    side = round(SIDE * share)
    low = (SIDE - side) // 2

    def enlarged(pixels):
        middle = pixels[:, low : low + side, low : low + side]
        return ops.image.resize(middle, (SIDE, SIDE))

    with pytest.raises(LayerRefused, match="patches put on it show elsewhere"):
        cut(bright(lambda x: conv(2)(conv(2)(layers.Lambda(enlarged)(x)))))


class Resizing(layers.Layer):
    """A layer of somebody's own with a name of Keras', which does something else."""

    def call(self, x):
        return x * 2 - 1


class Strided(layers.Conv2D):
    """A layer of somebody's own that computes what Keras' does."""


def test_layers_are_known_by_what_they_compute_rather_than_by_name():
    assert cut(bright(lambda x: conv()(Resizing(name="own")(x)))).placement.assumed == ("own",)
    placement = cut(bright(Strided(2, 3, 4, "same"))).placement
    assert (placement.assumed, placement.rows.step) == ((), 4)


@pytest.mark.parametrize("value", [-1, 0.5, 255])
def test_padding_of_any_value_is_none_of_the_picture(value):
    def padded(x):
        border = ((0, 0), (12, 4), (0, 8), (0, 0))
        return conv(2)(ops.pad(x, border, constant_values=value))

    placement = cut(bright(padded)).placement
    assert (placement.rows.start, placement.rows.count) == (-10.5, 56)
    assert (placement.columns.start, placement.columns.count) == (1.5, 52)


def test_channels_of_padding_have_no_places_of_their_own():
    def widened(x):
        maps = conv(4)(x)
        return ops.pad(maps, ((0, 0), (0, 0), (0, 0), (1, 1))) + layers.Conv2D(4, 1)(maps)

    assert cut(bright(widened)).layer.path.startswith("add")


def test_pictures_that_depend_on_the_others_of_their_batch_are_refused():
    def normalised(x):
        maps = conv(2)(x)
        return maps - ops.mean(maps, axis=0, keepdims=True)

    with pytest.raises(ModelRefused, match="depends on the others of its batch"):
        cut(bright(normalised))


def test_pictures_cut_into_a_batch_of_parts_are_refused():
    def windows(x):
        maps = conv(4)(x)
        parts = conv()(ops.reshape(maps, (-1, 12, 24, 2)))
        return ops.reshape(parts, (-1, 24, 24, 2))

    assert cut(bright(windows)).layer.path.startswith("conv2d")


def test_parts_of_the_picture_put_side_by_side_are_no_grid_of_it():
    with pytest.raises(ModelRefused, match="places are lost"):
        cut(bright(lambda x: conv()(ops.concatenate([x[:, :, :30], x[:, :, 60:]], axis=2))))


def test_a_function_of_ones_own_is_believed_where_the_trial_agrees():
    model = bright(lambda x: conv(2)(layers.Lambda(lambda pixels: pixels * 2, name="own")(x)))
    assert cut(model).placement.assumed == ("own",)


def test_a_layer_of_unknown_kind_is_believed_only_where_the_trial_agrees():
    assert cut(bright(lambda x: Swish()(conv(2)(x)))).placement.assumed == ("swish",)
    with pytest.raises(LayerRefused, match="patches put on it show elsewhere; perhaps mirror"):
        cut(bright(lambda x: conv(2)(Mirror(name="mirror")(x))))


def _random_network(seed, own):
    """Return a network of random weights on a small grid, with a layer of one's own."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3, activation="relu")(own(layers.CenterCrop(8, 6)(image)))
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("seed", range(24))
def test_a_small_grid_of_random_weights_isnt_refused_by_chance(seed):
    assert cut(_random_network(seed, Swish(name="own"))).placement.assumed == ("own",)


@pytest.mark.parametrize("seed", range(4))
def test_a_small_grid_that_is_mirrored_is_refused_with_any_weights(seed):
    with pytest.raises(LayerRefused, match="patches put on it show elsewhere"):
        cut(_random_network(seed, Mirror(name="mirror")))


@pytest.mark.parametrize("size", [(40, 64), (64, 40)])
def test_a_trial_finds_every_orientation_but_the_right_one_wrong(size):
    model = bright(lambda x: conv(4)(x), size)  # noqa: PLW0108  # a new layer each time
    image = np.random.default_rng(3).random((*size, 3), np.float32)
    graph = flatten(model, model.inputs[0].name, (*size, 3), 0)
    tensor = next(step.output for step in graph.steps if step.kind == "Conv2D")
    right = follow(graph).placement(tensor)
    forward = keras.Model(graph.image, tensor)
    images, centres = patched(image, right)
    maps = np.asarray(forward(images))
    assert stands_as_said(maps, centres, right)
    for rows, columns in ((-1, 1), (1, -1), (-1, -1)):
        wrong = Placement(_turned(right.rows, rows), _turned(right.columns, columns))
        assert not stands_as_said(maps, centres, wrong)


def _turned(axis, sign):
    last = axis.start + axis.step * (axis.count - 1)
    return axis if sign > 0 else Axis(last, -axis.step, axis.count)


def test_a_map_that_never_changes_proves_nothing_wrong():
    placement = Placement(Axis(2, 4, 8), Axis(2, 4, 8))
    _, centres = patched(np.zeros((32, 32, 3), np.float32), placement)
    assert stands_as_said(np.ones((1 + len(centres), 8, 8, 2), np.float32), centres, placement)


def test_what_the_model_never_saw_has_no_heat():
    made = explainer(bright(lambda x: conv()(layers.Cropping2D(((48, 0), (0, 0)))(x))))
    whole = Geometry(
        image_height=960, image_width=480, input_height=96, input_width=96,
        left=0, top=0, right=480, bottom=960,
    )  # fmt: skip
    placed = made.place(whole)
    assert (placed.top, placed.bottom, placed.left, placed.right) == (480, 960, 0, 480)


def test_what_was_cut_off_and_padded_again_has_no_heat():
    def hidden(x):
        lower = layers.Cropping2D(((48, 0), (0, 0)))(x)
        return conv(4, bias_initializer="ones")(layers.ZeroPadding2D(((48, 0), (0, 0)))(lower))

    made = explainer(bright(hidden))
    raw = made.explain(picture(70, 40)[None], targets("0"), "gradcam")[0][0].raw
    assert raw.shape == (24, 24)
    assert not raw[:11].any()
    assert raw[12:].all()


@pytest.mark.parametrize("fuse", ["mean", "max"])
def test_layers_before_and_after_a_crop_are_fused_in_their_places(fuse):
    from camfleet.registry.cards import Card, CardInput
    from camfleet_worker.models.explainer import Explainer
    from helpers.networks import plain

    def move(x):
        before = conv(name="before")(x)
        return conv(2, name="after")(layers.CenterCrop(64, 64)(before))

    model = bright(move)
    splits = [cut(model, "before"), cut(model, "after")]
    card = Card(id="n", artifact="n.keras", input=CardInput(height=SIDE, width=SIDE))
    made = Explainer(card, "0" * 64, splits, fuse, 4, plain(splits))
    assert np.allclose(heat_centre(made, 40, 56), (40, 56), atol=1)
