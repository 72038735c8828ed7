"""Models as Keras 2 wrote them: SavedModel folders, HDF5 files and .keras files.

Only their configuration and weights are read. Neither code in a file nor the functions of a
SavedModel are run: every class and function that a configuration names is checked against a list
before tf_keras builds anything.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from camfleet.errors import (
    CamfleetError,
    ConfigurationError,
    ModelRefused,
    UnsupportedModelFile,
)
from camfleet.registry.model_files import tfjs_hint
from camfleet_worker.legacy import folder, tfops
from camfleet_worker.models.files import allowed
from camfleet_worker.models.files.bounds import parse
from camfleet_worker.models.files.refusals import short
from camfleet_worker.models.model_file import opened

_GRAPHS = {"Functional", "Model", "Sequential"}
_OPERATIONS = {"SlicingOpLambda", "TFOpLambda"}
# Layers that read files or hold no image model.
_UNWANTED = {"StringLookup", "IntegerLookup"}
_GONE = {"RandomHeight", "RandomWidth", "ThresholdedReLU"}
_NAMES = (allowed.LAYERS | _GRAPHS | _OPERATIONS | _GONE) - _UNWANTED
_SPARE = 1_000_000  # numbers that layers have without a file
_STANDING_FOR_TEXT = ("Policy", "PolicyV1", "__ellipsis__", "function")
_UNUSED = ("module", "registered_name", "build_config", "compile_config", "shared_object_id")
_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
_FUNCTIONS = {*tfops.ACTIVATIONS, "hard_sigmoid"}
_REBUILD = "rebuild it from Keras' own layers where it was made and save it again as .keras"


class _Stored(NamedTuple):
    """A model as it's stored: its configuration, and where how many numbers at most are."""

    config: dict[str, Any]
    weights: Path
    numbers: int


def read(path: Path) -> Any:
    """Return the tf_keras model in a file or SavedModel folder, with its weights.

    Raises `ConfigurationError` without tf_keras, `UnsupportedModelFile` for anything but a Keras 2
    model, and `ModelRefused` for a model that could only be loaded by running code.
    """
    tf_keras = _tf_keras()
    with _opened(path) as stored:
        config = _sanitise(stored.config)
        try:
            with _bounded(stored.numbers, path.name):
                model = _build(tf_keras, config)
            status = model.load_weights(str(stored.weights))
            if status is not None:
                status.assert_existing_objects_matched()
        except (CamfleetError, MemoryError):
            raise
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UnsupportedModelFile(f"tf_keras can't read {path.name}: {reason}") from error
    return model


@contextmanager
def _bounded(numbers: int, shown: str) -> Iterator[None]:
    """Refuse, before memory is taken for them, many more weights than a file has numbers."""
    import tensorflow as tf

    made = 0

    def create(next_creator: Any, **arguments: Any) -> Any:
        nonlocal made
        shape = arguments.get("shape")
        made += prod(tf.TensorShape(shape).as_list()) if shape is not None else 0
        if made > 2 * numbers + _SPARE:
            raise UnsupportedModelFile(
                f"{shown} describes a model of {made:,} weights or more, and holds no more than "
                f"{numbers:,} numbers: save the whole model again where it was made"
            )
        return next_creator(**arguments)

    with tf.variable_creator_scope(create):
        yield


def _tf_keras() -> Any:
    try:
        import tf_keras
    except ImportError as error:
        raise ConfigurationError(
            "converting Keras 2 models needs tf_keras: install camfleet's extra `legacy`"
        ) from error
    return tf_keras


def _build(tf_keras: Any, config: Any) -> Any:
    kind = tf_keras.Sequential if config["class_name"] == "Sequential" else tf_keras.Model
    model = kind.from_config(config["config"])
    if not model.built and config.get("build_input_shape"):
        model.build(config["build_input_shape"])
    return model


@contextmanager
def _opened(path: Path) -> Iterator[_Stored]:
    """Open the model in a file or folder, whose configuration is still as it's stored."""
    if hint := tfjs_hint(path):
        raise UnsupportedModelFile(f"{path} is no SavedModel folder: {hint}")
    if path.is_dir():
        size = folder.check(path)
        yield _Stored(_read_saved_model(path), path, size)
    elif path.suffix in (".h5", ".hdf5", ".keras"):
        with opened(path) as file:
            _check_version(path, file.origin["keras_version"])
            if not isinstance(file.configuration, dict):
                raise UnsupportedModelFile(f"{path.name} has no configuration of a model")
            yield _Stored(file.configuration, file.weights, file.numbers)
    else:
        raise UnsupportedModelFile(
            f"{path} is neither a SavedModel folder nor a .h5, .hdf5 or .keras file"
            if path.exists()
            else f"{path} does not exist"
        )


