"""No honest model is refused: everything that Keras exports is saved, read back, and the same."""

import importlib
import inspect
import json

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.ops.operation import Operation  # no public name

from camfleet.errors import UnsupportedModelFile
from camfleet_worker.models.files import allowed
from camfleet_worker.models.files.configuration import rebuild
from camfleet_worker.models.tf.loader import load_keras
from helpers import every_layer

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]
# Operations that take a function, or make tensors of any size out of nothing.
FUNCTIONAL = {
    *("AssociativeScan", "Cond", "CTCDecode", "CTCLoss", "ForiLoop", "JVP", "Map", "Scan"),
    *("SegmentReduction", "Switch", "VectorizedMap", "WhileLoop"),
}
FROM_NOTHING = {"Arange", "Full", "Geomspace", "Logspace"}
BY_VALUES = {"Bincount", "Nonzero", "Unique"}  # that make as much as their values say
UNCALLABLE = {"Equalization"}  # Keras itself can't make a model of it
NOT_IN_HDF5 = {  # Keras itself can't write them there
    *("RandomBrightness", "RandomColorDegeneration", "RandomPosterization", "RandomSaturation"),
    *("RandomSharpness", "Solarization"),
}
LOADABLE = sorted({*every_layer.names()} - {*allowed.WITHHELD} - UNCALLABLE - {"Lambda"})


def check_same(model, path):
    read = load_keras(path)
    assert [weight.shape for weight in read.weights] == [weight.shape for weight in model.weights]
    for before, after in zip(model.weights, read.weights, strict=True):
        assert np.array_equal(before, after)
    return read


@pytest.mark.parametrize("name", LOADABLE)
def test_every_layer_of_keras_is_read_back(tmp_path, name):
    model = every_layer.model_of(name)
    for suffix in ("keras", "h5"):
        if suffix == "keras" or name not in NOT_IN_HDF5:
            path = tmp_path / f"net.{suffix}"
            model.save(path)
            check_same(model, path)


def test_every_layer_of_keras_is_on_the_list_or_withheld_for_a_reason():
    listed = allowed.LAYERS | {*allowed.WITHHELD} | {"Lambda", "Layer", "InputSpec"}
    assert {*every_layer.names()} | every_layer.ABSTRACT <= listed


@pytest.mark.parametrize("module", ["core", "einops", "image", "linalg", "math", "nn", "numpy"])
def test_every_operation_of_keras_is_on_the_list_or_withheld_for_a_reason(module):
    home = f"keras.src.ops.{module}"
    found = {
        name
        for name, kind in vars(importlib.import_module(home)).items()
        if inspect.isclass(kind) and issubclass(kind, Operation) and kind.__module__ == home
    }
    assert found - FUNCTIONAL - FROM_NOTHING - BY_VALUES == allowed.HOMES[home]


@pytest.mark.parametrize(
    ("module", "listed"),
    [
        ("initializers", allowed.INITIALIZERS),
        ("regularizers", allowed.REGULARIZERS),
        ("constraints", allowed.CONSTRAINTS),
        ("dtype_policies", allowed.POLICIES),
        ("quantizers", allowed.QUANTIZERS),
    ],
)
def test_every_other_class_that_keras_exports_is_on_the_list(module, listed):
    found = {
        name
        for name, kind in vars(importlib.import_module(f"keras.{module}")).items()
        if inspect.isclass(kind)
    }
    assert found - {"Initializer", "Regularizer", "Constraint", "Quantizer"} <= listed


def test_the_activations_on_the_list_are_keras_own():
    functions = {
        name for name, function in vars(keras.activations).items() if inspect.isfunction(function)
    }
    listed = allowed.ACTIVATIONS | allowed.ACTIVATION_ALIASES
    assert functions - {"deserialize", "get", "serialize"} == listed


def with_convolution(arguments):
    image = keras.Input((4, 4, 4))
    x = layers.Conv2D(4, 1, **arguments)(image)
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


# Those that need no arguments and fit a convolution.
INITIALIZERS = sorted(
    name
    for name in allowed.INITIALIZERS
    if not name.lower().startswith(("stft", "identity", "constant"))
)


@pytest.mark.parametrize(
    "arguments",
    [
        *({"activation": name} for name in sorted(allowed.ACTIVATIONS - {"glu"})),
        *({"activation": getattr(keras.activations, name)} for name in ("relu", "mish", "silu")),
        *({"activation": name} for name in sorted(allowed.ACTIVATION_ALIASES)),
        *({"activation": kind()} for kind in (layers.LeakyReLU, layers.Softmax, layers.PReLU)),
        *({"bias_initializer": name} for name in ("zeros", "Ones", "one", "normal", "uniform")),
        *({"kernel_initializer": name} for name in INITIALIZERS),
        {"kernel_initializer": keras.initializers.Constant(0.5)},
        *({"kernel_regularizer": name} for name in ("l1", "L2", "l1l2", "L1L2")),
        {"kernel_regularizer": keras.regularizers.OrthogonalRegularizer()},
        {"activity_regularizer": keras.regularizers.L1(0.1)},
        *({"kernel_constraint": name} for name in ("max_norm", "MinMaxNorm", "non_neg")),
        {"bias_constraint": keras.constraints.UnitNorm()},
        *({"dtype": name} for name in ("float16", "bfloat16", "float64", "mixed_float16")),
        {"dtype": keras.DTypePolicy("mixed_bfloat16")},
        {"name": 'with space, ümlaut, "quotes" and > signs'},
    ],
    ids=lambda arguments: "-".join(
        f"{key}={getattr(value, '__name__', value)}" for key, value in arguments.items()
    )[:60],
)
def test_every_name_that_an_argument_may_have_is_read_back(tmp_path, arguments):
    model = with_convolution(arguments)
    for suffix in ("keras", "h5"):
        if suffix == "keras" or arguments.get("dtype") != "bfloat16":  # Keras can't, in HDF5
            path = tmp_path / f"net.{suffix}"
            model.save(path)
            check_same(model, path)


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantised_model_is_read_back(tmp_path, mode):
    image = keras.Input((8,))
    model = keras.Model(image, layers.Dense(4)(layers.Dense(8)(image)))
    model.quantize(mode)
    path = tmp_path / "net.keras"
    model.save(path)
    check_same(model, path)


def test_what_matters_only_in_training_is_checked_and_then_dropped():
    config = json.loads(
        json.dumps(
            keras.saving.serialize_keras_object(
                layers.Dense(
                    2, kernel_regularizer="l2", bias_constraint="non_neg", bias_initializer="ones"
                )
            )
        )
    )
    model = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "net", "layers": [config]},
    }
    dense = rebuild(model, "net.keras")["config"]["layers"][0]["config"]
    assert dense["kernel_regularizer"] is dense["bias_constraint"] is None
    assert dense["bias_initializer"] == dense["kernel_initializer"] == "zeros"


@pytest.mark.parametrize("name", ["IntegerLookup", "StringLookup"])
def test_a_vocabulary_that_is_no_list_is_refused_with_the_way_out(tmp_path, name):
    words = ["a", "b"] if name == "StringLookup" else [1, 2]
    lookup = getattr(layers, name)()
    lookup.adapt(np.array(words))
    image = keras.Input((2,), dtype="string" if name == "StringLookup" else "int64")
    path = tmp_path / "net.keras"
    keras.Model(image, lookup(image)).save(path)
    with pytest.raises(UnsupportedModelFile, match=r"vocabulary=layer\.get_vocabulary\(\)"):
        load_keras(path)
