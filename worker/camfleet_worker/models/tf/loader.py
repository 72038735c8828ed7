"""Load a Keras model from a file, or refuse it with a clear reason. Code in files never runs."""

import json
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import keras

from camfleet.errors import ModelRefused, UnsupportedModelFile
from camfleet.registry.model_files import check_model_file
from camfleet_worker.models.model_file import configuration, read_origin, references
from camfleet_worker.models.reasons import refusing
from camfleet_worker.models.tf.unreadable import cause, plain_kind

LAMBDA = "lambda"

_KNOWN_LIBRARIES = ("builtins", "keras", "tensorflow", "tf_keras")


def load_keras(path: Path, custom_code: Sequence[str] = (), *, allowed: bool = False) -> Any:
    """Return the Keras model in a .keras, .h5 or .hdf5 file, without its training state.

    `custom_code` is what the card names: `module:Class` for layers that are installed here, or
    `lambda` for code inside the file. `allowed` says whether the operator permits any. Raises
    `ModelRefused`, or `UnsupportedModelFile` with Keras' reason.

    Keras' safe mode is on, but HDF5 files ignore it and it trusts installed modules. So the
    file's configuration is read first, and anything that would run code not named is refused.
    """
    check_model_file(path)
    objects = custom_objects(custom_code, allowed=allowed)
    lambdas = LAMBDA in custom_code
    with refusing(f"{path.name} can't be read"):
        checked(configuration(path), set(objects), lambdas=lambdas, name=path.name)
        _check_age(path)
    with warnings.catch_warnings():
        # Old files hold arguments and input structures that today's Keras warns about.
        warnings.simplefilter("ignore")
        try:
            return keras.models.load_model(
                path, custom_objects=objects, compile=False, safe_mode=not lambdas
            )
        except Exception as error:
            reason = cause(configuration(path), error, set(objects))
            raise UnsupportedModelFile(
                f"Keras {keras.__version__} can't read {path.name}: {reason}"
            ) from error


def custom_objects(custom_code: Sequence[str], *, allowed: bool) -> dict[str, Any]:
    """Return the classes and functions that a card names; raise `ModelRefused`."""
    if custom_code and not allowed:
        raise ModelRefused(
            f"the card asks for custom code ({', '.join(custom_code)}), which this worker does not "
            "run: its operator would have to set CAMFLEET_ALLOW_CUSTOM_CODE=1"
        )
    return dict(map(_import, (name for name in custom_code if name != LAMBDA)))


def checked(config: Any, named: set[str], *, lambdas: bool, name: str) -> Any:
    """Return the configuration of the file `name` if it would run only code that is `named`."""
    for reference in references(config):
        kind = plain_kind(reference)
        module = str(reference.get("module") or "keras")
        library = module.partition(".")[0]
        if kind == "Lambda" and not lambdas:
            raise UnsupportedModelFile(
                f"{name} has a Lambda layer, which is code inside the file and is not run: "
                "replace it by a layer of Keras' own (Rescaling, Activation, ...) and save again, "
                'or trust the file\'s code in the card (custom_code = ["lambda"]) and on the '
                "workers (CAMFLEET_ALLOW_CUSTOM_CODE=1)"
            )
        if module == "__main__" and kind not in named:
            raise UnsupportedModelFile(
                f"{name} asks for {kind}, which was defined in a script: put it into a module "
                "that is installed on the workers and name it in the card "
                f'(custom_code = ["MODULE:{kind}"])'
            )
        if library not in _KNOWN_LIBRARIES and kind not in named:
            raise UnsupportedModelFile(
                f"{name} asks for {module}.{kind}, which is not Keras' own: name it "
                f'in the card (custom_code = ["{module}:{kind}"]), or rebuild the model '
                "from Keras' own layers"
            )
    return config


def _check_age(path: Path) -> None:
    """Refuse what Keras 3 would load without an error but compute differently."""
    version = read_origin(path)["keras_version"]
    old = version[:2] in ("1.", "2.")
    if old and "hard_sigmoid" in json.dumps(configuration(path)):
        raise UnsupportedModelFile(
            f"{path.name} was written by Keras {version} and uses hard_sigmoid, which is another "
            "function in Keras 3: convert it with `camfleet models convert OLD NEW.keras`"
        )


def _import(name: str) -> tuple[str, Any]:
    module, _, attribute = name.partition(":")
    try:
        return attribute, getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelRefused(
            f"custom_code {name!r} of the card is not installed on this worker: {error}"
        ) from error
