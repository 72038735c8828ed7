"""Label Studio and a worker that knows it, for tests that ask both."""

import pytest

from e2e.conftest import client, folder, metrics_port, model, photos, run, worker  # noqa: F401
from helpers.databases import environ_on
from helpers.label_studio import studio as started


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    with started(tmp_path_factory.mktemp("label-studio")) as server:
        yield server


@pytest.fixture(scope="session")
def worker_environ(environ, folder, studio):  # noqa: F811  # a fixture of that name
    return {
        **environ_on(environ, 3),
        "CAMFLEET_MODEL_DIR": str(folder / "models"),
        "CAMFLEET_CHUNK_SIZE": "100",
        "CAMFLEET_LEASE_SECONDS": "5",
        "CAMFLEET_FAULT_DIR": str(folder / "faults"),
        "CAMFLEET_LABEL_STUDIO_URL": studio.url,
        "CAMFLEET_LABEL_STUDIO_TOKEN": studio.token,
    }
