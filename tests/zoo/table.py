"""The small models by name, and where each is expected to be cut, or why it's refused."""

import keras
from keras import layers, ops

from camfleet.errors import LayerRefused, ModelRefused
from zoo import built
from zoo.built import SHAPE, ended, pooled, prepared
from zoo.checks import Case, Refused

GRID = (10, 8, 6)


@keras.saving.register_keras_serializable("zoo")
class Swish(layers.Layer):
    """A layer of the tests' own, known to this process."""

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


def own_layer():
    return ended(
        lambda maps: layers.Dense(5, "softmax")(
            layers.GlobalMaxPooling2D()(Swish(name="swish")(maps))
        )
    )


MIXED = at_maps(None, final="activation", tolerance=1e-2)
ENDS = {
    "softmax in dense": at_maps(pooled(layers.Dense(5, "softmax"))),
    "linear": at_maps(pooled(layers.Dense(5))),
    "softmax layer": at_maps(pooled(lambda x: layers.Softmax()(layers.Dense(5)(x)))),
    "softmax activation": at_maps(
        pooled(lambda x: layers.Activation("softmax")(layers.Dense(5)(x)))
    ),
    "softmax operation": at_maps(pooled(lambda x: ops.softmax(layers.Dense(5)(x)))),
    "softmax of a temperature": at_maps(pooled(lambda x: ops.softmax(layers.Dense(5)(x) / 3.0))),
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
                layers.BatchNormalization()(layers.Dense(7, "relu")(layers.Flatten()(maps)))
            )
        )
    ),
    "max pooling": at_maps(
        lambda: ended(lambda maps: layers.Dense(5, "softmax")(layers.GlobalMaxPooling2D()(maps)))
    ),
    "keepdims": at_maps(convolved(first=False), final="activation"),
    "class maps": at_maps(convolved(first=True), layer="classes", grid=(10, 8, 5)),
    "class maps, sigmoid": at_maps(
        convolved("sigmoid", first=True), "sigmoid", layer="classes", grid=(10, 8, 5)
    ),
    "softmax in a convolution": at_maps(lambda: ended(conv_softmax), final="classes"),
    "separable": at_maps(lambda: ended(depthwise), layer="depthwise", grid=(7, 5, 7)),
    "dropout": at_maps(lambda: ended(dropped)),
    "squeeze and excitation": at_maps(lambda: ended(excited), layer="excite"),
    "attention": at_maps(lambda: ended(attended)),
    "custom layer": at_maps(own_layer, layer="swish"),
}
JOINS = {
    "two inputs": at_maps(built.two_inputs, grid=(8, 6, 6)),
    "gate over the grid": at_maps(built.gate_over_grid, layer="multiply"),
    "gate, cut before it": at_maps(built.gate_over_grid, chosen="maps"),
    "shared layer": at_maps(built.shared_layer, layer="shared#2", grid=(12, 10, 3)),
    "shared layer, first call": at_maps(
        built.shared_layer, chosen="shared", layer="shared", grid=(12, 10, 3)
    ),
    "shared backbone": at_maps(built.shared_backbone(1), layer="backbone/maps"),
    "shared backbone twice": at_maps(built.shared_backbone(2), layer="joined", grid=(10, 8, 12)),
    "list of outputs": at_maps(built.several_outputs(named=False), output="kind", final="kind"),
    "list of outputs, second": at_maps(
        built.several_outputs(named=False), "sigmoid", output="tags", final="tags"
    ),
    "dict of outputs": at_maps(
        built.several_outputs(named=True), "sigmoid", output="tags", final="tags"
    ),
    "dict of outputs, regression": at_maps(
        built.several_outputs(named=True), "none", output="age", final="age"
    ),
    "operations of two results": at_maps(built.in_halves, grid=(8, 6, 6)),
}
NESTED = {
    "nested": at_maps(built.nested_with(), layer="backbone/maps"),
    "nested, inference": at_maps(built.nested_with(training=False), layer="backbone/maps"),
    "nested by keyword": at_maps(built.nested_by_keyword, layer="backbone/maps"),
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
    "grey": at_maps(lambda: prepared(shape=(12, 10, 1))),
    "bytes": at_maps(
        lambda: prepared(layers.Rescaling(1 / 127.5, -1), dtype="uint8"), pixels=(0, 256)
    ),
}
HALF = {
    policy: at_maps(built.with_policy(policy), tolerance=tolerance)
    for policy, tolerance in (("mixed_float16", 2e-3), ("mixed_bfloat16", 1e-2))
}
SMALL = ENDS | JOINS | NESTED | PREPARED | HALF


def spatial():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Conv2D(2, 3, activation="softmax")(image))


def words():
    tokens = keras.Input((20,), dtype="int32")
    return keras.Model(tokens, layers.Dense(2)(layers.LSTM(4)(layers.Embedding(50, 3)(tokens))))


def rows():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dense(2)(layers.GRU(4)(layers.Reshape((8, 24))(image))))


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(4, 3)

    def call(self, x):
        return ops.mean(self.conv(x), axis=(1, 2))


def own():
    model = Own()
    model.build((None, 8, 8, 3))
    return model


def with_own_inside():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dense(2)(Own()(image)))


def two_photos():
    pair = [keras.Input((8, 8, 3), name=name) for name in ("left", "right")]
    inner = built.backbone((8, 8, 3))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(inner(each)) for each in pair])
    return keras.Model(pair, layers.Dense(2)(x))


REFUSED = {
    "skipped": Refused(
        build=built.skipped,
        chosen="bypassed",
        error=LayerRefused,
        words="run past it; the nearest usable layers are first, sum",
    ),
    "spatial output": Refused(build=spatial, error=ModelRefused, words="one score per class"),
    "words": Refused(build=words, error=ModelRefused, words=r"input is \(20,\)"),
    "rows": Refused(build=rows, error=ModelRefused, words="no layer with a spatial output"),
    "subclassed": Refused(build=own, error=ModelRefused, words="functional API"),
    "subclassed inside": Refused(
        build=with_own_inside, error=ModelRefused, words="no layer with a spatial output"
    ),
    "two photographs": Refused(build=two_photos, error=ModelRefused, words="image_input"),
    "pyramid's coarse grid": Refused(
        build=built.nested_pyramid,
        chosen="pyramid/coarse",
        shape=SHAPE,
        error=LayerRefused,
        words="nearest usable layers are pyramid/fine",
    ),
}
