"""One process of `benchmarks.gpu`: `machine`, `start CARD` or `speed CARD PRECISION SECONDS`."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from camfleet.contract.targets import parse_target
from camfleet.registry.cards import load_card
from camfleet.settings import Settings
from camfleet_worker.models import jax_engine, program
from camfleet_worker.models.agreement import disagreement
from camfleet_worker.models.build import ModelKey, build_explainer
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted import disk, forms
from camfleet_worker.models.converted.cache import ConvertedModels
from camfleet_worker.models.engine import SelectedEngine
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.process import runtime

BATCHES = tuple(map(int, os.environ.get("BATCHES", "1,2,4,8,16,32,64,128,256").split(",")))
SECONDS = float(os.environ.get("ROUND_SECONDS", "1"))  # for each figure
_MEMORY = 2**36


def machine() -> dict[str, Any]:
    """Return what this machine computes on."""
    import jax

    device = jax.devices()[0]
    stats = device.memory_stats() or {}
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "jax": jax.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "device_memory_mib": round(stats.get("bytes_limit", 0) / 2**20),
    }


def start(card_path: Path) -> dict[str, Any]:
    """Return how long it takes until a model answers, with what is kept beside its file."""
    began = time.perf_counter()
    made = _build(card_path, Settings(engine="jax"))
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "engine": made.engines[0].name,
        "disagreement": float(f"{made.disagreement:.2g}"),
    }


def speed(card_path: Path, precision: str, seconds: float) -> dict[str, Any]:
    """Return images per second of the explainer and of the bare forward pass, by batch size.

    No batch size begins after so many seconds.
    """
    began = time.perf_counter()
    settings = Settings(engine="jax", model_run_memory=_MEMORY)
    runtime.configure(settings)
    _build(card_path, settings)  # leaves its program on disk
    kept = disk.place(card_path.parent, "auto", forms.JAX)
    split = disk.load(kept, forms.JAX)
    assert split is not None
    card = load_card(card_path)
    with tempfile.TemporaryDirectory() as name:
        folder = kept
        if precision != "highest":
            folder = Path(name) / "program"
            _export(card_path, precision, folder)
        found = program.read(folder)
        rows = []
        for size in BATCHES:
            if time.perf_counter() - began > seconds:
                rows.append({"batch": size, "left_out": "too little time is left"})
                break
            engine = jax_engine.JAX(split, found, replace(settings, batch_size=size))
            if engine.room.batch < size:
                rows.append({"batch": size, "left_out": "the device has too little memory"})
                break
            selected = SelectedEngine(engine, disagreement(engine, split))
            made = Explainer(card, "", [split], "mean", size, [selected])
            rows.append(
                {"batch": size, "disagreement": float(f"{selected.disagreement:.2g}")}
                | _measured(made, engine, size)
            )
    return {"rows": rows}


def _measured(made: Explainer, engine: jax_engine.JAX, size: int) -> dict[str, Any]:
    images = np.random.default_rng(0).uniform(-1, 1, (size, *made.shape)).astype(np.float32)
    targets = [parse_target("top")] * size
    bare = _bare(engine, images)
    began = time.perf_counter()
    bare()
    compiling = time.perf_counter() - began
    made.explain(images, targets, "gradcam")

    ways = {"bare": bare, "explain": lambda: made.explain(images, targets, "gradcam")}
    taken = {name: [_seconds(way) for _ in range(3)] for name, way in ways.items()}
    best = {name: size / min(seconds) for name, seconds in taken.items()}
    return {
        "bare_images_per_second": round(best["bare"], 1),
        "explain_images_per_second": round(best["explain"], 1),
        "ratio": round(best["explain"] / best["bare"], 3),
        "compile_seconds": round(compiling, 2),
        "device_mib": _device_mib(),
    }


def _bare(engine: jax_engine.JAX, images: Any) -> Callable[[], object]:
    """Return the forward pass of images that are on the device already, its results left there."""
    import jax

    loaded, there = engine._forward._run, jax.device_put(images)  # noqa: SLF001
    return lambda: jax.block_until_ready(loaded(there))


def _seconds(way: Callable[[], object]) -> float:
    """Return the seconds of one call, on average over a while."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS / 3:
        way()
        count += 1
    return (time.perf_counter() - start) / count


def _device_mib() -> int | None:
    import jax

    stats = jax.devices()[0].memory_stats()
    return round(stats["peak_bytes_in_use"] / 2**20) if stats else None


def _build(card_path: Path, settings: Settings) -> Explainer:
    card = load_card(card_path)
    path = card_path.parent / card.artifact
    return build_explainer(
        card,
        path,
        key=ModelKey("0" * 64, "auto", None),
        golden=None,
        selector=EngineSelector(settings, ConvertedModels(settings, path.parent)),
    )


def _export(card_path: Path, precision: str, folder: Path) -> None:
    """Write a model's program in another precision, exported by a process that sees no GPU."""
    words = [sys.executable, "-m", "benchmarks.gpu_alone", "export", str(card_path), precision]
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    subprocess.run([*words, str(folder)], check=True, env=environ)  # noqa: S603  # ours


def export(card_path: Path, precision: str, folder: Path) -> dict[str, Any]:
    """Cut a model and write its program."""
    settings = Settings(engine="jax")
    runtime.load_backend(settings)
    from camfleet_worker.models.tf.export import from_split
    from camfleet_worker.models.tf.from_file import cut_from_file

    card = load_card(card_path)
    (split,) = cut_from_file(card, card_path.parent / card.artifact, ["auto"], settings)
    program.write(from_split(split, precision), folder)
    return {"written": str(folder)}


def main(what: str, *words: str) -> None:
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "machine": machine,
        "start": lambda: start(Path(words[0])),
        "speed": lambda: speed(Path(words[0]), words[1], float(words[2])),
        "export": lambda: export(Path(words[0]), words[1], Path(words[2])),
    }
    print(json.dumps(ways[what]()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
