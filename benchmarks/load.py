"""Start time and peak memory of one model: loaded by Keras alone, and made ready by a worker.

Each measurement is a process of its own; the second start finds the converted model.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WAYS = ("keras", "openvino", "tensorflow")


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result a model."""
    from benchmarks.speed import MODELS

    for name, build in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            build().save(path)
            yield compared(name, path)


def compared(name: str, path: Path) -> dict[str, Any]:
    """Return the seconds from the process's start to a ready model, and its peak memory."""
    keras, first, second, tensorflow = (
        measured(path, way) for way in ("keras", "openvino", "openvino", "tensorflow")
    )
    return {
        "name": f"load_{name}",
        "keras_seconds": keras["seconds"],
        "first_start_seconds": first["seconds"],
        "second_start_seconds": second["seconds"],
        "tensorflow_engine_seconds": tensorflow["seconds"],
        "keras_peak_mib": keras["peak_mib"],
        "first_start_peak_mib": first["peak_mib"],
        "second_start_peak_mib": second["peak_mib"],
        "tensorflow_engine_peak_mib": tensorflow["peak_mib"],
        "peak_ratio_to_keras": round(first["peak_mib"] / keras["peak_mib"], 2),
    }


def measured(path: Path, way: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.load", str(path), way]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # ours
    return {"seconds": round(time.perf_counter() - start, 2), **json.loads(done.stdout)}


def load(path: Path, way: str) -> None:
    """Load a model as Keras does, or as a worker does with the engine `way`; run a batch."""
    if way == "keras":
        import keras

        keras.models.load_model(path, compile=False)
        return
    from camfleet.cards import Card, CardInput
    from camfleet.settings import Settings
    from camfleet_worker import device

    settings = Settings(engine=way)
    device.configure(settings)
    from camfleet_worker.models.build import ModelKey, build_explainer
    from camfleet_worker.models.engines import Choice

    card = Card(id="net", artifact=path.name, input=CardInput(height=224, width=224))
    key = ModelKey("", "auto", None)
    choice = Choice(settings, path.parent)
    made = build_explainer(card, path, key=key, golden=None, choice=choice)
    print(made.engines[0].name, file=sys.stderr)


if __name__ == "__main__":
    load(Path(sys.argv[1]), sys.argv[2])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"peak_mib": peak}))
