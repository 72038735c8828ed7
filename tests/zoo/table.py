"""The small models by name, and where each is expected to be cut."""

import keras
from keras import layers, ops

from zoo import built, joined
from zoo.built import SHAPE, ended, pooled, prepared
from zoo.checks import Case

GRID = (10, 8, 6)


@keras.saving.register_keras_serializable("zoo")
class Swish(layers.Layer):
    """A custom layer, registered in this process."""

    def __init__(self, **options):
        super().__init__(**options)
        self.beta = self.add_weight(name="beta", shape=())

    def call(self, x):
        return x * ops.sigmoid(self.beta * x)


def at_maps(build, activation="softmax", **options):
    """Return the case of a model that's cut at the trunk's last layer, `maps`."""
    options = {"layer": "maps", "grid": GRID} | options
    return Case(build=build, activation=activation, **options)


def attended(maps):
    tokens = layers.Reshape((-1, maps.shape[-1]))(maps)
    x = layers.LayerNormalization()(
        layers.Add()([tokens, layers.MultiHeadAttention(2, 4)(tokens, tokens)])
    )
    return layers.Dense(5, "softmax")(layers.GlobalAveragePooling1D()(x))


def excited(maps):
    """Squeeze and excitation after the last convolution: the head starts after the product."""
    gate = layers.GlobalAveragePooling2D(keepdims=True)(maps)
    gate = layers.Conv2D(6, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply(name="excite")([maps, gate])
    return layers.Dense(5, "softmax")(layers.GlobalAveragePooling2D()(x))


def convolved(activation="softmax", *, first):
    """Return a classifier of a 1x1 convolution before or after the pooling."""

    def end(maps):
        conv = layers.Conv2D(5, 1, name="classes")
        pool = layers.GlobalAveragePooling2D(keepdims=True)
        x = pool(conv(maps)) if first else conv(pool(maps))
        return layers.Activation(activation)(layers.Flatten()(x))

    return lambda: ended(end)


def conv_softmax(maps):
    """Softmax inside a convolution over one place, then a reshape."""
    x = layers.GlobalAveragePooling2D(keepdims=True)(maps)
    return layers.Reshape((5,))(layers.Conv2D(5, 1, activation="softmax", name="classes")(x))


def depthwise(maps):
    x = layers.SeparableConv2D(7, 3, activation="elu", name="separable")(maps)
    x = layers.DepthwiseConv2D(2, activation="elu", name="depthwise")(x)
    return layers.Dense(5, "softmax")(layers.Flatten()(x))


def dropped(maps):
    x = layers.GaussianNoise(0.3)(layers.SpatialDropout2D(0.5)(maps))
    return layers.Dense(5, "softmax")(layers.Dropout(0.5)(layers.Flatten()(x)))


def nested_lists(maps):
    """A nested model that takes a list."""
    pair = keras.Input((10, 8, 6)), keras.Input((10, 8, 6))
    inner = keras.Model(pair, layers.Multiply(name="product")(pair), name="inner")
    x = inner([maps, layers.Conv2D(6, 1)(maps)])
    return layers.Dense(5, "softmax")(layers.GlobalAveragePooling2D()(x))


def nested_dicts(maps):
    """A nested model that takes and returns dicts, in another order than it was built with."""
    pair = {name: keras.Input((10, 8, 6), name=name) for name in ("b", "a")}
    made = {"out": layers.Subtract(name="difference")([pair["b"], pair["a"]])}
    x = keras.Model(pair, made, name="inner")({"a": maps, "b": layers.Conv2D(6, 1)(maps)})
    return layers.Dense(5, "softmax")(layers.GlobalAveragePooling2D()(x["out"]))


def attended_with_scores(maps):
    tokens = layers.Reshape((-1, maps.shape[-1]))(maps)
    attention = layers.MultiHeadAttention(2, 4)
    x, _ = attention(tokens, tokens, return_attention_scores=True)
    return layers.Dense(5, "softmax")(layers.GlobalAveragePooling1D()(x))


def always_dropped(maps):
    """Dropout that the model calls in training mode; inference turns it off again."""
    x = layers.Dropout(0.5)(layers.Flatten()(maps), training=True)
    return layers.Dense(5, "softmax")(x)


def repeated(maps):
    """One dense layer with softmax, called twice."""
    dense = layers.Dense(6, "softmax", name="dense")
    return dense(dense(layers.GlobalAveragePooling2D()(maps)))


def reshaped(maps):
    """Softmax in the middle of reshapes and layers that do nothing."""
    x = layers.Reshape((1, 5))(layers.Dense(5)(layers.Flatten()(maps)))
    x = layers.Activation("softmax", name="softmax")(x)
    return layers.Dropout(0.5)(layers.Identity()(layers.Reshape((5,))(x)))


def own_layer():
    return ended(
        lambda maps: layers.Dense(5, "softmax")(
            layers.GlobalMaxPooling2D()(Swish(name="swish")(maps))
        )
    )


ENDS = {
    "softmax in dense": at_maps(pooled(layers.Dense(5, "softmax"))),
    "linear": at_maps(pooled(layers.Dense(5))),
    "softmax layer": at_maps(pooled(lambda x: layers.Softmax()(layers.Dense(5)(x)))),
    "softmax activation": at_maps(
        pooled(lambda x: layers.Activation("softmax")(layers.Dense(5)(x)))
    ),
    "softmax operation": at_maps(pooled(lambda x: ops.softmax(layers.Dense(5)(x)))),
    "softmax of a temperature": at_maps(pooled(lambda x: ops.softmax(layers.Dense(5)(x) / 3.0))),
    "log softmax": at_maps(
        pooled(lambda x: layers.Activation("log_softmax")(layers.Dense(5)(x))),
        logarithm=True,
    ),
    "multi-label": at_maps(pooled(layers.Dense(5, "sigmoid")), "sigmoid"),
    "sigmoid operation": at_maps(pooled(lambda x: ops.sigmoid(layers.Dense(5)(x))), "sigmoid"),
    "binary": at_maps(pooled(layers.Dense(1, "sigmoid")), "sigmoid"),
    "binary, sigmoid layer": at_maps(
        pooled(lambda x: layers.Activation("sigmoid")(layers.Dense(1)(x))), "sigmoid"
    ),
    "regression": at_maps(pooled(layers.Dense(1)), "none"),
    "hidden layer": at_maps(
        lambda: ended(
            lambda maps: layers.Dense(5, "softmax")(
                layers.BatchNormalization()(layers.Dense(7, "elu")(layers.Flatten()(maps)))
            )
        )
    ),
    "max pooling": at_maps(
        lambda: ended(lambda maps: layers.Dense(5, "softmax")(layers.GlobalMaxPooling2D()(maps)))
    ),
    "keepdims": at_maps(convolved(first=False)),
    "class maps": at_maps(convolved(first=True), layer="classes", grid=(10, 8, 5)),
    "class maps, sigmoid": at_maps(
        convolved("sigmoid", first=True), "sigmoid", layer="classes", grid=(10, 8, 5)
    ),
    "softmax in a convolution": at_maps(lambda: ended(conv_softmax), final="classes"),
    "separable": at_maps(lambda: ended(depthwise), layer="depthwise", grid=(7, 5, 7)),
    "dropout": at_maps(lambda: ended(dropped)),
    "dropout in training": at_maps(lambda: ended(always_dropped)),
    "dense called twice": at_maps(lambda: ended(repeated), final="dense"),
    "softmax before reshapes": at_maps(lambda: ended(reshaped), final="softmax"),
    "squeeze and excitation": at_maps(lambda: ended(excited), layer="excite"),
    "attention": at_maps(lambda: ended(attended)),
    "custom layer": at_maps(own_layer, layer="swish"),
}
JOINS = {
    "image and words": at_maps(joined.image_and_words),
    "unneeded input": at_maps(joined.unneeded_input, output="kind", final="kind"),
    "two photographs, left": at_maps(joined.two_photos, image="left", layer="backbone#2/maps"),
    "two views": at_maps(joined.two_views, layer="before", grid=SHAPE),
    "two inputs": at_maps(joined.two_inputs, grid=(8, 6, 6)),
    "gate over the grid": at_maps(joined.gate_over_grid, layer="multiply"),
    "gate, cut before it": at_maps(joined.gate_over_grid, chosen="maps"),
    "shared layer": at_maps(joined.shared_layer, layer="shared#2", grid=(12, 10, 3)),
    "shared layer, first call": at_maps(
        joined.shared_layer, chosen="shared", layer="shared", grid=(12, 10, 3)
    ),
    "shared backbone": at_maps(joined.shared_backbone(1), layer="backbone/maps"),
    "shared backbone twice": at_maps(joined.shared_backbone(2), layer="joined", grid=(10, 8, 12)),
    "list of outputs": at_maps(joined.several_outputs(named=False), output="kind", final="kind"),
    "list of outputs, second": at_maps(
        joined.several_outputs(named=False), "sigmoid", output="tags", final="tags"
    ),
    "dict of outputs": at_maps(
        joined.several_outputs(named=True), "sigmoid", output="tags", final="tags"
    ),
    "dict of outputs, regression": at_maps(
        joined.several_outputs(named=True), "none", output="age", final="age"
    ),
    "operations of two results": at_maps(joined.in_halves, grid=(8, 6, 6)),
    "attention and its scores": at_maps(lambda: ended(attended_with_scores)),
}
NESTED = {
    "nested": at_maps(built.nested_with(), layer="backbone/maps"),
    "nested, inference": at_maps(built.nested_with(training=False), layer="backbone/maps"),
    "nested by keyword": at_maps(
        built.nested_by_keyword,
        layer="backbone/maps",
    ),
    "nested lists": at_maps(lambda: ended(nested_lists), layer="inner/product"),
    "nested dicts": at_maps(lambda: ended(nested_dicts), layer="inner/difference"),
    "nested twice": at_maps(built.twice_nested, layer="middle/sep", grid=(8, 6, 5)),
    "innermost by path": at_maps(
        built.twice_nested,
        chosen="middle/innermost/stem",
        layer="middle/innermost/stem",
        grid=(10, 8, 4),
    ),
    "sandwich": at_maps(built.sandwich, layer="bread/filling/act", grid=(8, 6, 4)),
    "sequential": at_maps(built.sequential, layer="pool", grid=(5, 4, 4)),
    "names with dots": at_maps(
        lambda: keras.Sequential(
            [
                keras.Input(SHAPE, name="in.put"),
                built.backbone(name="features.0"),
                layers.Conv2D(4, 3, name="features.1.conv"),
                layers.Flatten(name="flat.0"),
                layers.Dense(5, "softmax", name="head.0"),
            ]
        ),
        layer="features.1.conv",
        grid=(8, 6, 4),
    ),
    "pyramid": at_maps(
        built.nested_pyramid, chosen="pyramid/fine", layer="pyramid/fine", grid=(10, 8, 4)
    ),
}
PREPARED = {
    "rescaling": at_maps(lambda: prepared(layers.Rescaling(1 / 127.5, -1)), pixels=(0, 255)),
    "normalization": at_maps(
        lambda: prepared(layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 0.5]))
    ),
    "resizing": at_maps(lambda: prepared(layers.Resizing(9, 14)), grid=(7, 12, 6)),
    "augmentation": at_maps(
        lambda: prepared(
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(0.2),
            layers.RandomZoom(0.2),
            layers.RandomContrast(0.2),
        )
    ),
    "unknown size": at_maps(
        lambda: prepared(shape=(None, None, 3)), shape=(9, 14, 3), grid=(7, 12, 6)
    ),
    "unknown height": at_maps(lambda: prepared(shape=(None, 10, 3)), shape=(12, 10, 3)),
    "fixed batch": at_maps(built.fixed_batch),
    "nested bytes": at_maps(built.nested_bytes, layer="backbone/maps", pixels=(0, 256)),
    "grey": at_maps(lambda: prepared(shape=(12, 10, 1))),
    "bytes": at_maps(
        lambda: prepared(layers.Rescaling(1 / 127.5, -1), dtype="uint8"), pixels=(0, 256)
    ),
}
HALF = {
    policy: at_maps(built.with_policy(policy), tolerance=tolerance)
    for policy, tolerance in (("mixed_float16", 2e-3), ("mixed_bfloat16", 3e-2))
}
SMALL = ENDS | JOINS | NESTED | PREPARED | HALF
