"""TensorFlow's process-wide settings: made once, before anything runs on a device."""

import logging
import os

from camfleet.settings import Settings

logger = logging.getLogger(__name__)


def configure(settings: Settings) -> None:
    """Set threads and memory growth; log which devices this process computes on.

    A GPU's memory is taken as it's needed, so that several processes can share one machine;
    choose the GPU of a process with CUDA_VISIBLE_DEVICES.
    """
    # Read by the libraries when they're loaded below. NumPy's own products here are tiny.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import cv2
    import tensorflow as tf

    threads = settings.cpu_threads or len(os.sched_getaffinity(0))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    cv2.setNumThreads(1)  # images are handled side by side in the I/O threads already
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    logger.info("computing on %s with %d threads", [gpu.name for gpu in gpus] or "the CPU", threads)
