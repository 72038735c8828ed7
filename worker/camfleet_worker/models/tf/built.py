"""A Keras model built of a checked configuration, without memory for weights that nobody has."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from math import prod
from typing import Any

import keras

# Keras' own way to share layers among nested models, and to fill weights late, has no public name.
from keras.src.backend.common import global_state
from keras.src.backend.common.variables import initialize_all_variables
from keras.src.saving.serialization_lib import ObjectSharingScope as SharedLayers

from camfleet.errors import UnsupportedModelFile

__all__ = ["SharedLayers", "build"]

_UNFILLED = "uninitialized_variables"
_SPARE = 1_000_000  # numbers that layers have without a file: seeds, adaptions (LoRA)


def build(
    config: dict[str, Any], objects: dict[str, Any], *, lambdas: bool, numbers: int, shown: str
) -> Any:
    """Return the model of a configuration that `files.configuration` has rebuilt.

    `numbers` is how many there are to fill its weights; raises `UnsupportedModelFile` before
    memory is taken for many more. Raises what Keras raises, too.
    """
    trusted = bool(objects) or lambdas  # somebody's own layer may want its weights at once
    with SharedLayers(), nullcontext() if trusted else _late(numbers, shown):
        return keras.saving.deserialize_keras_object(
            config, custom_objects=objects, safe_mode=not lambdas
        )


@contextmanager
def _late(numbers: int, shown: str) -> Iterator[None]:
    """Make weights without values, count them, and give them values at the end."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
        made = global_state.get_global_attribute(_UNFILLED) or []
        wanted = sum(prod(variable.shape) for variable in made)
        if wanted > 2 * numbers + _SPARE:
            raise UnsupportedModelFile(
                f"{shown} describes a model of {wanted:,} weights, and holds {numbers:,} numbers: "
                "save the whole model again with model.save('model.keras')"
            )
        initialize_all_variables()
    finally:
        global_state.set_global_attribute(_UNFILLED, [])
