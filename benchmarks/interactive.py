"""How long one person waits: requests one after another, beside a busy job, and many at once.

The model is warm, images lie in S3, overlays are written; time is from the request to
the answer in hand. `REQUESTS=40` for fewer.
"""

import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import nets, photographs
from benchmarks.alone import Alone, alone
from benchmarks.figures import milliseconds, percentile_95, spread
from benchmarks.fleet import OVERLAYS, Fleet, finish, wait_until
from camfleet import Client
from camfleet.jobs.job import Job

REQUESTS = int(os.environ.get("REQUESTS", "200"))
MODELS = tuple(os.environ.get("MODELS", "ResNet50,MobileNetV2").split(","))
SLOW, QUICK = "ResNet50", "MobileNetV2"  # whose job is busy, and who is asked for beside it
TURNS = 10
BURST = 64
BURSTS = 5
BATCH = 16
BULK = 20_000  # images of the job beside, more than it gets to
ROUNDS = int(os.environ.get("ROUNDS", "4"))
SECONDS = float(os.environ.get("SECONDS", "15"))  # of a job, alone and beside requests
PAUSE = 0.4  # seconds between requests beside it, on average
ASKED = 30  # requests without a job, in each round
_POLL = 0.05


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield the results of each model: alone on its worker, beside a job, in bursts; and of two."""
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
            if {SLOW, QUICK} <= set(MODELS):
                with fleet.worker() as worker:
                    worker.ready()
                    for model in (SLOW, QUICK):
                        _waits(fleet.client, model, uris[:10])
                    yield _beside_a_job(fleet.client, QUICK, SLOW, uris)


def _measured(client: Client, bare: Alone, model: str, uris: list[str]) -> Iterator[dict[str, Any]]:
    _waits(client, model, uris[:10])
    yield _quiet(client, bare, model, uris)
    yield _beside_a_job(client, model, model, uris)
    yield _bursts(client, model, uris[:BURST])


def _waits(client: Client, model: str, uris: Sequence[str]) -> list[float]:
    """Return the seconds of one request after another."""
    return [_wait(client, model, uri) for uri in uris]


def _wait(client: Client, model: str, uri: str) -> float:
    start = time.perf_counter()
    client.explain(uri, model=model, outputs=OVERLAYS).result(timeout=120)
    return time.perf_counter() - start


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


def _beside_a_job(client: Client, model: str, jobs: str, uris: list[str]) -> dict[str, Any]:
    """Measure requests for a model and a job of the model `jobs`, alone and together.

    The job takes all slots for chunks and is cancelled at the end of each round.
    """
    quiet: list[float] = []
    beside: list[float] = []
    alone, loaded, requests = [], [], []
    crowd = [uris[number % len(uris)] for number in range(BULK)]
    for _ in range(ROUNDS):
        quiet += _waits(client, model, uris[:ASKED])
        job = client.submit(crowd, models=[jobs], keep_duplicates=True, outputs=OVERLAYS)
        wait_until(lambda job=job: job.status().in_work, 60)  # type: ignore[misc]
        alone.append(_speed(job, lambda: time.sleep(_POLL)))
        before, start = len(beside), time.perf_counter()
        loaded.append(_speed(job, _asking(client, model, uris, beside)))
        requests.append((len(beside) - before) / (time.perf_counter() - start))
        job.cancel()
        wait_until(lambda: not any(worker.chunks for worker in client.workers()), 120)
    name = model if model == jobs else f"{model}_{jobs}"
    usual = median(quiet)
    return {
        "name": f"interactive_beside_a_job_{name}",
        "requests": len(beside),
        "quiet_median_ms": milliseconds(usual),
        **spread(beside),
        "ratio_of_medians": round(median(beside) / usual, 2),
        "ratio_of_percentile_95": round(percentile_95(beside) / usual, 2),
        "job_images_per_second": round(median(alone), 1),
        "job_images_per_second_beside_requests": round(median(loaded), 1),
        "requests_per_second": round(median(requests), 1),
        "job_ratio_beside_requests": round(_ratio(loaded, alone), 3),
        "all_images_ratio": round(
            _ratio([a + b for a, b in zip(loaded, requests, strict=True)], alone), 3
        ),
    }


def _ratio(own: Sequence[float], other: Sequence[float]) -> float:
    return median(a / b for a, b in zip(own, other, strict=True))


def _asking(
    client: Client, model: str, uris: Sequence[str], waits: list[float]
) -> Callable[[], None]:
    """Return a function that makes a request, notes how long it took, and pauses."""

    def ask() -> None:
        waits.append(_wait(client, model, random.choice(uris)))  # noqa: S311
        time.sleep(random.uniform(0.5, 1.5) * PAUSE)  # noqa: S311

    return ask


def _speed(job: Job, meanwhile: Callable[[], None]) -> float:
    """Return a job's images per second, from one batch that begins to another."""
    edges: list[tuple[float, int]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_POLL):
            status = job.status()
            count = status.done + status.in_work
            if not edges or count > edges[-1][1]:
                edges.append((time.perf_counter(), count))

    thread = threading.Thread(target=watch)
    thread.start()
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        meanwhile()
    stop.set()
    thread.join()
    if job.status().ended or len(edges) < 3:
        raise RuntimeError("the job ended too early, or began no batches")
    (first, before), (last, after) = edges[1], edges[-1]
    return (after - before) / (last - first)


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