def _check_version(path: Path, version: str) -> None:
    if version.startswith("3."):
        raise UnsupportedModelFile(
            f"{path.name} was written by Keras {version} and needs no conversion: use it as it is"
        )


def _read_saved_model(path: Path) -> dict[str, Any]:
    metadata = _metadata(path)
    if metadata is None:
        raise UnsupportedModelFile(
            f"{path.name} holds TensorFlow functions and no Keras model (TensorFlow 1, TF-Hub, "
            "model.export() and tf.saved_model.save() write such folders), so there are no layers "
            "to explain: take the Keras model that it was made from and save it as .keras"
        )
    stored = parse(metadata, path.name)
    if not isinstance(stored, dict) or not isinstance(stored.get("model_config", {}), dict):
        raise UnsupportedModelFile(f"{path.name} has no configuration of a model")
    stored = {**stored, **stored.get("model_config", {})}
    kind, config = stored.get("class_name"), stored.get("config")
    if kind not in _GRAPHS or not isinstance(config, (dict, list)) or not config:
        raise ModelRefused(
            f"{path.name} holds a subclassed model ({kind}), whose layers are joined by Python "
            "code that isn't in the folder: build it with the functional API (or, if it was, as "
            "keras.Model(model.inputs, model.outputs)) where its class is defined and save it "
            "again as .keras"
        )
    return {key: stored.get(key) for key in ("class_name", "config", "build_input_shape")}


def _metadata(path: Path) -> str | None:
    """Return what Keras wrote about the model in a SavedModel folder, or None if nothing."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tf_keras.protobuf import saved_metadata_pb2

    beside, stored = saved_metadata_pb2.SavedMetadata(), saved_model_pb2.SavedModel()
    try:
        if (path / "keras_metadata.pb").is_file():  # TensorFlow 2.5 and later
            beside.ParseFromString((path / "keras_metadata.pb").read_bytes())
            found = [node for node in beside.nodes if node.node_id == 0]
        else:
            stored.ParseFromString((path / "saved_model.pb").read_bytes())
            graphs = [graph.object_graph_def for graph in stored.meta_graphs]
            found = [graph.nodes[0].user_object for graph in graphs if graph.nodes]
    except Exception as error:  # protobuf's own, whose package has no stubs
        raise UnsupportedModelFile(f"{path} is not a SavedModel folder: {error}") from error
    models = [node for node in found if node.identifier.startswith("_tf_keras_")]
    return (models[0].metadata or None) if models else None


def _sanitise(value: Any) -> Any:
    """Return a configuration in which everything that it would build has been checked.

    Modules to import, initializers and the like are removed, so that tf_keras can only choose
    among its own layers.
    """
    if isinstance(value, list):
        return [_sanitise(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind, inner = value.get("class_name"), value.get("config")
    if kind in ("TensorShape", "__tuple__"):
        return tuple(_sanitise(value.get("items") or []))
    if kind in _STANDING_FOR_TEXT:
        return _text(kind, inner)
    if kind is not None:
        _check(kind, inner)
    return {
        key: _activation(item) if key.endswith("activation") else _sanitise(item)
        for key, item in value.items()
        if key not in _UNUSED and not key.endswith(_TRAINING_ONLY)
    }


def _activation(value: Any) -> Any:
    """Return an activation, which is a layer or one of Keras' own functions."""
    if isinstance(value, str) and value not in _FUNCTIONS:
        raise ModelRefused(_unknown("function", value))
    return _sanitise(value)


def _text(kind: str, inner: Any) -> Any:
    """Return the value of a policy, an ellipsis, or a function of Keras' own."""
    if kind == "__ellipsis__":
        return ...
    name = inner.get("name") if isinstance(inner, dict) else inner
    if kind == "function" and name not in _FUNCTIONS:
        raise ModelRefused(_unknown(kind, inner))
    return name


def _check(kind: Any, inner: Any) -> None:
    """Raise `ModelRefused` for an unknown class or TensorFlow function."""
    if not isinstance(kind, str) or kind not in _NAMES:
        raise ModelRefused(_unknown(kind, inner))
    if kind in _OPERATIONS:
        symbol, name = (short(_entry(inner, key)) for key in ("function", "name"))
        if tfops.find(symbol) is None:
            raise ModelRefused(f"tf.{symbol} (layer {name!r}) isn't known: {_REBUILD}")


def _entry(config: Any, key: str) -> Any:
    return config.get(key) if isinstance(config, dict) else None


def _unknown(kind: Any, config: Any) -> str:
    name = config.get("name") if isinstance(config, dict) else config
    where = f"{short(kind)} ({short(name)!r})"
    if kind in ("Lambda", "__lambda__"):
        return (
            f"layer {where} is code inside the file and is not run: replace it by a layer of "
            "Keras' own (Rescaling, Activation, ...) where it was made and save it as .keras"
        )
    return f"layer or function {where} isn't one of Keras' own: {_REBUILD}"
