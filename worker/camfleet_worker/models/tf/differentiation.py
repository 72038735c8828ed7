"""The gradients of any head, by TensorFlow's tape."""

from camfleet_worker.arrays import Array
from camfleet_worker.models.engine import Classes, Extras, Gradients
from camfleet_worker.models.split import Split
from camfleet_worker.models.tf import functions
from camfleet_worker.models.tf.batches import Batches


def differentiated(split: Split, batch_size: int) -> Gradients:
    """Return the gradients of a head, compiled for batches."""
    run = functions.runner(functions.gradients(split.head, split.extras), split.head)
    batches = Batches(run, batch_size)

    def gradients(activations: Array, classes: Classes, extras: Extras) -> Array:
        (made,) = batches(activations, classes, *extras)
        return made

    return gradients
