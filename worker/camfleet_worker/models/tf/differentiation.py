"""The gradients of any head, by TensorFlow's tape."""

from camfleet_worker.arrays import Array, Classes
from camfleet_worker.models.batches import Batches
from camfleet_worker.models.engine import Extras, Gradients
from camfleet_worker.models.split import Split
from camfleet_worker.models.tf import functions


def taped_gradients(split: Split, batch_size: int) -> Gradients:
    """Return a head's gradients as a function compiled for batches."""
    run = functions.runner(functions.gradients(split.head, split.extras), split.head)
    batches = Batches(run, batch_size)

    def gradients(activations: Array, classes: Classes, extras: Extras) -> Array:
        (found,) = batches(activations, classes, *extras)
        return found

    return gradients
