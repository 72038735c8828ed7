"""What a configuration may not name, in any spelling and in any place, and how much it may hold."""

import json
import time

import keras
import pytest

from camfleet.errors import UnsupportedModelFile
from camfleet_worker.models.files.bounds import parse
from camfleet_worker.models.files.configuration import Trusted, rebuild
from camfleet_worker.models.tf.loader import load_keras
from helpers import hostile_models
from helpers.hostile_models import POSITIONS, configuration, function, layer, named, put

DENSE = {"units": 2}
FUNCTIONS = [
    *(("os", name) for name in ("system", "getcwd", "remove")),
    *(("builtins", name) for name in ("eval", "exec", "open", "__import__", "get_file")),
    *(("keras.utils", name) for name in ("get_file", "pack_x_y_sample_weight", "set_random_seed")),
    *(("keras.src.utils", "get_file"), ("keras.src.utils.file_utils", "get_file")),
    *(("keras.src.utils.file_utils", "extract_archive"), ("keras.utils.file_utils", "get_file")),
    *(("keras.api.utils", "get_file"), ("keras._tf_keras.keras.utils", "get_file")),
    *(("keras", "utils.get_file"), ("keras.src", "utils.file_utils.get_file")),
    *(("keras.config", name) for name in ("enable_unsafe_deserialization", "set_backend")),
    ("keras.src.saving.serialization_lib", "enable_unsafe_deserialization"),
    *(
        ("keras.saving", name)
        for name in ("load_model", "deserialize_keras_object", "load_weights")
    ),
    *(("keras.models", name) for name in ("load_model", "model_from_json", "clone_model")),
    *(("keras.backend", name) for name in ("clear_session", "set_floatx", "get_uid")),
    *(("keras.ops", name) for name in ("relu", "zeros", "map", "full", "vectorized_map")),
    *(("keras.random", name) for name in ("normal", "uniform")),
    *(("keras.layers", name) for name in ("deserialize", "add", "concatenate")),
    *(("keras.initializers", "get"), ("keras.losses", "mean_squared_error")),
    *(("keras.activations", name) for name in ("get", "deserialize", "__builtins__")),
    *(("keras.applications.vgg16", "decode_predictions"), ("keras.datasets.mnist", "load_data")),
    *(("tensorflow", name) for name in ("io.read_file", "py_function", "print")),
    *(("tensorflow.python.ops.gen_io_ops", "read_file"), ("tf_keras.utils", "get_file")),
    *(("numpy", "load"), ("numpy.ctypeslib", "load_library"), ("ctypes", "CDLL")),
    *(("subprocess", "run"), ("shutil", "rmtree"), ("pickle", "loads"), ("h5py", "File")),
    *(("camfleet_worker.process.runtime", "configure"), (None, "get_file"), ("", "eval")),
    *((["keras", "utils"], "get_file"), ({"a": 1}, "get_file"), ("keras.utils", ["get_file"])),
    *(
        ("builtins", "relu\u200b"),
        ("builtins", "\uff52elu"),
        ("builtins", "Relu"),
        ("builtins", ""),
    ),
    *(("builtins", "Custom>relu"), ("builtins", "keras.activations.relu"), ("builtins", "relu ")),
]
CLASSES = [
    *(("keras.layers", name) for name in ("dense", "DENSE", " Dense", "Dense ", "Dense\u200b")),
    *(
        ("keras.layers", name)
        for name in ("\uff24ense", "Dense\x00", "core.dense.Dense", "Dense.call")
    ),
    *(("keras.layers", name) for name in ("keras.layers.Dense", "Custom>Dense", "Layer", "")),
    *(("keras.layers", name) for name in ("Lambda", "lambda", "Lambda ", "Custom>Lambda")),
    *(("keras.layers", name) for name in ("TFSMLayer", "JaxLayer", "FlaxLayer", "__init__")),
    *(("keras.layers", name) for name in ("TorchModuleWrapper", "TextVectorization", "InputSpec")),
    *((module, "Dense") for module in ("Keras.layers", "keras.layers ", "keras..layers", "keras")),
    *((module, "Dense") for module in ("keras.src.layers", "keras.src.layers.core.dense")),
    *((module, "Dense") for module in ("keras.api.layers", "keras._tf_keras.keras.layers")),
    *((module, "Dense") for module in ("tf_keras.layers", "tensorflow.keras.layers", "layers")),
    *((module, "Dense") for module in ("keras.models", "keras.initializers", "keras/layers")),
    *((module, "Lambda") for module in ("keras.src.layers", "keras.src.layers.core.lambda_layer")),
    *((module, "Lambda") for module in ("keras.api.layers", "tf_keras.layers", "keras", "a.b")),
    *(("keras.src.ops.core", name) for name in ("Map", "Scan", "WhileLoop", "Cond", "Switch")),
    *(("keras.src.ops.numpy", name) for name in ("Arange", "Full", "Linspac", "np")),
    *(("keras.ops", "Add"), ("keras.src.ops.numpy.Add", "Add"), ("keras.src.ops", "Operation")),
    *(("keras.src.export.tfsm_layer", "TFSMLayer"), ("keras.utils", "FeatureSpace")),
    *(("keras.src.utils.torch_utils", "TorchModuleWrapper"), ("keras.src.models", "Functional")),
    *(("keras.callbacks", "ModelCheckpoint"), ("keras.callbacks", "LambdaCallback")),
    *(("keras.optimizers", "Adam"), ("keras.losses", "MeanSquaredError"), ("keras", "Model ")),
    *(("keras.utils", "get_file"), ("keras.utils", "CustomObjectScope"), ("os", "_wrap_close")),
    *(("subprocess", "Popen"), ("builtins", "type"), ("pathlib", "Path"), ("", "Popen")),
    *((["keras.layers"], "Dense"), ({"keras": "layers"}, "Dense"), (7, "Dense")),
    *(("keras.layers", kind) for kind in (7, None, ["Dense"], {"class_name": "Dense"})),
]
FORMS = [
    named("keras.layers", "Dense", DENSE, registered_name="Custom>Evil"),
    named("keras.layers", "Dense", DENSE, registered_name="keras.utils>get_file"),
    {"class_name": "__lambda__", "config": {"value": ["code", None, None]}},
    {"class_name": "__lambda__", "config": {"code": "4wEA", "defaults": None, "closure": None}},
    {"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess", "config": ["ls"]},
    {"class_name": "__bytes__", "config": {"value": "x"}},
    {"class_name": "__class__", "config": {}},
    {"class_name": "function", "config": "relu", "module": "os"},
    {"class_name": "function", "config": {"class_name": "function", "config": "relu"}},
    {"class_name": "Evil", "config": {}},
    {"class_name": "TensorShape", "items": [{"class_name": "function", "config": "get_file"}]},
    {"class_name": "TFOpLambda", "config": {"function": "io.read_file"}},
]
HOSTILE = [
    *(function(module, name) for module, name in FUNCTIONS),
    *(named(module, kind, DENSE) for module, kind in CLASSES),
    *FORMS,
]


