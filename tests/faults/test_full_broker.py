"""A Redis without memory: workers stay, say so, and go on when there's some again."""

import pytest

from camfleet.errors import BrokerUnavailable
from helpers.fleet import CHUNK

pytestmark = pytest.mark.faults


@pytest.fixture
def full(own):
    """Give a function that lets Redis take no more writes; it takes them again at the end."""
    with own.redis() as redis:

        def fill(*, is_full=True):
            redis.config_set("maxmemory", 1 if is_full else 0)  # 1: there's more already

        yield fill
        redis.config_set("maxmemory", 0)


@pytest.mark.parametrize("point", ["leased", "batch", "stored", "counted"])
def test_a_worker_outlives_a_full_broker(fleet, survivor, full, point):
    survivor.points.arm(point)
    order = fleet.submit(6 * CHUNK)
    survivor.hold(point)
    said = len(survivor.said())
    full()
    survivor.points.release()
    survivor.says("is full (maxmemory)", said)
    survivor.says("Connection to broker lost" if point == "counted" else "waiting 2 s", said)
    with pytest.raises(BrokerUnavailable, match="is full"):
        fleet.client.ping()
    full(is_full=False)
    fleet.client.ping()
    order.check()
    assert fleet.times(order) == [1] * len(order.uris)
