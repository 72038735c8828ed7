"""Models as Keras 2 wrote them: SavedModel folders, HDF5 files and .keras files.

Only their configuration and weights are read. Neither code in a file nor the functions of a
SavedModel are run: every class and function that a configuration names is checked against a list
before tf_keras builds anything.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py

from camfleet.errors import ConfigurationError, ModelRefused, UnsupportedModelFile
from camfleet.registry.model_files import tfjs_hint
from camfleet_worker.legacy import tfops

_GRAPHS = {"Functional", "Model", "Sequential"}
_OPERATIONS = {"SlicingOpLambda", "TFOpLambda"}
# Layers that read files, run code, or hold no image model.
_UNWANTED = {"Lambda", "StringLookup", "IntegerLookup", "TextVectorization", "TFSMLayer"}
_GONE = {"RandomHeight", "RandomWidth", "ThresholdedReLU"}
_STANDING_FOR_TEXT = ("Policy", "PolicyV1", "__ellipsis__", "function")
_UNUSED = ("module", "registered_name", "build_config", "compile_config", "shared_object_id")
_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
_REBUILD = "rebuild it from Keras' own layers where it was made and save it again as .keras"


def read(path: Path) -> Any:
    """Return the tf_keras model in a file or SavedModel folder, with its weights.

    Raises `ConfigurationError` without tf_keras, `UnsupportedModelFile` for anything but a Keras 2
    model, and `ModelRefused` for a model that could only be loaded by running code.
    """
    tf_keras = _tf_keras()
    config = _sanitise(_configuration(path), _allowed_names(tf_keras))
    try:
        model = _build(tf_keras, config)
        status = model.load_weights(str(path))
        if status is not None:
            status.assert_existing_objects_matched()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsupportedModelFile(f"tf_keras can't read {path.name}: {reason}") from error
    return model


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


def _configuration(path: Path) -> dict[str, Any]:
    """Return {"class_name", "config", ...} of the model in a file or folder, as it's stored."""
    if hint := tfjs_hint(path):
        raise UnsupportedModelFile(f"{path} is no SavedModel folder: {hint}")
    if path.is_dir():
        return _read_saved_model(path)
    if path.suffix in (".h5", ".hdf5"):
        return _read_hdf5(path)
    if path.suffix == ".keras":
        return _read_archive(path)
    raise UnsupportedModelFile(
        f"{path} is neither a SavedModel folder nor a .h5, .hdf5 or .keras file"
        if path.exists()
        else f"{path} does not exist"
    )


def _read_hdf5(path: Path) -> dict[str, Any]:
    try:
        with h5py.File(path) as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "")
    except OSError as error:
        raise UnsupportedModelFile(f"{path.name} is not an HDF5 file: {error}") from error
    if config is None:
        raise UnsupportedModelFile(
            f"{path.name} holds weights only: save the whole model with model.save('model.keras')"
        )
    _check_version(path, version if isinstance(version, str) else version.decode())
    return _parse(path, config)


def _read_archive(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            config, metadata = archive.read("config.json"), archive.read("metadata.json")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UnsupportedModelFile(f"{path.name} is not a .keras file: {error}") from error
    _check_version(path, str(_parse(path, metadata).get("keras_version", "")))
    return _parse(path, config)


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
    stored = _parse(path, metadata)
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


def _parse(path: Path, text: str | bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UnsupportedModelFile(f"{path.name} has a broken configuration: {error}") from error
    if not isinstance(data, dict):
        raise UnsupportedModelFile(f"{path.name} has no configuration of a model")
    return data


def _allowed_names(tf_keras: Any) -> set[str]:
    """Return the names of Keras' own layers that a configuration may hold."""
    own = {name for name, value in vars(tf_keras.layers).items() if isinstance(value, type)}
    return (own | _GRAPHS | _OPERATIONS | _GONE) - _UNWANTED


def _sanitise(value: Any, allowed: set[str]) -> Any:
    """Return a configuration in which everything that it would build has been checked.

    Modules to import, initializers and the like are removed, so that tf_keras can only choose
    among its own layers.
    """
    if isinstance(value, list):
        return [_sanitise(item, allowed) for item in value]
    if not isinstance(value, dict):
        return value
    kind, inner = value.get("class_name"), value.get("config")
    if kind in ("TensorShape", "__tuple__"):
        return tuple(_sanitise(item, allowed) for item in value["items"])
    if kind in _STANDING_FOR_TEXT:
        return _text(kind, inner)
    if kind is not None:
        _check(kind, inner, allowed)
    return {
        key: _sanitise(item, allowed)
        for key, item in value.items()
        if key not in _UNUSED and not key.endswith(_TRAINING_ONLY)
    }


def _text(kind: str, inner: Any) -> Any:
    """Return the value of a policy, an ellipsis, or a function of Keras' own."""
    if kind == "__ellipsis__":
        return ...
    name = inner.get("name") if isinstance(inner, dict) else inner
    if kind == "function" and name not in (*tfops.ACTIVATIONS, "hard_sigmoid"):
        raise ModelRefused(_unknown(kind, inner))
    return name


def _check(kind: str, inner: Any, allowed: set[str]) -> None:
    """Raise `ModelRefused` for an unknown class or TensorFlow function."""
    if kind not in allowed:
        raise ModelRefused(_unknown(kind, inner))
    if kind in _OPERATIONS and tfops.find(str(inner["function"])) is None:
        raise ModelRefused(
            f"tf.{inner['function']} (layer {inner['name']!r}) isn't known: {_REBUILD}"
        )


def _unknown(kind: str, config: Any) -> str:
    name = config.get("name") if isinstance(config, dict) else config
    where = f"{kind} ({name!r})"
    if kind in ("Lambda", "__lambda__"):
        return (
            f"layer {where} is code inside the file and is not run: replace it by a layer of "
            "Keras' own (Rescaling, Activation, ...) where it was made and save it as .keras"
        )
    return f"layer or function {where} isn't one of Keras' own: {_REBUILD}"
