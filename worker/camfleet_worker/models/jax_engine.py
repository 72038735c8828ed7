"""JAX as an engine: programs that Keras on JAX has exported, run without Keras.

It's meant for GPUs and not measured there; on CPUs OpenVINO is many times faster.
"""

import logging
import threading
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from camfleet.settings import Settings
from camfleet_worker.arrays import Array, Classes
from camfleet_worker.models import memory
from camfleet_worker.models.batched_engine import BatchedEngine
from camfleet_worker.models.batches import Batches
from camfleet_worker.models.engine import EngineRefused, Extras, Gradients
from camfleet_worker.models.gradients import head_gradients
from camfleet_worker.models.memory import Room
from camfleet_worker.models.program import Program
from camfleet_worker.models.split import Split
from camfleet_worker.process import runtime

logger = logging.getLogger(__name__)

_Shape = tuple[int, ...]
_AHEAD = 2  # batches in a GPU's memory at one time: one computes while the next waits


class JAX(BatchedEngine):
    """A split whose programs run in JAX, on the first GPU or, without one, the CPU.

    Raises `EngineRefused` for programs that aren't the split's, and `TooLarge` before it takes
    more memory than the settings allow.
    """

    name = "jax"

    def __init__(self, split: Split, program: Program, settings: Settings) -> None:
        runtime.load_jax(settings)
        layer, extras = split.layer, [(extra.shape, "float32") for extra in split.extras]
        maps = ((layer.height, layer.width, layer.channels), "float32")
        images = (split.trial.images.shape[1:], "float32")
        weights = _on_device(program)
        forward = _Loaded(
            program.forward, [images, *extras], [maps, ((split.classes,), "float32")], weights
        )
        gradients = None
        if split.cam_weights is None:
            rows = [maps, ((), "int32"), *extras]
            gradients = _Loaded(program.gradients, rows, [maps], weights)
        self.nbytes = program.nbytes
        self.room = _room(split, forward.taken + (gradients.taken if gradients else 0), settings)
        super().__init__(
            Batches(forward, self.room.batch),
            _by_program(Batches(gradients, self.room.batch))
            if gradients
            else head_gradients(split, self.room.batch),
        )


def _by_program(batches: Batches) -> Gradients:
    def gradients(activations: Array, classes: Classes, extras: Extras) -> Array:
        (found,) = batches(activations, classes.astype(np.int32, copy=False), *extras)
        return found

    return gradients


class _Loaded:
    """An exported program, compiled for each batch size that comes; its weights are on the device.

    `rows` and `results` are the shapes, without the batch, and types that it must have. `taken`
    are the bytes that one image takes within.
    """

    def __init__(
        self,
        data: bytes,
        rows: Sequence[tuple[_Shape, str]],
        results: Sequence[tuple[_Shape, str]],
        weights: Sequence[Any],
    ) -> None:
        from jax import export

        self._exported = export.deserialize(bytearray(data))
        self._rows = rows
        self._weights = weights
        self._compiled: dict[int, Any] = {}
        self._compiling = threading.Lock()
        self._check(results)
        found = self._for(1).memory_analysis()  # none on devices that don't tell
        self.taken = int(found.temp_size_in_bytes + found.output_size_in_bytes) if found else 0

    def __call__(self, *arrays: Array) -> Sequence[Any]:
        found = self._for(len(arrays[0]))(*arrays, *self._weights)
        return found if isinstance(found, tuple) else (found,)

    def _for(self, size: int) -> Any:
        """Return the program compiled for a batch of this size."""
        import jax

        with self._compiling:
            if size not in self._compiled:
                rows = [jax.ShapeDtypeStruct((size, *shape), dtype) for shape, dtype in self._rows]
                lowered = jax.jit(self._exported.call).lower(*rows, *self._weights)
                self._compiled[size] = lowered.compile()
            return self._compiled[size]

    def _check(self, results: Sequence[tuple[_Shape, str]]) -> None:
        given, made = self._exported.in_avals, self._exported.out_avals
        count = len(self._rows)
        fits = (
            self._exported.nr_devices == 1
            and [_facts(one)[1:] for one in given[:count]] == _wanted(self._rows)
            and [_facts(one)[1:] for one in made] == _wanted(results)
            and [(tuple(one.shape), str(one.dtype)) for one in given[count:]]
            == [(tuple(one.shape), str(one.dtype)) for one in self._weights]
            and all(not isinstance(_facts(one)[0], int) for one in (*given[:count], *made))
        )
        if not fits:
            raise EngineRefused("the program isn't this model's: it takes or returns other arrays")


def _facts(aval: Any) -> tuple[Any, list[Any], str]:
    """Return an argument's batch size, which is symbolic, its other sizes, and its type."""
    first, *others = tuple(aval.shape) or (0,)
    return first, others, str(aval.dtype)


def _wanted(arrays: Sequence[tuple[_Shape, str]]) -> list[tuple[list[int], str]]:
    return [(list(shape), dtype) for shape, dtype in arrays]


def _on_device(program: Program) -> list[Any]:
    """Return the weights in the memory of the device."""
    import jax
    import ml_dtypes

    return [
        jax.device_put(
            content.view(getattr(ml_dtypes, weight.dtype, weight.dtype)).reshape(weight.shape)
        )
        for weight, content in program.weights
    ]


def _room(split: Split, taken: int, settings: Settings) -> Room:
    """Return how many images may be computed at once, of which each takes so many bytes within.

    A GPU has memory of its own, of which what's free counts; the arrays are in the machine's.
    """
    import jax

    most = memory.while_running(settings)
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats is None:
        return memory.room(settings.batch_size, split.array_bytes + taken, most)
    room = memory.room(settings.batch_size, split.array_bytes, most)
    free = int(stats["bytes_limit"]) - int(stats["bytes_in_use"])
    fitting = max(1, free // max(1, _AHEAD * taken))
    if fitting < room.batch:
        logger.info("the GPU has memory for batches of %d images", fitting)
    return room._replace(batch=min(room.batch, fitting))


@cache
def is_usable() -> bool:
    """Return whether JAX is installed."""
    return find_spec("jax") is not None


def is_wanted(settings: Settings) -> bool:
    """Return whether the settings call for JAX, or there's a GPU that it's installed for.

    On a machine without GPUs it's never chosen by itself.
    """
    return settings.engine == "jax" or (settings.engine == "auto" and bool(runtime.jax_gpus()))
