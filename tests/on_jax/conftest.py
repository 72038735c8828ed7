"""Models in JAX: these tests run in an environment of their own, which has no TensorFlow."""

import os
from importlib.util import find_spec

if find_spec("tensorflow") is None:  # before anybody loads Keras
    os.environ.update(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