@pytest.mark.parametrize(
    "reference",
    HOSTILE,
    ids=lambda it: ascii((it.get("module"), it["class_name"], it.get("config"))),
)
def test_nothing_but_the_list_is_named_in_any_spelling_and_any_place(reference):
    for position in POSITIONS:
        with pytest.raises(UnsupportedModelFile) as caught:
            rebuild(put(position, reference), "net.keras")
        message = str(caught.value)
        assert message.startswith("net.keras"), position
        assert message.isprintable(), position
        assert len(message) < 700, position


def test_the_table_of_spellings_is_long_enough():
    assert len(HOSTILE) > 150


@pytest.mark.parametrize("position", ["layer", "activation", "edge", "initializer"])
@pytest.mark.parametrize("write", [hostile_models.write, hostile_models.write_hdf5])
def test_a_function_is_refused_in_files_of_both_kinds(tmp_path, position, write):
    path = tmp_path / ("net.keras" if write is hostile_models.write else "net.h5")
    write(path, put(position, function("keras.utils", "get_file")))
    with pytest.raises(UnsupportedModelFile, match=r"keras\.utils\.get_file|class function"):
        load_keras(path)


def test_a_text_in_the_place_of_a_list_is_not_taken_for_a_name():
    for kind in ("TensorShape", "__tuple__"):
        config = put("activation", {"class_name": kind, "items": "get_file"})
        assert "get_file" not in json.dumps(rebuild(config, "net.keras"))


def without_modules(value):
    """Return a configuration as HDF5 files have it: layers are named without their modules."""
    if isinstance(value, list):
        return [without_modules(item) for item in value]
    if isinstance(value, dict):
        return {key: without_modules(item) for key, item in value.items() if key != "module"}
    return value


