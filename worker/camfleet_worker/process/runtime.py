"""Process-wide settings of the libraries that compute, made once before they are loaded."""

import ctypes
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeVar

from camfleet import control_groups
from camfleet.errors import ConfigurationError
from camfleet.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_YIELDING = 5  # steps of niceness: a third of the weight of a thread that doesn't give way
_LARGE_BLOCK = 2**24  # bytes: a picture of 5.6 million pixels
_LOADING = threading.Lock()
_JAX_PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")
_NO_JAX = (
    "CAMFLEET_ENGINE is jax, and JAX isn't installed: install camfleet's wheel with the extra "
    "`worker-jax`, and for GPUs `jax[cuda13]` or `jax[cuda12]`"
)
_NO_TENSORFLOW = (
    "TensorFlow isn't installed: install camfleet's wheel with the extra `worker`, or set "
    "CAMFLEET_ENGINE=jax where JAX is to compute on a CPU too"
)


def configure(settings: Settings) -> None:
    """Set threads, memory and precision; log which devices this process computes on.

    TensorFlow is loaded only where it computes: models that run in OpenVINO need it just once, to
    be converted, and those in JAX not even for that. GPU memory is allocated on demand, so that
    several processes can share a machine; choose a process's GPU with CUDA_VISIBLE_DEVICES.
    """
    # The libraries read these when they are loaded. NumPy's own matrix products are tiny here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    openvino = settings.engine != "tensorflow" and find_spec("openvino") is not None
    if openvino:
        # With oneDNN TensorFlow never returns memory to the system, and here it hardly computes.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import cv2

    cv2.setNumThreads(1)  # the I/O threads already handle images in parallel
    _avoid_preemption()
    _limit_malloc(arenas=2 * threads(settings))  # with fewer, threads would wait for each other
    if settings.engine == "jax" or (settings.engine == "auto" and jax_gpus()):
        load_jax(settings)
    elif not openvino or _has_driver():
        load_tensorflow(settings)
    gc.freeze()  # a million objects that will stay: collections needn't look at them
    logger.info("computing on %s with %d threads", device_name(), threads(settings))


def load_tensorflow(settings: Settings) -> None:
    """Load TensorFlow and set it up, unless this process has done so; it takes seconds."""
    with _LOADING:
        if "tensorflow" in sys.modules:
            return
        if find_spec("tensorflow") is None:
            raise ConfigurationError(_NO_TENSORFLOW)
        with _without_collections():  # which would take a sixth of the time and find nothing
            import tensorflow as tf

        count = threads(settings)
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(count)
        for gpu in _tensorflows_gpus():
            tf.config.experimental.set_memory_growth(gpu, True)
        if _tensorflows_gpus():
            tf.config.optimizer.set_experimental_options(
                {"auto_mixed_precision": settings.mixed_precision}
            )
            tf.config.optimizer.set_jit("autoclustering" if settings.xla else False)
        gc.freeze()


def load_jax(settings: Settings) -> None:
    """Load JAX and set it up; raise `ConfigurationError` where it isn't installed.

    It takes memory of a GPU as it needs it. What it compiles for GPUs is kept on this machine, for
    the next start, and because two compilations may choose other algorithms, whose results differ
    in their last bits.
    """
    with _LOADING:
        is_new = "jax" not in sys.modules
        if find_spec("jax") is None:
            raise ConfigurationError(_NO_JAX)
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1":  # else JAX takes it for a mistake
            os.environ["JAX_PLATFORMS"] = "cpu"
        import jax

        if jax.devices()[0].platform != "cpu":
            folder = settings.model_dir.expanduser() / "xla"
            jax.config.update("jax_compilation_cache_dir", str(folder))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        if is_new:
            gc.freeze()


def load_backend(settings: Settings) -> None:
    """Load Keras on what models compute in: JAX if that's set, or else TensorFlow.

    Only for a process that then runs Keras on nothing else.
    """
    nothing: Any = None
    sys.modules.setdefault("IPython", nothing)  # Keras would load it for notebooks
    if settings.engine == "jax":
        os.environ["KERAS_BACKEND"] = "jax"
        load_jax(settings)
    else:
        load_tensorflow(settings)


def gpus() -> list[Any]:
    """Return the GPUs that models compute on; without a driver no library is loaded for it."""
    if "tensorflow" in sys.modules or not jax_gpus():
        return _tensorflows_gpus()
    return jax_gpus()


def jax_gpus() -> list[Any]:
    """Return the GPUs that JAX sees, if it's installed with its plugin for them."""
    if not _has_driver() or not any(find_spec(name) for name in _JAX_PLUGINS):
        return []
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    return [device for device in jax.devices() if device.platform == "gpu"]


def _tensorflows_gpus() -> list[Any]:
    if not _has_driver() or find_spec("tensorflow") is None:
        return []
    import tensorflow as tf

    found: list[Any] = tf.config.list_physical_devices("GPU")
    return found


def device_name() -> str:
    """Return what this process computes on, for people."""
    names = [getattr(gpu, "device_kind", "") or gpu.name for gpu in gpus()]
    return ", ".join(names) or "CPU"


def threads(settings: Settings) -> int:
    """Return how many threads compute: as many as set, else the cores this process may use."""
    ours = len(os.sched_getaffinity(0))
    return settings.cpu_threads or min(ours, control_groups.cores() or ours)


def giving_way(start: Callable[[], T]) -> T:
    """Return what `start` returns; the threads that it starts give way to this process's others.

    On a core that both want they get a quarter of the time.
    """

    def nicely() -> T:
        if sys.platform == "linux":  # where a thread has a niceness of its own, and hands it down
            with suppress(PermissionError):  # a confined process may not, and has nobody waiting
                os.nice(_YIELDING)
        return start()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(nicely).result()


def free_memory() -> None:
    """Return unused memory to the system; models are full of reference cycles."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Let the garbage lie for a block."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _avoid_preemption() -> None:
    """Keep threads that wake up from preempting those that compute; later threads inherit this.

    Otherwise work that could wait a few milliseconds takes a forward pass's core, and its caches.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # forbidden in some containers
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _limit_malloc(arenas: int) -> None:
    """Let threads share so many arenas from now on, and return large blocks to the system at once.

    glibc would give each of a worker's dozens of threads its own arena, and each would keep what a
    large photograph once took there. MALLOC_ variables of the environment take precedence.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
    if mallopt is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(_M_ARENA_MAX, arenas)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE_BLOCK)  # at 128 KiB it would happen time and again


@cache
def _has_driver() -> bool:
    """Return whether this machine has NVIDIA's driver, without which TensorFlow finds no GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
