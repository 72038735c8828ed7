"""A worker is killed in the middle of a job: seconds until all its chunks run in another one.

Default lease; workers tell every three seconds what they do, so that is how exact it is.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import nets, photographs
from benchmarks.fleet import Fleet, Worker, finish, wait_until
from camfleet import Client

MODEL = "ResNet50"
CHUNK = 64
CHUNKS = 8  # so that each of two workers has four of them in work


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield the one result."""
    with (
        tempfile.TemporaryDirectory() as name,
        Fleet(Path(name), CAMFLEET_CHUNK_SIZE=str(CHUNK)) as fleet,
        fleet.worker() as survivor,
    ):
        survivor.ready()
        fleet.client.models.add(nets.write(MODEL, Path(name, MODEL)))
        uris = photographs.upload(fleet.client.storage, CHUNK * CHUNKS)
        with fleet.worker() as doomed:
            doomed.ready()
            job = fleet.client.submit(uris, models=[MODEL])
            wait_until(lambda: _explains(fleet.client, doomed), 120)
            chunks = set(_attempts(fleet.client, doomed))
            doomed.kill()
            start = time.perf_counter()
            taken: set[int] = set()
            wait_until(lambda: _taken_over(fleet.client, survivor, taken) >= chunks, 180)
            seconds = time.perf_counter() - start
        finish(job)
        proof = job.verify()
    yield {
        "name": "recovery_after_a_kill",
        "lost_chunks": len(chunks),
        "seconds_until_they_run_again": round(seconds, 1),
        "lease_seconds": fleet.client.settings.lease_seconds,
        "faults": len(proof.faults),
    }


def _attempts(client: Client, worker: Worker) -> dict[int, int]:
    """Return the parts that a worker has in work, with the number of the attempt."""
    states = [state for state in client.workers() if state.pid == worker.pid]
    return {chunk.part: chunk.attempt for state in states for chunk in state.chunks}


def _explains(client: Client, worker: Worker) -> bool:
    states = [state for state in client.workers() if state.pid == worker.pid]
    return any(chunk.explained for state in states for chunk in state.chunks)


def _taken_over(client: Client, worker: Worker, taken: set[int]) -> set[int]:
    """Return `taken` with the parts that a worker now runs for a second time."""
    taken.update(part for part, attempt in _attempts(client, worker).items() if attempt > 1)
    return taken
