"""Packed pictures beside single objects, end to end, in turn: speed, CPU time, requests, bytes.

`IMAGES=500` for fewer photographs a job, `ROUNDS=3` for fewer jobs of each way.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import nets, photographs
from benchmarks.counting import counted
from benchmarks.fleet import OVERLAYS, Fleet, Worker, cpu_seconds, finish
from camfleet.contract.outputs import DEFAULT_OUTPUTS, Outputs
from camfleet.jobs.job import Job

IMAGES = int(os.environ.get("IMAGES", "1000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
MODEL = os.environ.get("MODEL", "MobileNetV2")
CHUNK = 128
PICTURES = {"overlay": OVERLAYS, "heatmap_and_overlay": DEFAULT_OUTPUTS}
WAYS = {"single": False, "packed": True}


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result for each choice of pictures."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with Fleet(folder, CAMFLEET_CHUNK_SIZE=str(CHUNK)) as fleet:
            uris = photographs.upload(fleet.client.storage, max(IMAGES, 2 * CHUNK))
            card = nets.write(MODEL, folder / MODEL)
            found = {}
            with fleet.worker() as worker:
                worker.ready()
                fleet.client.models.add(card)
                for kind, outputs in PICTURES.items():
                    found[kind] = _in_turn(fleet, worker, uris[:IMAGES], outputs)
            for kind, requests in _requests(fleet, uris[: 2 * CHUNK]).items():
                yield {"name": f"packed_{MODEL}_{kind}", **found[kind], **requests}


def _in_turn(fleet: Fleet, worker: Worker, uris: list[str], outputs: Outputs) -> dict[str, Any]:
    for pack in WAYS.values():  # connections
        finish(fleet.client.submit(uris[:64], models=[MODEL], outputs=outputs, pack=pack))
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(ROUNDS):
        ways = list(WAYS.items())
        for way, pack in ways[
            :: -1 if number % 2 else 1
        ]:  # whoever comes second is at no advantage
            speed, used = _job(fleet, worker, uris, outputs, pack=pack)
            speeds[way].append(speed)
            cpu[way].append(used)
    ratios = [packed / single for single, packed in zip(*speeds.values(), strict=True)]
    return {
        "images": len(uris),
        "images_per_second": {way: round(median(found), 1) for way, found in speeds.items()},
        "ratio_packed_to_single": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_ms_per_image": {
            way: {name: round(median(one[name] for one in used), 2) for name in used[0]}
            for way, used in cpu.items()
        },
    }


def _job(
    fleet: Fleet, worker: Worker, uris: list[str], outputs: Outputs, *, pack: bool
) -> tuple[float, dict[str, float]]:
    """Return images per second of a job, and what processes took of the CPU, ms per image."""
    pids = {"worker": worker.pid, **fleet.servers}
    used = {name: cpu_seconds(pid) for name, pid in pids.items()}
    start = time.perf_counter()
    finish(fleet.client.submit(uris, models=[MODEL], outputs=outputs, pack=pack))
    seconds = time.perf_counter() - start
    per_image = 1e3 / len(uris)
    cpu = {name: (cpu_seconds(pid) - used[name]) * per_image for name, pid in pids.items()}
    return len(uris) / seconds, cpu


def _requests(fleet: Fleet, uris: list[str]) -> dict[str, dict[str, Any]]:
    """Return a worker's requests to the store per image, and what it holds then, in bytes."""
    found: dict[str, dict[str, Any]] = {}
    with (
        counted(os.environ["CAMFLEET_S3_ENDPOINT"]) as front,
        fleet.worker(CAMFLEET_S3_ENDPOINT=front.url) as worker,
    ):
        worker.ready()
        finish(fleet.client.submit(uris[:16], models=[MODEL], outputs=OVERLAYS))  # the model
        for name, outputs in PICTURES.items():
            found[name] = {"requests_per_image": {}, "bytes_of_pictures_per_image": {}}
            for way, pack in WAYS.items():
                front.requests.clear()
                job = fleet.client.submit(uris, models=[MODEL], outputs=outputs, pack=pack)
                finish(job)
                counts = {key: round(n / len(uris), 3) for key, n in front.requests.items()}
                found[name]["requests_per_image"][way] = counts
                size = _bytes(fleet, job, outputs)
                found[name]["bytes_of_pictures_per_image"][way] = round(size / len(uris))
    return found


def _bytes(fleet: Fleet, job: Job, outputs: Outputs) -> int:
    """Return the bytes of all objects that hold a job's pictures."""
    rows = list(job.results())
    uris = {row.pack.uri for row in rows if row.pack}
    uris |= {uri for row in rows for kind in outputs.kinds if (uri := getattr(row, f"{kind}_uri"))}
    return sum(len(fleet.client.storage.get(uri).data) for uri in uris)
