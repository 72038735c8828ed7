"""Small valid models in both formats, and hostile ones made of them."""

import io
import json
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import keras
from hypothesis import strategies as st
from tests.fuzz.values import INTEGERS, dumps, mutated, values, words

layers = keras.layers
CLASSES = [
    *("Lambda", "lambda", "Lambda ", "LAMBDA", "keras>Lambda", "Custom>Lambda", "TFSMLayer"),
    *("function", "builtin_function", "__lambda__", "__tensor__", "__numpy__", "__bytes__"),
    *(
        "__typespec__",
        "__slice__",
        "__ellipsis__",
        "__tuple__",
        "TensorShape",
        "TorchModuleWrapper",
    ),
    *("JaxLayer", "FlaxLayer", "StringLookup", "TextVectorization", "Functional", "Sequential"),
    *("Model", "Dense", "InputLayer", "Wrapper", "RNN", "TimeDistributed", "Bidirectional"),
    *("Map", "Scan", "Cond", "WhileLoop", "VectorizedMap", "Arange", "GetItem", "Operation"),
    *("get_file", "load_model", "system", "Variable", "KerasTensor", "Orthogonal", "L2", "MaxNorm"),
]
MODULES = [
    *("keras", "keras.layers", "keras.ops", "keras.ops.numpy", "keras.src.ops.numpy", "builtins"),
    *("keras.utils", "keras.src.utils.file_utils", "keras.saving", "keras.config", "keras.models"),
    *(
        "keras.src.saving.serialization_lib",
        "keras.initializers",
        "keras.activations",
        "os",
        "numpy",
    ),
    *("tensorflow", "tensorflow.io.gfile", "tf_keras.layers", "keras..layers", "keras.layers ", ""),
    *("__main__", "subprocess", "keras.src.backend.common.keras_tensor", "keras.legacy", "numpy"),
]
FUNCTIONS = ["relu", "get_file", "load_model", "system", "keras.utils.get_file", "gelu", "relu>x"]
SIZES = [0, 1, 3, 64, 4096, 10**6, *INTEGERS]

_names = st.one_of(st.sampled_from(CLASSES), st.sampled_from(MODULES), st.sampled_from(FUNCTIONS))
_objects = st.fixed_dictionaries(
    {
        "module": st.one_of(st.none(), st.sampled_from(MODULES)),
        "class_name": st.sampled_from(CLASSES),
        "config": st.one_of(
            st.sampled_from(FUNCTIONS),
            st.dictionaries(
                st.sampled_from(
                    ["name", "units", "function", "value", "fn", "layer", "url", "dtype"]
                ),
                st.one_of(_names, st.sampled_from(SIZES), words),
                max_size=3,
            ),
            values,
        ),
        "registered_name": st.one_of(st.none(), st.sampled_from(CLASSES)),
    }
)
hostile = st.one_of(
    _names,
    _names,
    _objects,
    _objects,
    st.sampled_from(SIZES),
    st.lists(st.sampled_from(SIZES), max_size=4),
    values,
)


def _plain() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(2, 3, activation="relu")(layers.Rescaling(0.5)(image))
    return keras.Model(image, layers.Dense(2, "softmax")(layers.GlobalAveragePooling2D()(x)))


def _nested() -> keras.Model:
    image, other = keras.Input((8, 8, 3)), keras.Input((2,))
    inner = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.ReLU()])
    x = layers.BatchNormalization()(inner(image))
    x = keras.ops.mean(x * 2.0 + 1.0, axis=(1, 2))[:, :1]
    x = layers.Concatenate()([x, other])
    return keras.Model([image, other], layers.Dense(1, "sigmoid", kernel_regularizer="l2")(x))


def _sequence() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = layers.Reshape((8, 24))(layers.SeparableConv2D(3, 3, padding="same")(image))
    x = layers.MultiHeadAttention(1, 2)(x, x)
    x = layers.Bidirectional(layers.LSTM(2))(x)
    return keras.Model(image, layers.Activation("softmax")(layers.Dense(2)(x)))


@cache
def seeds() -> list[tuple[dict, bytes, bytes]]:
    """Return valid models: each one's configuration, its weights, and all of it as HDF5."""
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        return [_saved(make(), Path(folder)) for make in (_plain, _nested, _sequence)]


