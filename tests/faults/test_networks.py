"""Networks between a worker and its servers that break, keep silent or crawl."""

import pytest

from fleet import CHUNK
from proxy import Proxy

pytestmark = pytest.mark.faults

IMAGES = 3 * CHUNK
PATIENCE = 180


@pytest.fixture(scope="module")
def lines(own):
    """Give the networks to broker and store."""
    made = {
        "CAMFLEET_REDIS_URL": Proxy(own.settings.redis_url),
        "CAMFLEET_S3_ENDPOINT": Proxy(own.settings.s3_endpoint),
    }
    yield made
    for each in made.values():
        each.close()


@pytest.fixture(scope="module")
def beside(fleet):
    with fleet.beside(2) as made:
        yield made


@pytest.fixture(scope="module")
def remote(beside, lines):
    """Start a worker that reaches its servers by these networks only."""
    environ = {name: line.through(beside.environ[name]) for name, line in lines.items()}
    with beside.worker(**environ) as worker:
        yield worker.ready()


@pytest.fixture(autouse=True)
def whole(lines):
    yield
    for line in lines.values():
        line.mode = "pass"


@pytest.fixture
def broker(lines):
    return lines["CAMFLEET_REDIS_URL"]


@pytest.fixture
def store(lines):
    return lines["CAMFLEET_S3_ENDPOINT"]


def broken(beside, remote, line, mode, point, saying):
    """Break a network while a worker is at a point, until it has said so; give the job."""
    remote.points.arm(point)
    order = beside.submit(IMAGES)
    remote.hold(point)
    said = len(remote.said())
    line.mode = mode
    remote.points.release()
    remote.says(saying, said, timeout=PATIENCE)
    return order


@pytest.mark.parametrize("point", ["batch", "stored"])
def test_connections_to_the_broker_that_are_cut_are_made_anew(beside, remote, broker, point):
    order = broken(beside, remote, broker, "cut", point, "waiting 2 s: no Redis at")
    broker.mode = "pass"
    order.check()
    assert beside.times(order) == [1] * IMAGES


@pytest.mark.parametrize("mode", ["blackhole", "deaf"])
def test_a_broker_that_falls_silent_is_given_up_and_found_again(beside, remote, broker, mode):
    order = broken(beside, remote, broker, mode, "stored", "waiting 1 s: no Redis at")
    broker.mode = "pass"
    order.check(timeout=PATIENCE)
    assert beside.times(order) == [1] * IMAGES


def test_a_chunk_of_a_worker_that_nobody_hears_is_ended_by_another(beside, remote, broker):
    with beside.worker() as other:
        remote.points.arm("batch")
        order = beside.submit(IMAGES)
        remote.hold("batch")
        broker.mode = "blackhole"
        other.ready()
        order.check(timeout=PATIENCE)
        said = len(remote.said())
        remote.points.release()
        broker.mode = "pass"
        remote.says("4 images, attempt 1", said, timeout=PATIENCE)
        order.check()
    assert sum(beside.times(order)) <= IMAGES + CHUNK


def test_a_connection_to_the_store_that_is_cut_is_made_anew(beside, remote, store):
    order = broken(beside, remote, store, "cut", "explained", "no answer from the object store")
    store.mode = "pass"
    order.check()
    assert beside.times(order) == [1] * IMAGES


def test_a_store_that_falls_silent_is_given_up_and_found_again(beside, remote, store):
    order = broken(beside, remote, store, "blackhole", "batch", "no answer from the object store")
    store.mode = "pass"
    order.check(timeout=PATIENCE)
    assert beside.times(order) == [1] * IMAGES


@pytest.mark.parametrize("slow", ["broker", "store"])
def test_a_slow_network_loses_nothing(beside, remote, slow, request):
    request.getfixturevalue(slow).mode = "slow"
    order = beside.submit(IMAGES)
    order.check()
    assert beside.times(order) == [1] * IMAGES
