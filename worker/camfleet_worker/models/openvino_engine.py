"""OpenVINO as an engine: the forward pass on the CPU, one image per request, in parallel.

Every image is a request of its own, and as many run at once as there are threads: no other engine
or hint was faster, and no image's result depends on another. All threads together run an image
that comes alone, in a second copy of the model, and those that run batches give way to them. The
first such image makes that copy, so workers that only run jobs never need it.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from camfleet.contract.outputs import DEFAULT_PRECISION, Precision
from camfleet.settings import Settings
from camfleet_worker.arrays import Array, Classes
from camfleet_worker.models import memory
from camfleet_worker.models.engine import (
    Engine,
    Extras,
    Forward,
    Gradients,
    Rows,
    relative_error,
)
from camfleet_worker.models.gradients import head_gradients
from camfleet_worker.models.memory import Room
from camfleet_worker.models.openvino_graph import OUTPUTS, constant_bytes, graph_bytes
from camfleet_worker.models.openvino_library import is_usable, library
from camfleet_worker.models.split import HALF_TOLERANCE, TOLERANCE, Split
from camfleet_worker.process import runtime
from camfleet_worker.process.priority import is_urgent

logger = logging.getLogger(__name__)

XML, WEIGHTS = "model.xml", "model.bin"
_HINTS = {"float32": "f32", "bf16": "bf16"}
_GROUPS = 2  # of requests for batches: while one finishes, the other starts the next


class OpenVINO(Engine):
    """A split whose forward pass runs in OpenVINO, in a precision, on `threads` threads.

    `source` returns a converted model, as `read` does. It is called again for the copy that runs
    single images, and what it refers to stays in memory until then. `room` limits the copies.
    """

    name = "openvino"
    pads = False

    def __init__(
        self,
        model: Any,
        source: Callable[[], Any],
        threads: int,
        gradients: Gradients,
        room: Room,
        precision: Precision = DEFAULT_PRECISION,
    ) -> None:
        # A lane has a copy of all intermediate results for each stream.
        two = threads > 1 and room.copies > 1
        self._source: Callable[[], Any] | None = source if two else None
        self._threads = threads
        self._precision = precision
        streams = None if room.copies > threads else max(1, room.copies - two)
        make = partial(_Lane, model, "THROUGHPUT", threads, streams, precision)
        self._many = runtime.giving_way(make) if two else make()
        self._one = None if two else self._many
        self._making = threading.Lock()
        self._gradients = gradients
        self.room = room
        self.nbytes = constant_bytes(model) * (2 if two else 1)

    @classmethod
    def for_split(
        cls,
        split: Split,
        source: Callable[[], Any],
        settings: Settings,
        precision: Precision = DEFAULT_PRECISION,
    ) -> "OpenVINO":
        """Return the engine of a split, whose converted model `source` returns.

        Raises `TooLarge` before it takes more memory than the settings allow.
        """
        model, threads = source(), runtime.threads(settings)
        room = memory.room(
            settings.batch_size,
            split.array_bytes + split.gradient_bytes,
            memory.while_running(settings),
            copy_bytes=max(graph_bytes(model), split.costs.graph),
            copies=threads + (threads > 1),
        )
        return cls(model, source, threads, head_gradients(split, room.batch), room, precision)

    def start(self, images: Rows, extras: Extras) -> Forward:
        inputs = [images, *extras]
        single = self._lane_for_one(inputs) if len(images) == 1 else None
        # Single images that arrive together share the cores better in the other lane.
        lane = single if single and single.is_idle() else self._many
        return lane.start(inputs)

    def gradients(self, activations: Array, classes: Classes, extras: Extras) -> Array:
        return self._gradients(activations, classes, extras)

    def _lane_for_one(self, inputs: Sequence[Rows]) -> "_Lane":
        """Return the lane for single images; the first of them makes it."""
        with self._making:
            if self._one is None:
                self._one = self._make_lane_for_one(inputs)
        return self._one

    def _make_lane_for_one(self, inputs: Sequence[Rows]) -> "_Lane":
        if self._source is None:
            return self._many
        try:
            lane = _Lane(self._source(), "LATENCY", self._threads, None, self._precision)
            found = lane.start(inputs)()
        except RuntimeError as error:  # the model's files may be gone by now
            logger.warning("single images run in one thread: %s", error)
            return self._many
        finally:
            self._source = None  # each lane has its own weights
        most = TOLERANCE if self._precision == DEFAULT_PRECISION else HALF_TOLERANCE
        return lane if _agree(found, self._many.start(inputs)(), most) else self._many


class _Lane:
    """A model compiled for one of OpenVINO's hints, and the requests that run in parallel."""

    def __init__(
        self,
        model: Any,
        hint: str,
        threads: int,
        streams: int | None = None,
        precision: Precision = DEFAULT_PRECISION,
    ) -> None:
        options = {
            **({} if streams is None else {"NUM_STREAMS": streams}),
            "PERFORMANCE_HINT": hint,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],  # else CPUs differ: some have bfloat16
            "ENABLE_CPU_PINNING": False,  # would pin two processes to the same cores
        }
        compiled = library().Core().compile_model(model, "CPU", options)
        # Two requests per stream: each has its next image while this thread fetches results.
        count = 2 * int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        # An urgent image has a request that no batch takes, so it comes next after those begun.
        self._idle: dict[bool, SimpleQueue[list[Any]]] = {False: SimpleQueue(), True: SimpleQueue()}
        for urgent, size in [(False, count)] * _GROUPS + [(True, 1)] * count:
            self._idle[urgent].put([compiled.create_infer_request() for _ in range(size)])
        self._groups = _GROUPS + count
        self._inputs = [(port, _place(port.any_name)) for port in compiled.inputs]
        self._shapes = [tuple(compiled.output(name).shape)[1:] for name in OUTPUTS]

    def is_idle(self) -> bool:
        """Return whether no request is running."""
        return sum(idle.qsize() for idle in self._idle.values()) == self._groups

    def start(self, arrays: Sequence[Rows]) -> Forward:
        """Start all rows of the arrays; the function returned waits for the outputs."""
        inputs = [[np.asarray(row, np.float32, order="C") for row in rows] for rows in arrays]
        activations, logits = (
            np.empty((len(inputs[0]), *shape), np.float32) for shape in self._shapes
        )
        idle = self._idle[is_urgent()]
        requests = idle.get()

        def finish() -> tuple[Array, Array]:
            with ExitStack() as stack:
                stack.callback(idle.put, requests)
                for request in requests:
                    stack.callback(request.wait)
            return activations, logits

        try:
            for row in range(len(inputs[0])):
                request = requests[row % len(requests)]
                request.wait()
                for port, place in self._inputs:
                    request.set_tensor(port, _view(inputs[place][row]))
                for name, output in zip(OUTPUTS, (activations, logits), strict=True):
                    request.set_tensor(name, _view(output[row]))
                request.start_async()
        except BaseException:
            finish()
            raise
        return finish


