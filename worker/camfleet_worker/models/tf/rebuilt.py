"""A Keras model taken apart into plain data, and put together again without its file.

Putting together needs no more than a configuration, which is checked as a file's would be, and
arrays. So whoever does it never opens what somebody has uploaded.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from camfleet.errors import CamfleetError, ModelRefused
from camfleet_worker.arrays import AnyArray
from camfleet_worker.models.plain import PlainModel, Weight
from camfleet_worker.models.reasons import NOT_THE_MODELS, reason_of
from camfleet_worker.models.split import NO_COSTS, Costs, FileOrigin
from camfleet_worker.models.tf.built import build
from camfleet_worker.models.tf.custom_code import LAMBDA, checked, custom_objects
from camfleet_worker.models.tf.weights import dtype, type_of

_NAME = "the model"


def take_apart(
    model: Any, origin: FileOrigin, logits: AnyArray, costs: Costs = NO_COSTS
) -> PlainModel:
    """Return a Keras model as plain data, with what `PlainModel` says of the rest."""
    try:
        config = keras.saving.serialize_keras_object(model)
    except Exception as error:
        raise ModelRefused(f"the model can't be taken apart: {reason_of(error)}") from error
    weights = map(_plain, model.weights)
    return PlainModel(origin, config, weights, logits, costs)


def _plain(variable: Any) -> tuple[Weight, AnyArray]:
    array = np.asarray(ops.convert_to_numpy(variable), order="C")
    return Weight(type_of(variable), array.shape), array.reshape(-1).view(np.uint8)


def put_together(plain: PlainModel, custom_code: Sequence[str] = (), *, allowed: bool) -> Any:
    """Return the Keras model of plain data; raise `ModelRefused` where that can't be.

    `custom_code` and `allowed` as for `load_keras`.
    """
    objects = custom_objects(custom_code, allowed=allowed)
    lambdas = LAMBDA in custom_code
    config = checked(plain.config, set(objects), lambdas=lambdas, name=_NAME)
    weights = list(plain.weights)
    numbers = sum(math.prod(weight.shape) for weight, _ in weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = build(config, objects, lambdas=lambdas, numbers=numbers, shown=_NAME)
        except CamfleetError:
            raise
        except Exception as error:
            if type(error).__name__ in NOT_THE_MODELS:
                raise
            raise ModelRefused(
                f"{_NAME} can't be put together from its configuration: {reason_of(error)}"
            ) from error
    _set_weights(model, weights)
    return model


def _set_weights(model: Any, weights: Sequence[tuple[Weight, AnyArray]]) -> None:
    wanted = [(type_of(variable), tuple(variable.shape)) for variable in model.weights]
    found = [(weight.dtype, weight.shape) for weight, _ in weights]
    if wanted != found:
        raise ModelRefused(
            f"the model put together has {len(wanted)} weights that aren't the {len(found)} of its "
            "file: it makes others each time it's built"
        )
    for variable, (weight, content) in zip(model.weights, weights, strict=True):
        variable.assign(content.view(dtype(weight.dtype)).reshape(weight.shape))
    for layer in model._flatten_layers():  # noqa: SLF001  # no public API
        if hasattr(layer, "finalize_state"):  # of layers that compute something of their weights
            layer.finalize_state()
