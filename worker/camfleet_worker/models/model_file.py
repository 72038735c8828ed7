"""What a model file says about itself, read without Keras."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from camfleet.errors import UnsupportedModelFile

# What zipfile, h5py and json raise for files that aren't what they should be.
_BROKEN = (
    *(AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError),
    zipfile.BadZipFile,
)


def read_origin(path: Path) -> dict[str, str]:
    """Return a model file's format and the Keras version that wrote it, "unknown" if it's silent.

    Raises `UnsupportedModelFile` where it can't be read.
    """
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                written = json.loads(archive.read("metadata.json")).get("keras_version", "unknown")
            return {"format": "Keras v3 archive", "keras_version": str(written)}
        with h5py.File(path) as file:
            found = file.attrs.get("keras_version", b"unknown")
    except _BROKEN as error:
        raise UnsupportedModelFile(f"{path.name} is not a model file of Keras: {error}") from error
    text = found.decode() if isinstance(found, bytes) else str(found)
    return {"format": "HDF5", "keras_version": text}


def configuration(path: Path) -> Any:
    """Return the configuration in a model file; raise `UnsupportedModelFile` if there's none."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        with h5py.File(path) as file:
            config = file.attrs.get("model_config")
        if config is not None:
            return json.loads(config)
    except _BROKEN as error:
        raise UnsupportedModelFile(f"{path.name} is not a model file of Keras: {error}") from error
    raise UnsupportedModelFile(
        f"{path.name} holds weights only: save the whole model with model.save('model.keras')"
    )


def references(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a configuration that names a class or function by `class_name`."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from references(value)
    elif isinstance(config, list):
        for value in config:
            yield from references(value)
