"""Workers that die, and jobs that are cancelled: totals stay exact, nothing is lost."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from camfleet import Client
from helpers.databases import environ_on
from helpers.harmful_layer import ARMED, write_faulty_card
from helpers.samples import write_photos
from helpers.waiting import wait_until

LEASE = 3


@pytest.fixture(scope="module")
def own_environ(worker_environ, tmp_path_factory):
    """Give workers of these tests a database of their own, and leases that run out soon."""
    return {
        **environ_on(worker_environ, 2),
        "CAMFLEET_LEASE_SECONDS": str(LEASE),
        "CAMFLEET_CONCURRENCY": "1",
        "CAMFLEET_ALLOW_CUSTOM_CODE": "1",
        "PYTHONPATH": str(tmp_path_factory.mktemp("code")),
    }


@pytest.fixture(scope="module")
def own_client(own_environ):
    with Client.from_environ(own_environ) as made:
        yield made


@contextmanager
def a_worker(environ, log):
    """Run a worker process; end it if it hasn't ended itself."""
    command = [sys.executable, "-m", "celery", "-A", "camfleet_worker", "worker", "-l", "INFO"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(30)


@pytest.fixture(scope="module")
def faulty(own_client, own_environ, tmp_path_factory):
    """Register a model with a layer that exits the process for an all-white photograph."""
    folder = tmp_path_factory.mktemp("faulty")
    body = f"if (x.min(axis=(1, 2, 3)) > 0.9).any() and {ARMED}: os._exit(9)"
    os.environ["FAULT"] = own_environ["FAULT"] = str(folder / "armed")
    card = write_faulty_card(folder, Path(own_environ["PYTHONPATH"]), body)
    with a_worker(own_environ, folder / "worker.log"):
        own_client.models.add(card, timeout=90)
    return folder


@pytest.fixture(scope="module")
def some_photos(folder):
    return write_photos(folder / "faults", 11)


@pytest.mark.faults
def test_a_killed_workers_chunk_runs_again_soon_and_counts_once(
    own_client, own_environ, faulty, some_photos
):
    import numpy as np
    from PIL import Image

    white = some_photos[0].parent / "z-white.png"
    Image.fromarray(np.full((60, 80, 3), 255, np.uint8)).save(white)
    job = own_client.submit([str(some_photos[0].parent)], models=["faulty"])
    (faulty / "armed").touch()
    with a_worker(own_environ, faulty / "worker.log") as first:
        wait_until(lambda: first.poll() is not None, 60)
        assert first.returncode == 9
    (faulty / "armed").unlink()
    assert not job.status().complete
    with a_worker(own_environ, faulty / "worker.log"):
        wait_until(lambda: job.status().complete, 60)
    progress = job.status()
    assert (progress.ok + progress.no_evidence, progress.failed, progress.total) == (12, 0, 12)
    assert "its worker is gone; back to the queue" in (faulty / "worker.log").read_text()
    white.unlink()


@pytest.mark.faults
def test_an_image_that_kills_every_worker_ends_as_one_failed_row(
    own_client, own_environ, faulty, some_photos
):
    import numpy as np
    from PIL import Image

    white = some_photos[0].parent / "photo-01-white.png"
    Image.fromarray(np.full((60, 80, 3), 255, np.uint8)).save(white)
    job = own_client.submit([str(some_photos[0].parent)], models=["faulty"])
    (faulty / "armed").touch()
    for _ in range(12):
        with a_worker(own_environ, faulty / "worker.log") as process:
            wait_until(lambda p=process: p.poll() is not None or job.status().complete, 90)
        if job.status().complete:
            break
    (faulty / "armed").unlink()
    progress = job.status()
    assert (progress.ok + progress.no_evidence, progress.failed) == (11, 1)
    (bad,) = (row for row in job.results() if row.status == "failed")
    assert bad.image_uri == str(white)
    assert bad.error_code == "worker_killed"
    white.unlink()


def test_a_cancelled_job_stops_and_keeps_what_is_done(
    own_client, own_environ, worker_environ, run, faulty, some_photos
):
    environ = environ_on(worker_environ, 2)  # without the models' own code
    job = own_client.submit([str(some_photos[0].parent)], models=["faulty"])
    cancelled = run("cancel", job.id, environ=environ)
    assert cancelled.returncode == 0, cancelled.stderr
    assert json.loads(run("status", job.id, "--json", environ=environ).stdout)["state"] == (
        "cancelled"
    )
    other = own_client.submit([str(some_photos[0])], models=["faulty"])
    with a_worker(own_environ, faulty / "worker.log"):
        wait_until(lambda: other.status().complete, 60)
    assert job.status().done == 0, "its messages came first and were dropped"
    assert run("cancel", "nothing", environ=environ).returncode == 1
    again = run("resume", job.id, environ=environ)
    assert again.returncode == 0, again.stderr
    with a_worker(own_environ, faulty / "worker.log"):
        wait_until(lambda: job.status().complete, 60)
    assert job.status().done == 11
