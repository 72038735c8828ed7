"""A job of photographs in S3, overlays written, through broker, worker, Parquet and ledger.

Beside it, in turn: the explainer alone in the same settings, and the ordinary way, a Celery task
an image. `IMAGES=200` for fewer, `PACK=1` for packed pictures.

`ratio_by_cpu_time` is what the ratio would be if neither way let a core rest: the CPU time that the
explainer takes for an image, divided by what all processes take for one of the job.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow.compute as pc

from benchmarks import nets, photographs
from benchmarks.alone import alone
from benchmarks.fleet import OVERLAYS, Fleet, Worker, cpu_seconds, finish
from camfleet.jobs.job import Job

IMAGES = int(os.environ.get("IMAGES", "2000"))
ORDINARY = int(os.environ.get("ORDINARY", "60"))
PACK = os.environ.get("PACK", "0") == "1"
MODELS = tuple(os.environ.get("MODELS", "ResNet50,MobileNetV2").split(","))
CHUNK = 128
STAGES = ("fetch", "decode", "explain", "render", "store")


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result a model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Fleet(folder, CAMFLEET_CHUNK_SIZE=str(CHUNK)) as fleet:
            uris = photographs.upload(fleet.client.storage, IMAGES)
            photographs.write(folder / "photos", 64)
            for model in MODELS:
                yield _measured(fleet, folder, model, uris)


def _measured(fleet: Fleet, folder: Path, model: str, uris: list[str]) -> dict[str, Any]:
    card = nets.write(model, folder / model)
    with alone(card, folder / "photos") as explainer, fleet.worker() as worker:
        worker.ready()
        fleet.client.models.add(card)
        _finished(fleet, model, uris[:64])  # connections
        before = explainer.explain()
        found = _job(fleet, worker, model, uris)
        after = explainer.explain()
    speeds, cpu = (
        [times[name] for times in (before, after)]
        for name in ("images_per_second", "cpu_ms_per_image")
    )
    found |= {
        "explainer_alone_images_per_second": [round(speed, 2) for speed in speeds],
        "explainer_alone_cpu_ms_per_image": [round(milliseconds, 2) for milliseconds in cpu],
        "ratio_to_explainer_alone": round(found["images_per_second"] / mean(speeds), 3),
        "ratio_by_cpu_time": round(mean(cpu) / sum(found["cpu_ms_per_image"].values()), 3),
    }
    if ORDINARY:
        ordinary = _ordinary(fleet, card.with_name("model.keras"), model, uris[:ORDINARY])
        found["ordinary_images_per_second"] = round(ordinary, 2)
        found["ratio_to_ordinary"] = round(found["images_per_second"] / ordinary, 1)
    return {"name": f"end_to_end_{model}", **found}


def _job(fleet: Fleet, worker: Worker, model: str, uris: list[str]) -> dict[str, Any]:
    pids = {"worker": worker.pid, "producer": os.getpid(), **fleet.servers}
    used = {name: cpu_seconds(pid) for name, pid in pids.items()}
    start = time.perf_counter()
    job = _finished(fleet, model, uris)
    seconds = time.perf_counter() - start
    per_image = 1e3 / len(uris)
    cpu = {name: (cpu_seconds(pid) - used[name]) * per_image for name, pid in pids.items()}
    return {
        "images": len(uris),
        "packed": PACK,
        "images_per_second": round(len(uris) / seconds, 2),
        "wall_ms_per_image": round(seconds * per_image, 2),
        "stages_ms_per_image": stages(job),
        "cpu_ms_per_image": {name: round(value, 2) for name, value in cpu.items()},
    }


def _finished(fleet: Fleet, model: str, uris: list[str]) -> Job:
    job = fleet.client.submit(uris, models=[model], outputs=OVERLAYS, pack=PACK)
    finish(job)
    return job


def stages(job: Job) -> dict[str, float]:
    """Return the mean milliseconds that an image spent in each stage."""
    sums, rows = dict.fromkeys(STAGES, 0.0), 0
    for table in job.tables(["timings"]):
        rows += table.num_rows
        for stage in STAGES:
            sums[stage] += pc.sum(pc.struct_field(table["timings"], [stage])).as_py()
    return {stage: round(value / rows, 2) for stage, value in sums.items()}


def _ordinary(fleet: Fleet, path: Path, model: str, uris: list[str]) -> float:
    """Return images per second of the ordinary way, by the faster of two pools."""
    environ = {"ORDINARY_MODEL": str(path), "ORDINARY_NAME": model}
    pools = (["--pool", "threads", "--concurrency", "4"], ["--pool", "prefork"])
    return max(_task_each(fleet, words, environ, uris) for words in pools)


def _task_each(fleet: Fleet, words: list[str], environ: dict[str, str], uris: list[str]) -> float:
    os.environ.update(environ)
    from benchmarks.ordinary import explain

    places = [uri.removeprefix("s3://").split("/", 1) for uri in uris]
    with fleet.worker("benchmarks.ordinary", words, **environ) as worker:
        worker.ready()
        for task in [explain.delay(*places[0]) for _ in range(8)]:  # every process loads the model
            task.get(timeout=120)
        start = time.perf_counter()
        for answer in [explain.delay(*place) for place in places]:
            answer.get(timeout=600)
        speed = len(places) / (time.perf_counter() - start)
    print(f"ordinary way, {' '.join(words)}: {speed:.2f} images/s", file=sys.stderr)
    return speed
