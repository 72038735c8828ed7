"""The explainer beside other libraries' and beside Keras' eager way: decoded images in, maps out.

Every way runs in a process of its own, in the environment that it was installed into, with as
many threads as a worker has. They take turns in one run; medians are compared.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import nets
from benchmarks.peer import Case, Peer, peer
from benchmarks.peer_places import NotInstalled, Place
from camfleet.settings import Settings
from camfleet_worker.pictures import heat
from camfleet_worker.process import runtime

MODELS = ("EfficientNetLite0", "MobileNetV2", "ResNet50")
# So many rounds, or fewer, but not less than three, once they've taken so long.
ROUNDS, SECONDS = 7, 75
BATCH = 16
SIDE = 224
_TENSORFLOW = (
    "tensorflow-cpu; platform_machine == 'x86_64' and sys_platform != 'darwin'",
    "tensorflow; platform_machine != 'x86_64' or sys_platform == 'darwin'",
)
PLACES = {
    "benchmarks.peer_vis": Place("vis", ("tf-keras-vis", "keras", *_TENSORFLOW)),
    "benchmarks.peer_torch": Place("torch", ("grad-cam", "timm", "torch", "torchvision")),
}


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result a model, and one for each peer that can't be installed here."""
    pythons = {"benchmarks.peer_eager": sys.executable}
    for module, place in PLACES.items():
        try:
            pythons[module] = place.python()
        except NotInstalled as error:
            yield {"name": f"peers_{place.name}", "skipped": str(error)}
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            yield _compared(name, Path(folder), pythons)


def _compared(name: str, folder: Path, pythons: dict[str, str]) -> dict[str, Any]:
    """Measure all ways with one model, written to a folder."""
    _prepare(name, folder)
    with ExitStack() as stack:
        peers = _started(stack, name, folder, pythons)
        taken = _milliseconds(peers)
    medians = {way: statistics.median(found) for way, found in taken.items()}
    return {
        "name": f"peers_{name}",
        "engine": peers[0].about["engine"],
        "threads": runtime.threads(Settings()),
        **{f"{way}_ms_per_image": round(value, 2) for way, value in medians.items()},
        "rounds": len(taken["camfleet"]),
        **_ratios("throughput_ratio_to", medians),
        # Where other processes disturb, the fastest rounds are the least disturbed.
        **_ratios("fastest_ratio_to", {way: min(found) for way, found in taken.items()}),
        **_difference(folder),
        "versions": {key: made for peer in peers for key, made in peer.about["versions"].items()},
    }


def _prepare(name: str, folder: Path) -> None:
    """Write a model, noise for photographs and the case to a folder."""
    nets.write(name, folder)
    photos = np.random.default_rng(0).uniform(-1, 1, (BATCH, SIDE, SIDE, 3))
    np.save(folder / "photos.npy", photos.astype(np.float32))
    Case(name, runtime.threads(Settings())).write(folder)
    command = [sys.executable, "-m", "benchmarks.peer_weights", str(folder)]
    subprocess.run(command, check=True)  # noqa: S603  # ours


def _started(stack: ExitStack, name: str, folder: Path, pythons: dict[str, str]) -> list[Peer]:
    """Start Camfleet's process, then, with the layer and classes that it found, the others."""
    threads = runtime.threads(Settings())
    ours = stack.enter_context(peer(sys.executable, "benchmarks.peer_camfleet", folder))
    Case(name, threads, ours.about["layer"], ours.about["classes"]).write(folder)
    started = [peer(python, module, folder) for module, python in pythons.items()]
    return [ours, *(stack.enter_context(peer) for peer in started)]


def _ratios(name: str, figures: dict[str, float]) -> dict[str, float]:
    ours = figures["camfleet"]
    return {
        f"{name}_{way}": round(value / ours, 2)
        for way, value in figures.items()
        if way != "camfleet"
    }


def _milliseconds(peers: list[Peer]) -> dict[str, list[float]]:
    """Return each way's milliseconds per image in each round; the ways take turns."""
    end = time.monotonic() + SECONDS
    ways = [(peer, way) for peer in peers for way in peer.about["ways"]]
    taken: dict[str, list[float]] = {way: [] for _, way in ways}
    for round_ in range(ROUNDS):
        if round_ >= 3 and time.monotonic() > end:
            break
        for side, way in ways:
            taken[way].append(1e3 * side.seconds(way) / side.about["images"])
    return taken


def _difference(folder: Path) -> dict[str, float]:
    """Return the largest difference to tf-keras-vis' maps of the same model and classes.

    Of the positive parts, each map divided by its maximum and resized to the image.
    """
    theirs = folder / "tf_keras_vis.npy"
    if not theirs.is_file():
        return {}
    shown = [
        np.stack([heat.resize(heat.normalise(raw), SIDE, SIDE) for raw in np.load(path)])
        for path in (folder / "camfleet.npy", theirs)
    ]
    return {"tf_keras_vis_max_difference": float(f"{np.abs(shown[0] - shown[1]).max():.1g}")}
