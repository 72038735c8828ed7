"""OpenVINO as an engine: the forward pass on the CPU, one image a request, side by side.

Images are run one at a time, as many at once as there are threads: no engine or hint was faster,
and no image's result depends on another. One image alone is run by all threads together, in a
copy of the model that is made at the first: workers that only run jobs never need it.
"""

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from camfleet_worker.arrays import Array
from camfleet_worker.models.engine import Classes, Engine, Extras, Forward, Gradients, Rows, part
from camfleet_worker.models.split import TOLERANCE

logger = logging.getLogger(__name__)

OUTPUTS = ("activations", "logits")
_FILE = "model.xml"
_TEAMS = 2  # of requests: while one ends its batch, the other begins the next


class OpenVINO(Engine):
    """A split with its forward pass in OpenVINO, in float32, on `threads` threads.

    `source` returns the model as `from_split` or `read` do; what it holds on to stays in memory.
    """

    name = "openvino"
    pads = False

    def __init__(self, source: Callable[[], Any], threads: int, gradients: Gradients) -> None:
        model = source()
        self._source: Callable[[], Any] | None = source if threads > 1 else None
        self._threads = threads
        self._many = _Lane(model, "THROUGHPUT", threads)
        self._one = None if threads > 1 else self._many
        self._making = threading.Lock()
        self._gradients = gradients
        self.nbytes = _constant_bytes(model) * (2 if threads > 1 else 1)

    def start(self, images: Rows, extras: Extras) -> Forward:
        inputs = [images, *extras]
        alone = self._alone(inputs) if len(images) == 1 else None
        lane = alone if alone and alone.rests() else self._many  # several share the cores better
        return lane.start(inputs)

    def gradients(self, activations: Array, classes: Classes, extras: Extras) -> Array:
        return self._gradients(activations, classes, extras)

    def _alone(self, inputs: Sequence[Rows]) -> "_Lane":
        """Return the lane for one image."""
        with self._making:
            if self._one is None:
                self._one = self._made_for_one(inputs)
        return self._one

    def _made_for_one(self, inputs: Sequence[Rows]) -> "_Lane":
        if self._source is None:
            return self._many
        try:
            lane = _Lane(self._source(), "LATENCY", self._threads)
            found = lane.start(inputs)()
        except RuntimeError as error:  # its files may be gone by now
            logger.warning("single images run in one thread: %s", error)
            return self._many
        finally:
            self._source = None  # the lanes have weights of their own
        return lane if _agree(found, self._many.start(inputs)()) else self._many


class _Lane:
    """A model compiled for one of OpenVINO's hints, and the requests that run side by side."""

    def __init__(self, model: Any, hint: str, threads: int) -> None:
        options = {
            "PERFORMANCE_HINT": hint,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # bfloat16 where the CPU has it would not agree
            "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same cores
        }
        compiled = library().Core().compile_model(model, "CPU", options)
        streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._spare: SimpleQueue[list[Any]] = SimpleQueue()
        for _ in range(_TEAMS):
            # A second request a stream: it has its next image while this thread fetches results.
            self._spare.put([compiled.create_infer_request() for _ in range(2 * streams)])
        self._inputs = [(each, _place(each.any_name)) for each in compiled.inputs]
        self._shapes = [tuple(compiled.output(name).shape)[1:] for name in OUTPUTS]

    def rests(self) -> bool:
        """Say whether no request runs."""
        return self._spare.qsize() == _TEAMS

    def start(self, arrays: Sequence[Rows]) -> Forward:
        """Start all rows of arrays; what's returned waits for the outputs."""
        inputs = [[np.asarray(row, np.float32, order="C") for row in each] for each in arrays]
        activations, logits = (
            np.empty((len(inputs[0]), *shape), np.float32) for shape in self._shapes
        )
        team = self._spare.get()

        def finish() -> tuple[Array, Array]:
            with ExitStack() as stack:
                stack.callback(self._spare.put, team)
                for request in team:
                    stack.callback(request.wait)
            return activations, logits

        try:
            for row in range(len(inputs[0])):
                request = team[row % len(team)]
                request.wait()
                for port, place in self._inputs:
                    request.set_tensor(port, _shared(inputs[place][row]))
                for name, each in zip(OUTPUTS, (activations, logits), strict=True):
                    request.set_tensor(name, _shared(each[row]))
                request.start_async()
        except BaseException:
            finish()
            raise
        return finish


@cache
def library() -> Any:
    """Return the module `openvino`, without the converter that reports its import to Intel.

    Whatever it imports from `openvino.tools.ovc` sends usage data, so that package is shut off
    before; OpenVINO takes it for not installed.
    """
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]  # stops imports
    import openvino

    return openvino


@cache
def is_usable() -> bool:
    """Say whether OpenVINO is installed and can be loaded; log why it isn't."""
    if find_spec("openvino") is None:
        logger.warning("OpenVINO is not installed: pip install 'camfleet[cpu]' makes CPUs faster")
        return False
    try:
        library()
    except Exception as error:  # noqa: BLE001  # whatever a broken installation raises
        logger.warning("OpenVINO can't be loaded, TensorFlow takes its place: %s", error)
        return False
    return True


def read(folder: Path) -> Any:
    """Return the model that `save` has written, its weights mapped into memory."""
    return library().Core().read_model(folder / _FILE)


def save(model: Any, folder: Path) -> None:
    """Write a model to a new folder."""
    library().save_model(model, folder / _FILE, compress_to_fp16=False)


def _place(name: str) -> int:
    """Return which of a call's arrays the input of that name takes."""
    return 0 if name == "images" else 1 + int(name.removeprefix("extra_"))


def _agree(found: Sequence[Array], expected: Sequence[Array]) -> bool:
    return all(part(*pair) <= TOLERANCE for pair in zip(found, expected, strict=True))


def _shared(row: Array) -> Any:
    """Return a batch of one that lies where `row` does."""
    return library().Tensor(row[None], shared_memory=True)


def _constant_bytes(model: Any) -> int:
    return sum(
        each.get_byte_size() for each in model.get_ops() if each.get_type_name() == "Constant"
    )
