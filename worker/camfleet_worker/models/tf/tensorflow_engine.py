"""TensorFlow as an engine."""

from camfleet.settings import Settings
from camfleet_worker.models import memory
from camfleet_worker.models.batched_engine import BatchedEngine
from camfleet_worker.models.batches import Batches
from camfleet_worker.models.engine import Gradients
from camfleet_worker.models.memory import Room
from camfleet_worker.models.split import Split
from camfleet_worker.models.tf import functions
from camfleet_worker.models.tf.weights import nbytes
from camfleet_worker.process import runtime


class TensorFlow(BatchedEngine):
    """A split as TensorFlow graphs; with `frozen`, the forward pass has constants for weights.

    Raises `EngineRefused` for a model that can't be frozen.
    """

    def __init__(
        self, split: Split, room: Room, gradients: Gradients, *, frozen: bool = False
    ) -> None:
        graph = functions.forward(split.conv, split.head, split.extras, None)
        self.name = "tensorflow, frozen" if frozen else "tensorflow"
        self.nbytes = nbytes([split.conv, split.head])
        run = functions.runner(
            functions.freeze(graph, self.nbytes) if frozen else graph, split.conv, split.head
        )
        self.room = room
        super().__init__(Batches(run, room.batch), gradients)

    @staticmethod
    def room_for(split: Split, settings: Settings) -> Room:
        """Return how many images a split may compute at once; raise `TooLarge`.

        A GPU's own memory doesn't count here: batches are halved where it's too small.
        """
        forward = 0 if runtime.gpus() else split.costs.forward
        image_bytes = split.array_bytes + forward + split.gradient_bytes
        return memory.room(settings.batch_size, image_bytes, memory.while_running(settings))
