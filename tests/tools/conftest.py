"""Label Studio and a worker that knows it, for tests that ask both."""

import pytest

from camfleet.gateway.access.tokens import Tokens
from e2e.conftest import client, folder, metrics_port, model, photos, run, worker  # noqa: F401
from helpers.databases import environ_on
from helpers.gateway import gateway
from helpers.label_studio import studio as started
from helpers.samples import write_photos


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


@pytest.fixture(scope="session")
def token(client):  # noqa: F811
    return Tokens(client.storage).create("ann", ("explain", "jobs:read", "jobs:write"), 1)[0]


@pytest.fixture(scope="session")
def web(worker_environ, folder, token):  # noqa: F811
    with gateway(worker_environ, folder, token) as started:
        yield started


@pytest.fixture(scope="session")
def stored(client, tmp_path_factory):  # noqa: F811
    """Give the URIs of photographs in the bucket."""
    paths = write_photos(tmp_path_factory.mktemp("stored"), 12)
    for path in paths:
        client.storage.put(f"label-studio/{path.name}", path.read_bytes(), "image/png")
    return [client.storage.uri(f"label-studio/{path.name}") for path in paths]
