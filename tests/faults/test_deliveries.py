"""Messages that come twice or get lost, and a broker that forgets everything."""

import json
from dataclasses import replace

import pytest

from camfleet import Client
from camfleet.contract.messages import BULK_QUEUE
from helpers.commands import command_line
from helpers.databases import environ_on, on_database
from helpers.fleet import CHUNK, Fleet, client_with_model
from helpers.waiting import wait_until


def test_messages_that_come_twice_change_nothing(fleet, survivor):
    survivor.points.arm("stored")
    order = fleet.submit(3 * CHUNK)
    survivor.hold("stored")
    fleet.send_again(order)
    survivor.points.release()
    order.check()
    fleet.send_again(order)
    wait_until(lambda: _of(survivor, order).count("was done before") == 6, 60)
    order.check()
    assert fleet.times(order) == [1] * len(order.uris)


@pytest.mark.faults
def test_a_chunk_in_work_is_left_to_the_worker_that_has_it(fleet, survivor):
    survivor.points.arm("leased")
    with fleet.worker("stored") as other:
        other.ready()
        order = fleet.submit(2 * CHUNK)
        survivor.hold("leased")
        other.hold("stored")
        survivor.points.release()
        fleet.send_again(order)
        wait_until(lambda: "is another worker's" in _of(survivor, order), 60)
        other.points.release()
        order.check()
    assert fleet.times(order) == [1] * len(order.uris)


@pytest.mark.faults
def test_messages_that_got_lost_are_sent_again_by_workers(fleet, own, survivor):
    survivor.points.arm("leased")
    order = fleet.submit(4 * CHUNK)
    survivor.hold("leased")
    with own.redis() as redis:
        assert redis.delete(BULK_QUEUE)
    survivor.points.release()
    order.check()
    assert "2 chunks have no message; sent again" in _of(survivor, order)
    assert fleet.times(order) == [1] * len(order.uris)


@pytest.mark.faults
@pytest.mark.parametrize("point", ["batch", "stored", "counted"])
def test_a_job_that_the_broker_forgot_goes_on_when_it_is_resumed(fleet, own, survivor, point):
    survivor.points.arm(point)
    order = fleet.submit(3 * CHUNK)
    survivor.hold(point)
    with own.redis() as redis:
        redis.flushall()
    survivor.points.release()
    fleet.client.resume(order.job.id)
    order.check()
    assert sum(fleet.times(order)) <= len(order.uris) + CHUNK


@pytest.mark.faults
def test_a_job_goes_on_when_the_brokers_data_are_lost_and_it_is_resumed(fleet, own, survivor):
    survivor.points.arm("explained")
    order = fleet.submit(3 * CHUNK)
    survivor.hold("explained")
    own.kill("valkey")
    own.lose("valkey")
    survivor.points.release()
    own.start_again("valkey")
    fleet.client.resume(order.job.id)
    order.check()
    assert sum(fleet.times(order)) <= len(order.uris) + CHUNK


@pytest.fixture
def emptied(fleet, own, album, tmp_path):
    """Give a fleet with a bucket of its own, in which no other test's jobs lie."""
    settings = replace(on_database(own.settings, 6), bucket="emptied")
    with Client(settings) as client:
        client.storage.set_up()
    environ = {**environ_on(fleet.environ, 6), "CAMFLEET_BUCKET": settings.bucket}
    with client_with_model(settings, tmp_path / "card") as client:
        made = Fleet(environ, client, own, album, tmp_path / "fleet")
        made._numbers = fleet._numbers
        yield made
        made.close()


@pytest.mark.faults
def test_one_command_brings_back_all_that_an_emptied_broker_forgot(emptied, own):
    camfleet = command_line(emptied.environ)
    whole, stopped = emptied.submit(CHUNK), emptied.submit(CHUNK)
    stopped.job.cancel()
    with emptied.worker() as worker:
        whole.check()
        worker.ready()
        worker.points.arm("explained")
        orders = [emptied.submit(3 * CHUNK) for _ in range(3)]
        worker.hold("explained")
        former = emptied.client._ledger.fleet_id()
        own.kill("valkey")
        own.lose("valkey")
        own.start_again("valkey")
        worker.points.release()
        done = camfleet("resume", "--all-stored", "--of-fleet", former, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert {job["job_id"] for job in told["resumed"]} == {each.job.id for each in orders}
        assert told["jobs"] == {"cancelled": 1, "complete": 1, "resumed": 3}
        for order in orders:
            order.check()
        assert sum(map(sum, map(emptied.times, orders))) <= 9 * CHUNK + CHUNK
        assert emptied.times(stopped) == [0] * CHUNK


def _of(worker, order):
    """Return the lines of a worker's log that are about a job."""
    lines = worker.said().splitlines()
    return "\n".join(line for line in lines if f"job {order.job.id}" in line)
