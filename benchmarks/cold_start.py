"""From a worker's start to its first answer, and how long `camfleet --help` takes.

The request waits in the queue before the worker starts. The first start of all converts the model;
the first on another machine finds an empty model folder and downloads what was converted; the
second finds that on its disk. Beside them, in turn, a process that imports TensorFlow and loads
the model with Keras. `ROUNDS=1` for fewer.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import nets, photographs, plain
from benchmarks.fleet import Fleet
from camfleet.jobstore import keys

MODELS = tuple(os.environ.get("MODELS", "ResNet50,MobileNetV2").split(","))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
HELPS = 10


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result a model, then that of the command line."""
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name)) as fleet:
        uri = photographs.upload(fleet.client.storage, 1)[0]
        for model in MODELS:
            yield _measured(fleet, Path(name), model, uri)
    yield _help()


class _Round(NamedTuple):
    """Seconds; `ready` is that of the second start."""

    keras: float
    ready: float
    first: float
    another_machine: float
    second: float


def _measured(fleet: Fleet, folder: Path, model: str, uri: str) -> dict[str, Any]:
    card = nets.write(model, folder / model)
    with fleet.worker() as worker:
        worker.ready()
        ref, _ = fleet.client.models.add(card)
    kept = folder / "kept"
    rounds = [_round(fleet, card, ref.digest, uri, kept) for _ in range(ROUNDS)]
    found = _Round(*(median(times) for times in zip(*rounds, strict=True)))
    starts = ("first", "another_machine", "second")
    return {
        "name": f"cold_start_{model}",
        "keras_loaded_seconds": round(found.keras, 2),
        "worker_ready_seconds": round(found.ready, 2),
        **{f"{start}_start_answer_seconds": round(getattr(found, start), 2) for start in starts},
        **{
            f"{start}_start_ratio_to_keras": round(getattr(found, start) / found.keras, 2)
            for start in starts
        },
    }


def _round(fleet: Fleet, card: Path, digest: str, uri: str, kept: Path) -> _Round:
    model, storage = card.parent.name, fleet.client.storage
    keras = plain.measured(card.with_name("model.keras")).seconds
    storage.delete(list(storage.keys(keys.converted(digest))))
    shutil.rmtree(kept, ignore_errors=True)
    _, first = _start(fleet, model, uri, kept)
    shutil.rmtree(kept)
    _, another = _start(fleet, model, uri, kept)
    ready, second = _start(fleet, model, uri, kept)
    return _Round(keras, ready, first, another, second)


def _start(fleet: Fleet, model: str, uri: str, kept: Path) -> tuple[float, float]:
    """Return the seconds from a worker's start until it takes work, and to its first answer."""
    answer = fleet.client.explain(uri, model=model)
    start = time.perf_counter()
    with fleet.worker(CAMFLEET_MODEL_DIR=str(kept)) as worker:
        worker.ready()
        ready = time.perf_counter() - start
        answer.result(timeout=120)
        return ready, time.perf_counter() - start


def _help() -> dict[str, Any]:
    taken = []
    for _ in range(HELPS):
        start = time.perf_counter()
        command = [str(Path(sys.executable).with_name("camfleet")), "--help"]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # ours
        taken.append(time.perf_counter() - start)
    return {"name": "cold_start_help", "seconds": round(median(taken), 3)}
