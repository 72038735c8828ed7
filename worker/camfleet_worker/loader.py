"""From a model file on disk to a Keras model, or a clear refusal."""

import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import keras

from camfleet.cards import check_model_file
from camfleet.errors import UnsupportedModelFile


def load_keras(path: Path) -> Any:
    """Return the Keras model in a .keras, .h5 or .hdf5 file, without its training state.

    Raises `UnsupportedModelFile` with Keras' reason. Code inside the file is never run: Keras'
    safe mode is on, and as it's ignored for HDF5, Lambda layers are looked for there.
    """
    check_model_file(path)
    if path.suffix != ".keras":
        _check_hdf5(path)
    with warnings.catch_warnings():
        # Old files carry arguments and input structures that today's Keras warns about.
        warnings.simplefilter("ignore")
        try:
            return keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UnsupportedModelFile(
                f"Keras {keras.__version__} can't read {path.name}: {reason} (if it has custom "
                "layers or Lambdas, rebuild it from Keras' own layers and save it as .keras)"
            ) from error


def _check_hdf5(path: Path) -> None:
    try:
        with h5py.File(path) as file:
            config = file.attrs.get("model_config")
    except OSError as error:
        raise UnsupportedModelFile(f"{path.name} is not an HDF5 file: {error}") from error
    if config is None:
        raise UnsupportedModelFile(
            f"{path.name} holds weights only: save the whole model with model.save('model.keras')"
        )
    if "Lambda" in _classes(json.loads(config)):
        raise UnsupportedModelFile(
            f"{path.name} has a Lambda layer, which is code inside the file and is not run: "
            "replace it by a layer of Keras' own (Rescaling, Activation, ...) and save again"
        )


def _classes(config: Any) -> set[str]:
    """Return every `class_name` in a model's configuration."""
    if isinstance(config, dict):
        found = {str(config["class_name"])} if "class_name" in config else set()
        return found.union(*map(_classes, config.values()))
    if isinstance(config, list):
        return set().union(*map(_classes, config))
    return set()