@pytest.mark.parametrize(
    "name",
    ["serialize", "deserialize", "add", "Input", "core", "backend", "Lambda", "get", "Operation"],
)
def test_without_a_module_only_layers_on_the_list_are_found(name):
    config = without_modules(configuration())
    layer(config, "relu").update(class_name=name)
    with pytest.raises(UnsupportedModelFile):
        rebuild(config, "net.h5")
    config = without_modules(configuration())
    layer(config, "conv1")["config"]["activation"] = name
    with pytest.raises(UnsupportedModelFile):
        rebuild(config, "net.h5")


def test_keras_gets_nothing_that_the_file_says_of_compilation_or_names():
    config = configuration()
    config["compile_config"] = function("keras.utils", "get_file")
    config["registered_name"] = "Functional"
    config["something"] = function("os", "system")
    layer(config, "conv1")["compile_config"] = {"loss": function("os", "system")}
    text = json.dumps(rebuild(config, "net.keras"))
    assert "get_file" not in text
    assert "system" not in text
    assert "compile" not in text


def test_what_is_rebuilt_stays_as_it_is_when_it_is_rebuilt_again():
    once = rebuild(configuration(), "net.keras")
    assert rebuild(once, "net.keras") == once


def test_trusted_names_stand_for_what_the_card_names_and_for_nothing_else():
    trusted = Trusted(frozenset({"Doubled", "twice"}))
    config = put("layer", named("anything", "Doubled", {"by": [1, {"also": 2}]}))
    found = layer(rebuild(config, "net.keras", trusted), "relu")
    assert (found["module"], found["registered_name"]) == (None, "Doubled")
    config = put("activation", function("anything", "mine>twice"))
    found = layer(rebuild(config, "net.keras", trusted), "conv1")["config"]["activation"]
    assert (found["module"], found["config"]) == ("builtins", "twice")
    for reference in (function("os", "system"), named("os", "Popen"), named("keras.layers", "X")):
        config = put("layer", named("anything", "Doubled", {"by": [reference]}))
        with pytest.raises(UnsupportedModelFile):
            rebuild(config, "net.keras", trusted)


def tensor(**changes):
    config = {"value": [1.0], "dtype": "float32"} | changes
    return {"class_name": "__numpy__", "config": config}


@pytest.mark.parametrize(
    "value",
    [
        *(tensor(dtype=dtype) for dtype in ("object", "U999999999", "V9999999999", "O", None, 7)),
        *(
            tensor(value=value)
            for value in ("text", {"a": 1}, [[None]], [function("os", "system")])
        ),
        {"class_name": "__numpy__", "config": None},
        {"class_name": "__keras_tensor__", "config": {}},
        {
            "class_name": "__keras_tensor__",
            "config": {"shape": [-1], "dtype": "float32", "keras_history": ["conv1", 0, 0]},
        },
        {
            "class_name": "__keras_tensor__",
            "config": {"shape": [1], "dtype": "float32", "keras_history": ["conv1", 0]},
        },
        {"class_name": "__slice__", "config": {"start": function("os", "system")}},
        {"class_name": "__tuple__", "items": [function("os", "system")]},
    ],
)
@pytest.mark.parametrize("position", ["edge", "keyword", "argument"])
def test_tensors_on_edges_and_in_arguments_hold_numbers_alone(value, position):
    with pytest.raises(UnsupportedModelFile):
        rebuild(put(position, value), "net.keras")


@pytest.mark.parametrize(
    "nodes",
    [
        *(None, {}, "x", [{}], [[]], [None], ["x"], [[["conv1", 0]]], [[["conv1", 0, 0, {}, 1]]]),
        *([{"args": [1.0], "kwargs": {}}], [{"args": [tensor()], "kwargs": {}}]),
        *([{"args": []}], [[[0, 0, 0]]], [[["conv1", -1, 0]]]),
    ],
    ids=ascii,
)
def test_a_call_that_keras_would_not_have_written_is_refused(nodes):
    config = configuration()
    layer(config, "relu")["inbound_nodes"] = nodes
    with pytest.raises(UnsupportedModelFile):
        rebuild(config, "net.keras")


