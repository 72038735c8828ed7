"""A fleet on servers of its own, so that these may be killed."""

import pytest

from helpers.fleet import Fleet, client_with_model, environment
from helpers.host_fleet import HostFleet
from helpers.image_server import an_album
from helpers.killable_stack import OwnStack


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
    with client_with_model(own.settings, tmp_path_factory.mktemp("card")) as client:
        yield client


@pytest.fixture(scope="session")
def fleet(own, own_client, album, tmp_path_factory):
    """Give the fleet; its survivor is a worker that outlives every test."""
    environ = environment(own, tmp_path_factory.mktemp("code"))
    made = Fleet(environ, own_client, own, album, tmp_path_factory.mktemp("fleet"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def hosts(stack, tmp_path_factory):
    """Give servers and a producer on hosts of their own, and hosts for workers."""
    with HostFleet(tmp_path_factory.mktemp("hosts"), stack) as made:
        yield made


@pytest.fixture
def survivor(fleet):
    """Give a worker that is ready, and held nowhere before and after."""
    yield fleet.survivor()
    fleet.survivor().points.release()
