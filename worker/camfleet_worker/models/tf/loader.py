"""Load a Keras model from a file, or refuse it with a clear reason. Code in files never runs."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from camfleet.errors import CamfleetError, UnsupportedModelFile
from camfleet.registry.model_files import check_model_file
from camfleet_worker.models.model_file import ModelFile, is_old, mentions, opened
from camfleet_worker.models.reasons import NOT_THE_MODELS, refusing
from camfleet_worker.models.tf.built import build
from camfleet_worker.models.tf.custom_code import LAMBDA, checked, custom_objects
from camfleet_worker.models.tf.unreadable import cause


def load_keras(path: Path, custom_code: Sequence[str] = (), *, allowed: bool = False) -> Any:
    """Return the Keras model in a .keras, .h5 or .hdf5 file, without its training state.

    `custom_code` is what the card names: `module:Class` for layers that are installed here, or
    `lambda` for code inside the file. `allowed` says whether the operator permits any. Raises
    `ModelRefused`, or `UnsupportedModelFile` with Keras' reason.

    Keras gets a configuration that is rebuilt from the file's (`files.configuration`), and its
    weights; never the file.
    """
    check_model_file(path)
    objects = custom_objects(custom_code, allowed=allowed)
    lambdas = LAMBDA in custom_code
    with refusing(f"{path.name} can't be read"), opened(path) as file:
        _check_age(path, file)
        config = checked(file.configuration, set(objects), lambdas=lambdas, name=path.name)
        with warnings.catch_warnings(record=True) as said:
            # Old files hold arguments and input structures that today's Keras warns about.
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", message="Skipping nested container")
            model = _filled(config, objects, file, lambdas=lambdas, name=path.name)
        if said:  # Keras would go on with weights that are nobody's
            raise UnsupportedModelFile(
                f"Keras {keras.__version__} can't read {path.name}: {said[0].message}"
            )
        return model


def _filled(
    config: dict[str, Any], objects: dict[str, Any], file: ModelFile, *, lambdas: bool, name: str
) -> Any:
    """Return the model of a checked configuration, with the file's weights."""
    try:
        model = build(config, objects, lambdas=lambdas, numbers=file.numbers, shown=name)
        model.load_weights(file.weights)
    except (CamfleetError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ in NOT_THE_MODELS:
            raise
        reason = cause(error)
        raise UnsupportedModelFile(
            f"Keras {keras.__version__} can't read {name}: {reason}"
        ) from error
    return model


def _check_age(path: Path, file: ModelFile) -> None:
    """Refuse what Keras 3 would load without an error but compute differently."""
    if is_old(file.origin) and mentions(file.configuration, "hard_sigmoid"):
        raise UnsupportedModelFile(
            f"{path.name} was written by Keras {file.origin['keras_version']} and uses "
            "hard_sigmoid, which is another function in Keras 3: convert it with `camfleet models "
            "convert OLD NEW.keras`"
        )