def _saved(model: keras.Model, folder: Path) -> tuple[dict, bytes, bytes]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that HDF5 is old
        model.save(folder / "net.h5")
    model.save(folder / "net.keras")
    with zipfile.ZipFile(folder / "net.keras") as archive:
        config = json.loads(archive.read("config.json"))
        weights = archive.read("model.weights.h5")
    return config, weights, (folder / "net.h5").read_bytes()


METADATA = {"keras_version": keras.__version__, "date_saved": "2026-01-01@00:00:00"}
_METHODS = st.sampled_from(
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]
)
_NAMES = ["config.json", "metadata.json", "model.weights.h5", "assets/", "../evil", "/tmp/evil"]
_NAMES += ["model.weights.h5/a", "Config.json", "assets/../../evil", "\x1b[2J", "a" * 300]
_extra = st.lists(
    st.tuples(
        st.sampled_from(_NAMES), st.sampled_from([b"", b"{}", b"\0" * 64 * 2**20, b"[" * 10**5])
    ),
    max_size=2,
)
_scribbles = st.lists(
    st.tuples(st.integers(0, 2**17), st.binary(min_size=1, max_size=4), st.booleans()), max_size=2
)
_H5_EDITS = st.sampled_from(["none", "none", "attribute", "external", "soft", "outside", "huge"])


@st.composite
def configurations(draw: st.DrawFn) -> bytes:
    trees = [config for config, _, _ in seeds()]
    return dumps(draw(mutated(trees, among=hostile)))


@st.composite
def archives(draw: st.DrawFn, folder: str = "") -> bytes:
    """Return a .keras archive after changes of its members, and of what they hold."""
    config, weights, _ = draw(st.sampled_from(seeds()))
    changed = draw(st.sampled_from(["config", "config", "config", "weights", "members", "bytes"]))
    metadata: Any = METADATA
    if changed == "config":
        config = draw(mutated([config], among=hostile))
    if changed == "weights":
        weights = _scribbled(_edited(weights, draw(_H5_EDITS)), draw(_scribbles))
    if changed == "members":
        metadata = draw(mutated([METADATA]))
    members = [
        ("config.json", dumps(config)),
        ("metadata.json", dumps(metadata)),
        ("model.weights.h5", weights),
    ]
    if changed == "members":
        members = [*draw(st.permutations(members)), *draw(_extra)][draw(st.integers(0, 1)) :]
    data = zipped(members, draw(_METHODS))
    return b".keras\n" + (_scribbled(data, draw(_scribbles)) if changed == "bytes" else data)


@st.composite
def old_files(draw: st.DrawFn) -> bytes:
    """Return an HDF5 file after changes of its configuration, its links or its bytes."""
    _, _, data = draw(st.sampled_from(seeds()))
    changed = draw(st.sampled_from(["config", "config", "links", "bytes"]))
    if changed == "config":
        data = _with_config(data, lambda tree: draw(mutated([tree], among=hostile)))
    if changed == "links":
        data = _edited(data, draw(_H5_EDITS))
    if changed == "bytes":
        data = _scribbled(data, draw(_scribbles))
    return b".h5\n" + data


def zipped(members: list[tuple[str, bytes]], method: int) -> bytes:
    import warnings

    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore")  # that a name comes twice
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def _scribbled(data: bytes, edits: list[tuple[int, bytes, bool]]) -> bytes:
    for place, more, replaces in edits:
        at = place % (len(data) + 1)
        data = data[:at] + more + data[at + len(more) * replaces :]
    return data


def _with_config(data: bytes, change: Any) -> bytes:
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as opened:
        tree = json.loads(opened.attrs["model_config"])
        text = dumps(change(tree))
        opened.attrs["model_config"] = text if len(text) < 60_000 else text[:60_000]
    return file.getvalue()


def _edited(data: bytes, edit: str) -> bytes:
    """Return an HDF5 file with something in it that leads elsewhere, or is no data."""
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as opened:
        name = next(iter(opened))
        match edit:
            case "attribute":
                opened.attrs["keras_version"] = [1.5, 2.5]
                opened.attrs["model_config"] = b"\xff\xfe"
            case "external":
                opened["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
            case "soft":
                opened["round"] = h5py.SoftLink("/round")
                opened[f"{name}/up"] = h5py.SoftLink("/")
            case "outside":
                opened.create_dataset("out", (8,), "u1", external=[("/etc/passwd", 0, 8)])
            case "huge":
                opened.create_dataset("huge", (2**40,), "f4", chunks=(2**20,), compression="gzip")
    return file.getvalue()
