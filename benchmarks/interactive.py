"""How long one person waits: requests one after another, beside a busy job, and many at once.

The model is warm, images lie in S3, overlays are written; time is from the request to
the answer in hand. `REQUESTS=40` for fewer.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import nets, photographs
from benchmarks.alone import Alone, alone
from benchmarks.end_to_end import stages
from benchmarks.figures import milliseconds, percentile_95, spread
from benchmarks.fleet import OVERLAYS, Fleet, finish, wait_until
from camfleet import Client

REQUESTS = int(os.environ.get("REQUESTS", "200"))
MODELS = tuple(os.environ.get("MODELS", "ResNet50,MobileNetV2").split(","))
TURNS = 10
BURST = 64
BURSTS = 5
BATCH = 16
BULK = 20_000  # images of the job beside, more than it gets to
BESIDE = 100  # requests beside it


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield the results of each model: alone on its worker, beside a job, in bursts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Fleet(folder) as fleet:
            uris = photographs.upload(fleet.client.storage, max(REQUESTS, BURST))
            photographs.write(folder / "photos", BATCH)
            for model in MODELS:
                card = nets.write(model, folder / model)
                with alone(card, folder / "photos") as bare, fleet.worker() as worker:
                    worker.ready()
                    fleet.client.models.add(card)
                    yield from _measured(fleet.client, bare, model, uris)


def _measured(client: Client, bare: Alone, model: str, uris: list[str]) -> Iterator[dict[str, Any]]:
    _waits(client, model, uris[:10])
    quiet = _quiet(client, bare, model, uris)
    yield quiet
    yield _beside_a_job(client, model, uris, quiet["percentile_95_ms"])
    yield _bursts(client, model, uris[:BURST])


def _waits(client: Client, model: str, uris: Sequence[str]) -> list[float]:
    """Return the seconds of one request after another."""
    taken = []
    for uri in uris:
        start = time.perf_counter()
        client.explain(uri, model=model, outputs=OVERLAYS).result(timeout=120)
        taken.append(time.perf_counter() - start)
    return taken


def _quiet(client: Client, bare: Alone, model: str, uris: list[str]) -> dict[str, Any]:
    waits: list[float] = []
    forward: list[float] = []
    for turn in range(TURNS):
        waits += _waits(client, model, uris[turn:REQUESTS:TURNS])
        forward += bare.forward(1)
    found, alone_ms = spread(waits), milliseconds(median(forward))
    return {
        "name": f"interactive_{model}",
        "requests": len(waits),
        **found,
        "bare_forward_median_ms": alone_ms,
        "median_above_bare_forward_ms": round(found["median_ms"] - alone_ms, 1),
    }


def _beside_a_job(client: Client, model: str, uris: list[str], quiet_ms: float) -> dict[str, Any]:
    """Measure requests while all slots for chunks are taken; the job is cancelled afterwards."""
    crowd = [uris[number % len(uris)] for number in range(BULK)]
    job = client.submit(crowd, models=[model], keep_duplicates=True, outputs=OVERLAYS)
    wait_until(lambda: job.status().in_work, 60)
    waits = _waits(client, model, uris[: min(REQUESTS, BESIDE)])
    if job.status().ended:
        raise RuntimeError("the job ended before the requests did")
    wait_until(lambda: job.status().done, 300)
    job.cancel()
    wait_until(lambda: not any(worker.chunks for worker in client.workers()), 60)
    batch = stages(job)["explain"] * BATCH
    allowed = 2 * batch + quiet_ms
    return {
        "name": f"interactive_beside_a_job_{model}",
        "requests": len(waits),
        **spread(waits),
        "bulk_batch_ms": round(batch, 1),
        "ratio_to_two_batches_and_quiet": round(1e3 * percentile_95(waits) / allowed, 2),
    }


def _bursts(client: Client, model: str, uris: list[str]) -> dict[str, Any]:
    burst, job = [], []
    for _ in range(BURSTS):
        burst.append(_burst(client, model, uris))
        job.append(_job(client, model, uris))
    return {
        "name": f"interactive_burst_{model}",
        "requests": len(uris),
        "burst_ms": milliseconds(median(burst)),
        "job_ms": milliseconds(median(job)),
        "ratio_to_a_job_of_as_many": round(median(burst) / median(job), 2),
    }


def _burst(client: Client, model: str, uris: list[str]) -> float:
    start = time.perf_counter()
    asked = [client.explain(uri, model=model, outputs=OVERLAYS) for uri in uris]
    for answer in asked:
        answer.result(timeout=120)
    return time.perf_counter() - start


def _job(client: Client, model: str, uris: list[str]) -> float:
    start = time.perf_counter()
    finish(client.submit(uris, models=[model], outputs=OVERLAYS), pause=0.01)
    return time.perf_counter() - start
