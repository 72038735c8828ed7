"""A worker as operators start it: `celery -A camfleet_worker worker`, a process of its own."""

import pytest

from camfleet import Client
from helpers.commands import command_line
from helpers.databases import environ_on
from helpers.metrics import free_port
from helpers.samples import write_card, write_photos
from helpers.working import working


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="session")
def worker_environ(environ, folder):
    return {
        # A database of its own: the other tests' messages are not for this worker.
        **environ_on(environ, 1),
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
    with working({**worker_environ, **watched}, log):
        yield log


@pytest.fixture(scope="session")
def client(worker, worker_environ):
    with Client.from_environ(worker_environ) as made:
        yield made


@pytest.fixture(scope="session")
def photos(folder):
    return write_photos(folder / "photos", 9)


@pytest.fixture(scope="session")
def model(client, folder):
    ref, _ = client.models.add(write_card(folder / "card", "patches"), timeout=240)
    return ref


@pytest.fixture(scope="session")
def run(worker_environ):
    """Run the camfleet command as a user does."""
    return command_line(worker_environ)
