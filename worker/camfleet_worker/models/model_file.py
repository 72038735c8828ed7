"""A model file by a stranger, opened within bounds and without Keras.

Only for a confined process: what reads zip archives and HDF5 is written in C, and has bugs.
"""

import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from camfleet.errors import UnsupportedModelFile
from camfleet_worker.models.files import archive, bounds, hdf5

_WEIGHTS = "model.weights.h5"
# What zipfile and json raise for archives that aren't what they should be.
_BROKEN = (
    *(AttributeError, EOFError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError),
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error),
)


class ModelFile(NamedTuple):
    """What is in a model file, all of it still a stranger's.

    `weights` is an HDF5 file that is checked, with `numbers` numbers in it.
    """

    origin: dict[str, str]
    configuration: Any
    weights: Path
    numbers: int


@contextmanager
def opened(path: Path) -> Iterator[ModelFile]:
    """Open a .keras, .h5 or .hdf5 file; raise `UnsupportedModelFile` if it isn't a whole model.

    The weights are there while the context lasts.
    """
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        read = _read_archive if path.suffix == ".keras" else _read_hdf5
        yield read(path, Path(folder))


def read_origin(path: Path) -> dict[str, str]:
    """Return a model file's format and the Keras version that wrote it, "unknown" if it's silent.

    Raises `UnsupportedModelFile` where it can't be read.
    """
    if path.suffix == ".keras":
        with _archive(path) as file:
            return _origin_of_archive(file, path)
    return _origin_of_hdf5(hdf5.texts(path))


def _read_archive(path: Path, folder: Path) -> ModelFile:
    weights = folder / _WEIGHTS
    with _archive(path) as file:
        origin = _origin_of_archive(file, path)
        config = bounds.parse(file.read("config.json", bounds.MOST_CONFIGURATION), path.name)
        file.copy(_WEIGHTS, weights)
    return ModelFile(origin, config, weights, hdf5.count_numbers(weights, path.name))


def _read_hdf5(path: Path, folder: Path) -> ModelFile:
    numbers = hdf5.count_numbers(path)
    texts = hdf5.texts(path)
    config = texts["model_config"]
    if config is None:
        raise UnsupportedModelFile(
            f"{path.name} holds weights only: save the whole model with model.save('model.keras')"
        )
    weights = folder / "model.h5"  # by whose name Keras knows the format
    weights.symlink_to(path.absolute())
    parsed = bounds.parse(config, path.name)
    return ModelFile(_origin_of_hdf5(texts), parsed, weights, numbers)


@contextmanager
def _archive(path: Path) -> Iterator[archive.Archive]:
    try:
        with archive.opened(path) as file:
            yield file
    except _BROKEN as error:
        raise UnsupportedModelFile(
            f"{path.name} is not a model file of Keras: {error}; save the model again with "
            "model.save('model.keras')"
        ) from error


def _origin_of_archive(file: archive.Archive, path: Path) -> dict[str, str]:
    written = bounds.parse(file.read("metadata.json", bounds.MOST_METADATA), path.name)
    version = written.get("keras_version", "unknown")
    return {"format": "Keras v3 archive", "keras_version": str(version)[:40]}


def _origin_of_hdf5(texts: dict[str, str | None]) -> dict[str, str]:
    return {"format": "HDF5", "keras_version": (texts["keras_version"] or "unknown")[:40]}


def is_old(origin: dict[str, str]) -> bool:
    """Return whether Keras 1 or 2 wrote a file."""
    return origin["keras_version"][:2] in ("1.", "2.")


def mentions(config: Any, name: str) -> bool:
    """Return whether a configuration has a text anywhere in it."""
    return name in json.dumps(config)
