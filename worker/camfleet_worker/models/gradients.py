"""The gradients of a head, for any engine: in closed form where there's one."""

import numpy as np

from camfleet_worker.arrays import Array
from camfleet_worker.models.engine import Classes, Extras, Gradients
from camfleet_worker.models.split import Split


def head_gradients(split: Split, batch_size: int) -> Gradients:
    """Return the gradients of a head: in closed form where CAM holds, else by differentiation."""
    if split.cam_weights is not None:
        return _closed(split.cam_weights)
    from camfleet_worker.models.tf.differentiation import differentiated  # loads TensorFlow

    return differentiated(split, batch_size)


def _closed(weights: Array) -> Gradients:
    """Return the gradients behind an average over the grid: the class's weights by its size."""

    def gradients(activations: Array, classes: Classes, _extras: Extras) -> Array:
        _, height, width, _ = activations.shape
        rows = weights[:, classes].T / np.float32(height * width)
        return np.broadcast_to(rows[:, None, None, :], activations.shape)

    return gradients