def chain(count, *, backwards=False):
    """Return a configuration of so many layers in a row, and the order they're listed in."""
    config = configuration()
    model = config["config"]
    first, model["layers"] = model["layers"][0], []
    previous = first["name"]
    for number in range(count):
        source = {"shape": [None, 12, 10, 3], "dtype": "float32", "keras_history": [previous, 0, 0]}
        argument = {"class_name": "__keras_tensor__", "config": source}
        made = named("keras.layers", "Identity", {"name": f"layer{number}"})
        made |= {"name": f"layer{number}", "inbound_nodes": [{"args": [argument], "kwargs": {}}]}
        model["layers"].append(made)
        previous = made["name"]
    if backwards:
        model["layers"].reverse()
    model["layers"].insert(0, first)
    model["output_layers"] = [[previous, 0, 0]]
    return config


def test_layers_without_number_are_refused_before_keras_sees_one():
    assert rebuild(chain(2_000), "net.keras")
    with pytest.raises(UnsupportedModelFile, match=r"5,002 calls of layers to read, of which"):
        rebuild(chain(5_001), "net.keras")


def test_layers_from_back_to_front_would_take_the_square_of_their_number_and_are_refused():
    with pytest.raises(UnsupportedModelFile, match="don't stand in the order of their calls"):
        rebuild(chain(2_000, backwards=True), "net.keras")


def test_a_layer_that_is_called_without_end_is_refused_in_a_moment():
    config = chain(1)
    found = layer(config, "layer0")
    found["inbound_nodes"] = [[[config["config"]["layers"][0]["name"], 0, 0]]] * 200_000
    start = time.monotonic()
    with pytest.raises(UnsupportedModelFile, match=r"200,000 calls of layers to read"):
        rebuild(config, "net.keras")
    assert time.monotonic() - start < 10


def test_layers_in_a_loop_or_of_one_name_are_refused():
    config = chain(3)
    first = layer(config, "layer0")["inbound_nodes"][0]["args"][0]["config"]
    first["keras_history"] = ["layer2", 0, 0]
    with pytest.raises(UnsupportedModelFile, match="form a loop"):
        rebuild(config, "net.keras")
    config = chain(3)
    config["config"]["layers"].append(layer(config, "layer1"))
    with pytest.raises(UnsupportedModelFile, match="same name"):
        rebuild(config, "net.keras")


def test_models_that_call_models_twice_multiply_and_are_refused():
    config = chain(1)
    for number in range(40):
        outer = chain(2)
        for name in ("layer0", "layer1"):
            inner = layer(outer, name)
            inner |= {key: config[key] for key in ("module", "class_name", "config")}
            inner["config"]["name"] = f"model{number}"
            inner.pop("registered_name", None)
        outer["config"]["layers"][2:] = []
        node = layer(outer, "layer0")["inbound_nodes"][0]
        layer(outer, "layer0")["inbound_nodes"] = [node, node]
        outer["config"]["output_layers"] = [["layer0", 1, 0]]
        config = json.loads(json.dumps(outer))
        if number >= 12:
            break
    with pytest.raises(UnsupportedModelFile, match="calls of layers"):
        rebuild(config, "net.keras")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", "nested too deep"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ("[" + "[]," * 1_000_001 + "[]]", "more than 1,000,000 parts"),
        (" " * (16 * 2**20) + "{}", "has 16,777,218 bytes"),
        ('{"units": 1' + "0" * 30 + "}", "beyond 64 bits"),
        ("[" + "9" * 5000 + "]", "limit"),
        ("{", "Expecting"),
        ("\udc80", "not a model file"),
    ],
    ids=["deep", "deeper", "wide", "long", "large", "larger", "short", "no text"],
)
def test_json_beyond_the_bounds_is_refused(text, words):
    with pytest.raises(UnsupportedModelFile, match=words):
        parse(text, "net.keras")


@pytest.mark.parametrize(
    "change",
    [
        {"units": 10**9},
        {"units": 2**62},
    ],
)
def test_weights_that_the_file_does_not_hold_take_no_memory(tmp_path, change):
    config = configuration()
    dense = config["config"]["layers"][-1]
    dense["config"].update(change)
    path = hostile_models.write(tmp_path / "net.keras", config)
    with pytest.raises(UnsupportedModelFile, match=r"weights, and holds|can't read"):
        load_keras(path)
    assert load_keras(hostile_models.write(tmp_path / "good.keras")).count_params() > 0


def test_a_failed_load_leaves_nothing_behind_that_keras_would_fill_later(tmp_path):
    config = configuration()
    config["config"]["layers"][-1]["config"]["units"] = 10**9
    path = hostile_models.write(tmp_path / "net.keras", config)
    with pytest.raises(UnsupportedModelFile):
        load_keras(path)
    with keras.StatelessScope():
        pass  # at its end Keras fills what was left without values
