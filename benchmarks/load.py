"""Start time and peak memory of one model: loaded by Keras alone, and made ready by a worker.

Each measurement is a process of its own. The first start converts the model in another one, whose
memory isn't counted; the second finds it converted.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import nets
from benchmarks.fleet import memory_mib

MODELS = ("EfficientNetLite0", "MobileNetV2", "ResNet50")


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result a model."""
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            yield compared(name, nets.write(name, Path(folder)))


def compared(name: str, card: Path) -> dict[str, Any]:
    """Return the seconds from the process's start to a ready model, and its peak memory."""
    keras, first, second, tensorflow = (
        measured(card, way) for way in ("keras", "openvino", "openvino", "tensorflow")
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
        "first_start_peak_ratio_to_keras": round(first["peak_mib"] / keras["peak_mib"], 2),
        "second_start_peak_ratio_to_keras": round(second["peak_mib"] / keras["peak_mib"], 2),
    }


def measured(card: Path, way: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.load", str(card), way]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # ours
    return {"seconds": round(time.perf_counter() - start, 2), **json.loads(done.stdout)}


def load(path: Path, way: str) -> None:
    """Load the model of a card as Keras does, or as a worker does with the engine `way`."""
    if way == "keras":
        import keras

        keras.models.load_model(path.with_name("model.keras"), compile=False)
        return
    from camfleet.registry import cards
    from camfleet.settings import Settings
    from camfleet_worker.process import runtime

    settings = Settings(engine=way)
    runtime.configure(settings)
    from camfleet_worker.models.build import ModelKey, build_explainer
    from camfleet_worker.models.choose import EngineSelector
    from camfleet_worker.models.converted.cache import ConvertedModels

    card = cards.load_card(path)
    key = ModelKey("", "auto", None)
    selector = EngineSelector(settings, ConvertedModels(settings, path.parent))
    artifact = path.parent / card.artifact
    made = build_explainer(card, artifact, key=key, golden=None, selector=selector)
    print(made.engines[0].name, file=sys.stderr)


if __name__ == "__main__":
    load(Path(sys.argv[1]), sys.argv[2])
    print(json.dumps({"peak_mib": round(memory_mib(os.getpid(), "VmHWM"))}))
