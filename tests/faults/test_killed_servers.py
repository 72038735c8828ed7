"""Broker and store that crash at each step of a chunk's life: the worker waits and goes on."""

from contextlib import contextmanager

import pytest

from camfleet.broker.app import close_app, make_app
from camfleet.errors import ServiceError
from helpers.fleet import CHUNK, MODEL, short
from helpers.waiting import wait_until

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


def test_no_request_keeps_its_slot_when_the_broker_dies_twice_with_requests_in_work(
    fleet, own, survivor
):
    """More requests than slots, and no answer can be stored: all slots are free at the end."""
    uris = fleet.photographs(40)
    fleet.album.delay = 2.0
    try:
        said = len(survivor.said())
        answers = [fleet.client.explain(uri, model=MODEL) for uri in uris]
        for _ in range(2):
            survivor.says(" received", said)
            own.kill("valkey")
            try:
                survivor.says("waiting 1 s: no Redis at", said)  # with an answer
                said = len(survivor.said())
            finally:
                own.start_again("valkey")
    finally:
        fleet.album.delay = 0
    (last,) = fleet.photographs(1)
    (row,) = wait_until(lambda: _answer(fleet.client, last), 60, pause=0.5)
    assert row.class_name == "bright"
    assert [answer.result(timeout=90)[0].class_name for answer in answers] == ["bright"] * 40
    (worker,) = [w for w in fleet.client.workers() if w.pid == survivor.pid]
    assert worker.trouble is None
    wait_until(lambda: _in_work(fleet) == 0, 30, pause=0.5)


def _answer(client, uri):
    try:
        return client.explain(uri, model=MODEL).result(timeout=10)
    except ServiceError:  # the worker is still on its way back
        return None


def _in_work(fleet):
    with _inspect(fleet, 2) as inspect:
        return sum(map(len, (inspect.active() or {}).values()))


@contextmanager
def _inspect(fleet, timeout):
    app = make_app(fleet.client.settings)
    yield app.control.inspect(timeout=timeout)
    close_app(app)


@pytest.mark.parametrize("command", short("stats", "active", "conf", "report", "registered"))
def test_workers_answer_celerys_own_questions(fleet, survivor, command):
    with _inspect(fleet, 5) as inspect:
        replies = getattr(inspect, command)()
    assert replies, command
    assert all("error" not in reply for reply in replies.values() if isinstance(reply, dict))
