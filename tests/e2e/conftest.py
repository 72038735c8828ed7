"""A worker as operators start it: `celery -A camfleet_worker worker`, a process of its own."""

import subprocess
import sys

import pytest

from camfleet import Client
from helpers.metrics import free_port
from helpers.samples import write_card, write_photos
from helpers.waiting import wait_until


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="session")
def worker_environ(environ, folder):
    return {
        **environ,
        # A database of its own: the other tests' messages are not for this worker.
        "CAMFLEET_REDIS_URL": environ["CAMFLEET_REDIS_URL"].replace("/0", "/1"),
        "CAMFLEET_FILE_ROOTS": str(folder),
        "CAMFLEET_MODEL_DIR": str(folder / "models"),
        "CAMFLEET_BATCH_SIZE": "4",
        "CAMFLEET_CHUNK_SIZE": "4",
    }


@pytest.fixture(scope="session")
def metrics_port():
    return free_port()


@pytest.fixture(scope="session")
def worker(worker_environ, folder, metrics_port):
    """Start a worker process; give its log file."""
    log = folder / "worker.log"
    watched = {"CAMFLEET_LOG_FORMAT": "json", "CAMFLEET_METRICS_PORT": str(metrics_port)}
    command = [sys.executable, "-m", "celery", "-A", "camfleet_worker", "worker", "-l", "INFO"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**worker_environ, **watched}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: process.poll() is not None or b" ready." in log.read_bytes(), 90)
        assert process.poll() is None, log.read_text()
        yield log
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="session")
def client(worker, worker_environ):
    with Client.from_environ(worker_environ) as made:
        yield made


@pytest.fixture(scope="session")
def photos(folder):
    return write_photos(folder / "photos", 9)


@pytest.fixture(scope="session")
def model(client, folder):
    ref, _ = client.models.add(write_card(folder / "card", "patches"), timeout=60)
    return ref


@pytest.fixture(scope="session")
def run(worker_environ):
    """Run the camfleet command as a user does."""

    def command(*words, environ=None):
        return subprocess.run(
            [sys.executable, "-c", "from camfleet.cli import main; main()", *map(str, words)],
            env=environ or worker_environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return command
