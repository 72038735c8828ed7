"""Gradients of what Keras computes, on the backend that it runs on."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np

from camfleet_worker.arrays import Array

Function: TypeAlias = Callable[[Any], tuple[Any, Any]]  # a tensor to a value, and what is derived


def gradient(function: Function, given: Array) -> tuple[Array, Array | None]:
    """Return a function's value for an array, and the gradient of the other result's sum.

    The gradient is None where nothing leads from that result back to the array: it's behind a
    rounding or a stopped gradient, say.
    """
    if keras.backend.backend() == "jax":
        return _by_jax(function, given)
    return _by_tensorflow(function, given)


def _by_tensorflow(function: Function, given: Array) -> tuple[Array, Array | None]:
    import tensorflow as tf

    tensor = tf.constant(given)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value, derived = function(tensor)
    found = tape.gradient(derived, tensor)
    return np.asarray(value), None if found is None else np.asarray(found)


def _by_jax(function: Function, given: Array) -> tuple[Array, Array | None]:
    import jax

    def derived(tensor: Any) -> Any:
        return function(tensor)[1]

    value, _ = function(given)
    _, pushed = jax.linearize(derived, given)
    result, pull = jax.vjp(derived, given)
    if not _leads_through(jax.make_jaxpr(pushed)(given).jaxpr):
        return np.asarray(value), None
    (found,) = pull(jax.numpy.ones_like(result))
    return np.asarray(value), np.asarray(found)


def _leads_through(program: Any) -> bool:
    """Return whether any result of a linear program depends on its only argument."""
    reached = {id(variable) for variable in program.invars}
    for step in program.eqns:
        if reached & {id(variable) for variable in step.invars}:
            reached |= {id(variable) for variable in step.outvars}
    return any(id(variable) in reached for variable in program.outvars)
