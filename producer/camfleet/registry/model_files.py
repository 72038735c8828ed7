"""Which files can be models of Keras, and what to do about the others."""

from pathlib import Path

from camfleet.errors import InvalidCard, UnsupportedModelFile
from camfleet.registry import card_files

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
_WAYS_OUT = {
    "": "a SavedModel folder can't be cut open in Keras 3: convert it with `camfleet models "
    "convert FOLDER model.keras`, or save it again with model.save('model.keras')",
    ".pb": "a SavedModel can't be cut open in Keras 3: convert its folder with `camfleet models "
    "convert FOLDER model.keras`",
    ".tflite": "a TFLite file has no gradients; use the Keras model that it was converted from",
    ".onnx": "ONNX isn't Keras; use the Keras model that it was exported from",
    ".pt": "that is PyTorch; rebuild the network in Keras and save it as .keras",
    ".pth": "that is PyTorch; rebuild the network in Keras and save it as .keras",
    ".json": "that holds an architecture without weights; save the whole model as .keras",
}

_TFJS = (
    "that is a TF.js model; use the Keras model that it was made from, or convert it back with "
    "`tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras model.json "
    "model.h5`"
)

_TEXT = 64 * 2**20  # bytes of a description of a TF.js model


def check_model_file(path: Path) -> None:
    """Refuse what can't be a Keras model file, with the way out. Raises `UnsupportedModelFile`."""
    if not path.exists():
        raise UnsupportedModelFile(f"{path} does not exist")
    if path.is_file() and path.suffix in MODEL_SUFFIXES:
        return
    raise UnsupportedModelFile(
        f"{path} is not a Keras model file ({', '.join(MODEL_SUFFIXES)}): {_way_out(path)}"
    )


def tfjs_hint(path: Path) -> str:
    """Return the way out for a TF.js model, a folder or its description; "" for anything else."""
    return _TFJS if (path / "model.json").is_file() or _is_tfjs(path) else ""


def _way_out(path: Path) -> str:
    """Return what else a file or folder is, and what to do about it."""
    if hint := tfjs_hint(path):
        return hint
    if (path / "config.json").is_file():
        return "that is an unpacked .keras archive; zip the folder's files into MODEL.keras"
    if path.is_dir():
        return _WAYS_OUT[""]
    plain = "save the model with model.save('model.keras')"
    return _WAYS_OUT.get(path.suffix or ".", plain)


def _is_tfjs(path: Path) -> bool:
    """Return whether a file is the description of a TF.js model."""
    try:
        return path.suffix == ".json" and "weightsManifest" in card_files.read_text(path, "", _TEXT)
    except InvalidCard:
        return False
