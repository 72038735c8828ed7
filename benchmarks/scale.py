"""What several processes on one machine bring: images a second and memory, for 1, 2, 4 and 8.

They're started and shared out as `camfleet worker --processes` does it. Once with an engine that
only takes its time, as a GPU does (each process has one of its own), and once with the real one on
the machine's cores. Images come from S3, overlays are written. `IMAGES=300`, `PROCESSES=1,2` for
fewer.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import nets, photographs
from benchmarks.fleet import OVERLAYS, START_SECONDS, Fleet, cpu_seconds, finish, wait_until
from camfleet.local.arbiter import Arbiter, worker_command
from camfleet.local.machine import Machine, share_out

IMAGES = int(os.environ.get("IMAGES", "2000"))
PROCESSES = tuple(map(int, os.environ.get("PROCESSES", "1,2,4,8").split(",")))
CHUNK = 32
BATCH, LATENCY_MS = 16, 16  # of the engine that only takes its time: 1,000 images a second
ENGINES = {  # by the Celery application, and the model
    "simulated": ("benchmarks.feed_worker", "Feed"),
    "real": ("camfleet_worker", "MobileNetV2"),
}


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result for each engine and number of processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = {
            "CAMFLEET_CHUNK_SIZE": str(CHUNK),
            "CAMFLEET_BATCH_SIZE": str(BATCH),
            "CAMFLEET_MODEL_DIR": str(folder / "models"),
            "FEED_LATENCY_MS": str(LATENCY_MS),
        }
        with Fleet(folder, **{key: environ[key] for key in list(environ)[:3]}) as fleet:
            uris = photographs.upload(fleet.client.storage, IMAGES)
            with fleet.worker() as worker:
                worker.ready()
                for _, model in ENGINES.values():
                    fleet.client.models.add(nets.write(model, folder / model))
            for engine, count in ((engine, count) for engine in ENGINES for count in PROCESSES):
                module, model = ENGINES[engine]
                with _processes(fleet, folder, module, count, environ):
                    yield {
                        "name": f"scale_{engine}",
                        "processes": count,
                        "cores": len(os.sched_getaffinity(0)),
                        **_measured(fleet, model, uris),
                    }


@contextmanager
def _processes(
    fleet: Fleet, folder: Path, module: str, count: int, environ: Mapping[str, str]
) -> Iterator[None]:
    """Run so many processes for a block."""
    command = [sys.executable, "-m", "benchmarks.scale", module, str(count)]
    with (folder / f"{module}-{count}.log").open("wb") as log:
        started = subprocess.Popen(  # noqa: S603  # ours
            command, env={**os.environ, **environ}, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: len(fleet.client.workers()) == count, count * START_SECONDS, pause=0.5)
        yield
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(120)
        wait_until(lambda: not fleet.client.workers(), 30, pause=0.5)


def _measured(fleet: Fleet, model: str, uris: list[str]) -> dict[str, Any]:
    def run(images: list[str]) -> None:
        finish(fleet.client.submit(images, models=[model], outputs=OVERLAYS, keep_duplicates=True))

    pids = [worker.pid for worker in fleet.client.workers()]
    run(uris[: 8 * CHUNK] * len(pids))  # every process loads the model, and connects
    used = [cpu_seconds(pid) for pid in pids]
    start = time.perf_counter()
    run(uris)
    seconds = time.perf_counter() - start
    cpu = sum(map(cpu_seconds, pids)) - sum(used)
    memory = [_memory_mib(pid) for pid in pids]
    return {
        "images": len(uris),
        "images_per_second": round(len(uris) / seconds, 1),
        "worker_cores": round(cpu / seconds, 2),
        "cpu_ms_per_image": round(1e3 * cpu / len(uris), 2),
        "pss_mib": round(sum(pss for pss, _ in memory)),
        "rss_mib": round(sum(rss for _, rss in memory)),
    }


def _memory_mib(pid: int) -> tuple[float, float]:
    """Return a process's share of the memory that it has, and all of that."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
    return sizes["Pss"], sizes["Rss"]


def main(module: str, count: int) -> int:
    """Be the arbiter of so many processes of an application."""

    def command(number: int) -> list[str]:
        words = worker_command("scale", [], number)
        words.remove("-P")  # the application may lie in the current folder
        return [module if word == "camfleet_worker" else word for word in words]

    shares = share_out(Machine.here(os.environ), count, "none")
    return Arbiter(shares, command, lambda _number: os.environ, patience=60, say=print).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
