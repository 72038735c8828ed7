"""What code a model may run: that of Keras' layers, and what card and operator allow."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from camfleet.errors import ModelRefused
from camfleet_worker.models.files.configuration import Trusted, rebuild

LAMBDA = "lambda"


def custom_objects(custom_code: Sequence[str], *, allowed: bool) -> dict[str, Any]:
    """Return the classes and functions that a card names; raise `ModelRefused`."""
    if custom_code and not allowed:
        raise ModelRefused(
            f"the card asks for custom code ({', '.join(custom_code)}), which this worker does not "
            "run: its operator would have to set CAMFLEET_ALLOW_CUSTOM_CODE=1"
        )
    return dict(map(_import, (name for name in custom_code if name != LAMBDA)))


def checked(config: Any, named: set[str], *, lambdas: bool, name: str) -> dict[str, Any]:
    """Return the configuration of the file `name`, rebuilt of what a model file may name.

    Code that is `named` may run, and `lambdas` if that's said. Raises `UnsupportedModelFile`.
    """
    return rebuild(config, name, Trusted(frozenset(named), lambdas))


def _import(name: str) -> tuple[str, Any]:
    module, _, attribute = name.partition(":")
    try:
        return attribute, getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelRefused(
            f"custom_code {name!r} of the card is not installed on this worker: {error}"
        ) from error
