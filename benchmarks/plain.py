"""What a process costs that only loads a model with Keras and predicts once.

`python -m benchmarks.plain model.keras` answers when the model is loaded, and when it has
predicted, with its memory then.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.fleet import memory_mib


class Plain(NamedTuple):
    """Seconds from the process's start to a loaded model; memory after a prediction."""

    seconds: float
    rss_mib: float
    peak_mib: float


def measured(path: Path) -> Plain:
    command = [sys.executable, "-m", "benchmarks.plain", str(path)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # ours
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - start
        rss, peak = map(float, process.stdout.readline().split())
    return Plain(seconds, rss, peak)


def _load(path: str) -> None:
    import keras
    import numpy as np

    model = keras.models.load_model(path)
    print("loaded", flush=True)
    model.predict(np.zeros((1, *model.input_shape[1:]), np.float32), verbose=0)
    pid = os.getpid()
    print(memory_mib(pid), memory_mib(pid, "VmHWM"), flush=True)


if __name__ == "__main__":
    _load(sys.argv[1])
