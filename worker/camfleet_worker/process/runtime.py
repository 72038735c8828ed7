"""The process-wide settings of the libraries that compute: made once, before they're loaded."""

import ctypes
import gc
import logging
import math
import os
import sys
import threading
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from camfleet.settings import Settings

logger = logging.getLogger(__name__)

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_LARGE_BLOCK = 2**24  # bytes: a picture of 5.6 million pixels
_LOADING = threading.Lock()


def configure(settings: Settings) -> None:
    """Set threads, memory and precision; log which devices this process computes on.

    TensorFlow is loaded only where it computes: models run in OpenVINO need it just once, to
    convert them. A GPU's memory is taken as it's needed, so that several processes can share one
    machine; choose the GPU of a process with CUDA_VISIBLE_DEVICES.
    """
    # Read by the libraries when they're loaded. NumPy's own products here are tiny.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    openvino = settings.engine != "tensorflow" and find_spec("openvino") is not None
    if openvino:
        # With oneDNN TensorFlow never gives memory back, and here it hardly computes.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import cv2

    cv2.setNumThreads(1)  # images are handled side by side in the I/O threads already
    _take_turns()
    _keep_less_memory(2 * threads(settings))  # with fewer, threads would wait for each other
    if not openvino or _has_driver():
        load_tensorflow(settings)
    gc.freeze()  # a million objects that are there to stay: no collection need look at them
    names = [gpu.name for gpu in gpus()]
    logger.info("computing on %s with %d threads", names or "the CPU", threads(settings))


def load_tensorflow(settings: Settings) -> None:
    """Load TensorFlow and set it up, unless this process has done so; it takes seconds."""
    with _LOADING:
        if "tensorflow" in sys.modules:
            return
        import tensorflow as tf

        count = threads(settings)
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(count)
        for gpu in gpus():
            tf.config.experimental.set_memory_growth(gpu, True)
        if gpus():
            tf.config.optimizer.set_experimental_options(
                {"auto_mixed_precision": settings.mixed_precision}
            )
            tf.config.optimizer.set_jit("autoclustering" if settings.xla else False)
        gc.freeze()


def gpus() -> list[Any]:
    """Return the GPUs that TensorFlow sees; it's asked only where there's a driver."""
    if not _has_driver():
        return []
    import tensorflow as tf

    found: list[Any] = tf.config.list_physical_devices("GPU")
    return found


def device_name() -> str:
    """Return what this process computes on, for people."""
    return ", ".join(gpu.name for gpu in gpus()) or "CPU"


def threads(settings: Settings) -> int:
    """Return how many threads to compute with: as set, else the cores this process may use."""
    return settings.cpu_threads or min(len(os.sched_getaffinity(0)), quota(_QUOTA))


def free_memory() -> None:
    """Give memory that is no longer used back to the system; models are full of cycles."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def quota(path: Path) -> int:
    """Return how many cores a container's quota is worth, rounded up; many where there's none."""
    limit, _, period = (path.read_text() if path.is_file() else "max").partition(" ")
    return max(1, math.ceil(int(limit) / int(period))) if limit.strip() != "max" else 2**16


def _take_turns() -> None:
    """Let no thread that wakes up interrupt one that computes; holds for threads made from now on.

    What could wait for a few milliseconds else takes a forward pass's core, and its caches.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # forbidden in some containers
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _keep_less_memory(arenas: int) -> None:
    """Let threads share `arenas` of memory, from now on, and give large blocks back at once.

    glibc would let each of a worker's dozens of threads have an arena of its own, and each keeps
    what a large photograph once took there. The environment's own settings go first.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
    if mallopt is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(_M_ARENA_MAX, arenas)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE_BLOCK)  # else at 128 KiB: time and again


@cache
def _has_driver() -> bool:
    """Say whether this machine has NVIDIA's driver, without which TensorFlow finds no GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
