"""A fleet on servers of its own, so that these may be killed."""

import os
from dataclasses import replace

import pytest

from camfleet import Client
from camfleet.interactive.register import Models
from helpers.fleet import CHUNK, Fleet
from helpers.image_server import an_album
from helpers.killable_stack import OwnStack
from helpers.samples import write_card
from helpers.worker_services import services

LEASE_SECONDS = 2


@pytest.fixture(scope="session")
def own(stack, tmp_path_factory):
    with OwnStack(tmp_path_factory.mktemp("own") / "stack", stack) as started:
        yield started


@pytest.fixture(scope="session")
def album():
    with an_album() as made:
        yield made


@pytest.fixture(scope="session")
def own_client(own, tmp_path_factory):
    """Give a client of the stack, where the model `patches` is registered."""
    parts = services(own.settings)
    with Client(replace(own.settings, chunk_size=CHUNK)) as client:
        card = write_card(tmp_path_factory.mktemp("card"), "patches")
        Models(client.storage, lambda digest, _timeout: parts.check(digest)).add(card)
        parts.close()
        yield client


@pytest.fixture(scope="session")
def fleet(own, own_client, album, tmp_path_factory):
    """Give the fleet; its survivor is a worker that outlives every test."""
    environ = {
        **os.environ,
        **own.environ,
        "CAMFLEET_ALLOW_PRIVATE_HOSTS": "1",
        "CAMFLEET_LEASE_SECONDS": str(LEASE_SECONDS),
        "CAMFLEET_CONCURRENCY": "1",
        "CAMFLEET_FIRST_CONCURRENCY": "0",
        "CAMFLEET_BATCH_SIZE": "2",
        "CAMFLEET_CHUNK_SIZE": str(CHUNK),
        "CAMFLEET_IO_THREADS": "2",
        "CAMFLEET_ALLOW_CUSTOM_CODE": "1",
        "PYTHONPATH": f"{tmp_path_factory.mktemp('code')}:{os.environ.get('PYTHONPATH', '')}",
    }
    made = Fleet(environ, own_client, own, album, tmp_path_factory.mktemp("fleet"))
    yield made
    made.close()


@pytest.fixture
def survivor(fleet):
    """Give a worker that is ready, and held nowhere before and after."""
    yield fleet.survivor()
    fleet.survivor().points.release()