def is_wanted(settings: Settings) -> bool:
    """Return whether the settings, or a machine without GPUs, call for OpenVINO, and it's there."""
    wanted = settings.engine
    return (wanted == "openvino" or (wanted == "auto" and not runtime.gpus())) and is_usable()


def device_capabilities() -> frozenset[str]:
    """Return what OpenVINO says that it computes on this CPU: FP32, maybe BF16, and more."""
    return frozenset(library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def read(folder: Path) -> Any:
    """Return the model that `save` wrote, its weights mapped into memory."""
    return library().Core().read_model(folder / XML)


def run_once(model: Any) -> int:
    """Compile a model and run it on zeros; return by how many bytes this process grew in the run.

    That is what one copy of all results takes, if nothing else runs in the process.
    """
    lane = _Lane(model, "THROUGHPUT", 1)
    inputs = [np.zeros((1, *port.shape[1:]), np.float32) for port in model.inputs]

    def once() -> None:
        lane.start(inputs)()

    runtime.free_memory()
    _, grown = memory.peak(once)
    return grown


def save(model: Any, folder: Path) -> None:
    """Write a model to a new folder."""
    library().save_model(model, folder / XML, compress_to_fp16=False)


def _place(name: str) -> int:
    """Return the index of the array, among those of a call, that an input takes."""
    return 0 if name == "images" else 1 + int(name.removeprefix("extra_"))


def _agree(found: Sequence[Array], expected: Sequence[Array], most: float) -> bool:
    return all(relative_error(*pair) <= most for pair in zip(found, expected, strict=True))


def _view(row: Array) -> Any:
    """Return a batch of one that shares the memory of `row`."""
    return library().Tensor(row[None], shared_memory=True)
