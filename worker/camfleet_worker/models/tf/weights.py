"""The weights of Keras models, on any of its backends."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import ml_dtypes
import numpy as np


def type_of(variable: Any) -> str:
    """Return the name of a variable's type, as plain models have it."""
    return str(keras.backend.standardize_dtype(variable.dtype))


def dtype(name: str) -> "np.dtype[Any]":
    """Return the type of arrays that goes by a name."""
    return np.dtype(getattr(ml_dtypes, name, name))


def nbytes(models: Sequence[Any]) -> int:
    """Return the size of the models' weights, counting shared ones once."""
    weights = {id(weight): weight for model in models for weight in model.weights}
    return sum(
        math.prod(weight.shape) * dtype(type_of(weight)).itemsize for weight in weights.values()
    )
