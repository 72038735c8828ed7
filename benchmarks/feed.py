"""How many images a second one process feeds to its engine, and what limits it.

All is real but the engine, which rests for a given time per batch. Images come from S3 or from
local files (in the page cache), overlays are written or not. `IMAGES=300` for fewer.
"""

import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import nets, photographs
from benchmarks.end_to_end import stages
from benchmarks.fleet import NO_PICTURES, OVERLAYS, Fleet, Worker, cpu_seconds, finish

IMAGES = int(os.environ.get("IMAGES", "1500"))
LATENCIES_MS = (0, 16, 64)
BATCHES = (16, 64)
MODEL = "Feed"


class Way(NamedTuple):
    source: str  # file, s3
    overlays: bool


WAYS = tuple(itertools.starmap(Way, itertools.product(("file", "s3"), (False, True))))


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result for each batch size, latency, source, and with overlays or without."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [str(photo) for photo in photographs.write(folder / "photos", IMAGES)]
        with Fleet(folder, CAMFLEET_FILE_ROOTS=str(folder / "photos")) as fleet:
            sources = {"file": files, "s3": photographs.upload(fleet.client.storage, IMAGES)}
            with fleet.worker() as worker:
                worker.ready()
                fleet.client.models.add(nets.write(MODEL, folder / MODEL))
            for batch, latency in itertools.product(BATCHES, LATENCIES_MS):
                yield from _of_engine(fleet, sources, batch, latency)


def _of_engine(
    fleet: Fleet, sources: dict[str, list[str]], batch: int, latency: int
) -> Iterator[dict[str, Any]]:
    environ = {"CAMFLEET_BATCH_SIZE": str(batch), "FEED_LATENCY_MS": str(latency)}
    with fleet.worker("benchmarks.feed_worker", **environ) as worker:
        worker.ready()
        finish(fleet.client.submit(sources["s3"][:64], models=[MODEL]))
        for way in WAYS:
            found = _measured(fleet, worker, way, sources[way.source])
            most = round(1e3 * batch / latency) if latency else None
            yield {
                "name": f"feed_{way.source}_{'overlays' if way.overlays else 'maps'}",
                "batch": batch,
                "engine_ms_per_batch": latency,
                "engine_images_per_second": most,
                **found,
            }


def _measured(fleet: Fleet, worker: Worker, way: Way, uris: list[str]) -> dict[str, Any]:
    pids = {"worker": worker.pid, **fleet.servers}
    used = {name: cpu_seconds(pid) for name, pid in pids.items()}
    start = time.perf_counter()
    outputs = OVERLAYS if way.overlays else NO_PICTURES
    job = fleet.client.submit(uris, models=[MODEL], outputs=outputs)
    finish(job, pause=0.02)
    seconds = time.perf_counter() - start
    cpu = {name: cpu_seconds(pid) - used[name] for name, pid in pids.items()}
    return {
        "images_per_second": round(len(uris) / seconds, 1),
        "worker_cores": round(cpu["worker"] / seconds, 2),
        "cpu_ms_per_image": {
            name: round(1e3 * value / len(uris), 2) for name, value in cpu.items()
        },
        "stages_ms_per_image": stages(job),
    }
