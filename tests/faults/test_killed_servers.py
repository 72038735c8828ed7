"""Broker and store that crash at each step of a chunk's life: the worker waits and goes on."""

import pytest

from helpers.fleet import CHUNK, MODEL, short

POINTS = ("batch", "leased", "explained", "stored", "counted")


@pytest.mark.parametrize("point", short(*POINTS))
def test_a_worker_outlives_the_crash_of_its_broker(fleet, own, survivor, point):
    survivor.points.arm(point)
    order = fleet.submit(3 * CHUNK)
    survivor.hold(point)
    said = len(survivor.said())
    own.kill("valkey")
    survivor.points.release()
    survivor.says("no Redis at", said)
    own.start_again("valkey")
    order.check()
    assert fleet.times(order) == [1] * len(order.uris)


@pytest.mark.faults
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_outlives_the_crash_of_the_store(fleet, own, survivor, point):
    survivor.points.arm(point)
    order = fleet.submit(3 * CHUNK)
    survivor.hold(point)
    said = len(survivor.said())
    own.kill("seaweedfs")
    survivor.points.release()
    survivor.says("no answer from the object store", said)
    own.start_again("seaweedfs")
    order.check()
    assert fleet.times(order) == [1] * len(order.uris)


@pytest.mark.faults
def test_requests_are_answered_again_after_a_crash_of_the_broker(fleet, own, survivor):
    (uri,) = fleet.photographs(1)
    own.kill("valkey")
    own.start_again("valkey")
    (row,) = fleet.client.explain(uri, model=MODEL).result(timeout=60)
    assert row.class_name == "bright"
