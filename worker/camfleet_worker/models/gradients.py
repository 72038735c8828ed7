"""A head's gradients, for any engine: in closed form where there is one."""

import numpy as np

from camfleet_worker.arrays import Array, Classes
from camfleet_worker.models.engine import Extras, Gradients
from camfleet_worker.models.split import Split


def head_gradients(split: Split, batch_size: int) -> Gradients:
    """Return a head's gradients: in closed form where CAM holds, else by differentiation."""
    if split.cam_weights is not None:
        return _closed_form(split.cam_weights)
    from camfleet_worker.models.tf.differentiation import taped_gradients  # loads TensorFlow

    return taped_gradients(split, batch_size)


def _closed_form(weights: Array) -> Gradients:
    """Return the gradients before an average over the grid: the class's weights over its size."""

    def gradients(activations: Array, classes: Classes, _extras: Extras) -> Array:
        _, height, width, _ = activations.shape
        rows = weights[:, classes].T / np.float32(height * width)
        return np.broadcast_to(rows[:, None, None, :], activations.shape)

    return gradients
