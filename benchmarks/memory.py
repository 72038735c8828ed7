"""Whether a worker's memory stays flat over many images, and what it takes for one model.

A worker process explains 20,000 small images with a small model, then photographs of all sizes in
job after job; beside what it takes for one model stands a process that only loads the same model
with Keras and predicts once. `ROWS=4000` for fewer.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import nets, photographs, plain
from benchmarks.fleet import Fleet, finish, memory_mib, wait_until

ROWS = int(os.environ.get("ROWS", "20000"))
FIRST = 2000  # images until memory is compared
OBJECTS = 400  # different images
MODEL = "ResNet50"
SIDES = (100, 500, 1000, 2000, 4000)  # pixels
OF_A_SIDE = 20  # photographs
JOBS = 8


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield the results: over many images, and for one model."""
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name)) as fleet:
        yield _flat(fleet, Path(name))
        yield _one_model(fleet, Path(name))
        yield _all_sizes(fleet, Path(name))


def _flat(fleet: Fleet, folder: Path) -> dict[str, Any]:
    uris = photographs.upload(fleet.client.storage, OBJECTS, side=96, prefix="small")
    with fleet.worker() as worker:
        worker.ready()
        fleet.client.models.add(nets.write("Small", folder / "Small"))
        rows = (uris[number % OBJECTS] for number in range(ROWS))
        job = fleet.client.submit(rows, models=["Small"], keep_duplicates=True)
        wait_until(lambda: job.status().done >= FIRST, 600, pause=0.05)
        early = memory_mib(worker.pid)
        finish(job)
        late, peak = memory_mib(worker.pid), memory_mib(worker.pid, "VmHWM")
    return {
        "name": "memory_over_many_images",
        "images": ROWS,
        f"rss_mib_after_{FIRST}": round(early),
        "rss_mib_at_the_end": round(late),
        "peak_rss_mib": round(peak),
        "ratio_end_to_early": round(late / early, 3),
    }


def _one_model(fleet: Fleet, folder: Path) -> dict[str, Any]:
    card = nets.write(MODEL, folder / MODEL)
    bare = plain.measured(card.with_name("model.keras"))
    uris = photographs.upload(fleet.client.storage, 256)
    found: dict[str, Any] = {"name": f"memory_of_one_model_{MODEL}"}
    for start in ("first", "second"):  # the first converts the model, the second finds it so
        with fleet.worker() as worker:
            worker.ready()
            if start == "first":
                fleet.client.models.add(card)
            loaded = memory_mib(worker.pid, "VmHWM")
            finish(fleet.client.submit(uris, models=[MODEL]))
            peak = memory_mib(worker.pid, "VmHWM")
        found |= {
            f"{start}_start_peak_mib_before_a_job": round(loaded),
            f"{start}_start_peak_mib_after_a_job": round(peak),
            f"{start}_start_ratio_to_keras_peak": round(peak / bare.peak_mib, 2),
        }
    return {**found, "keras_peak_mib": round(bare.peak_mib), "keras_rss_mib": round(bare.rss_mib)}


def _all_sizes(fleet: Fleet, folder: Path) -> dict[str, Any]:
    card = nets.write("MobileNetV2", folder / "MobileNetV2")
    bare = plain.measured(card.with_name("model.keras"))
    storage = fleet.client.storage
    each = [
        photographs.upload(storage, OF_A_SIDE, side=side, prefix=f"side{side}") for side in SIDES
    ]
    uris = [uri for row in zip(*each, strict=True) for uri in row]
    after = []
    with fleet.worker() as worker:
        worker.ready()
        fleet.client.models.add(card)
        for _ in range(JOBS):
            finish(fleet.client.submit(uris, models=["MobileNetV2"]))
            after.append(round(memory_mib(worker.pid)))
        peak = memory_mib(worker.pid, "VmHWM")
    return {
        "name": "memory_over_photographs_of_all_sizes",
        "sides": SIDES,
        "rss_mib_after_each_job": after,
        "peak_rss_mib": round(peak),
        "keras_peak_mib": round(bare.peak_mib),
        "ratio_to_keras_peak": round(peak / bare.peak_mib, 2),
    }
