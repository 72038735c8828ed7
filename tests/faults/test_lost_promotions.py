"""A primary dies with writes that it had acknowledged and no replica has: nothing is lost."""

from contextlib import closing

import pytest

from camfleet import Client
from helpers.fleet import CHUNK, Fleet
from helpers.sentinels import PASSWORD, Sentinels
from helpers.waiting import wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def six(tmp_path):
    """Give servers that take writes without replicas: else few would be lost."""
    with Sentinels(tmp_path / "six", options={}) as started:
        yield started


@pytest.fixture
def behind(fleet, six, tmp_path):
    with Client(six.settings(fleet.client.settings)) as client:
        environ = six.environ(fleet.environ)
        made = Fleet(environ, client, fleet.own, fleet.album, tmp_path / "fleet")
        made._numbers = fleet._numbers  # no photograph is asked for by two fleets
        yield made
        made.close()


def cut_off(six):
    """Let replicas miss all that is written from now on, though sentinels see them alive."""
    before = six.primary
    for port in six.servers:
        if port != before:
            with closing(six.redis(port)) as replica:
                replica.config_set("masterauth", "another")
    with closing(six.redis(before)) as primary:
        primary.execute_command("CLIENT", "KILL", "TYPE", "replica")
        wait_until(lambda: primary.info("replication")["connected_slaves"] == 0, 10)


def promote_another(six):
    before = six.primary
    six.kill(before)
    for port in six.servers:
        if port != before:
            with closing(six.redis(port)) as replica:
                replica.config_set("masterauth", PASSWORD)
    wait_until(lambda: six.primary != before, 60)


def test_jobs_retries_and_counted_chunks_that_a_promotion_loses_come_back(behind, six):
    worker = behind.survivor()
    retried = behind.incomplete(3 * CHUNK)
    worker.points.arm("counted")
    running = behind.submit(10 * CHUNK)
    worker.hold("counted")
    with closing(six.redis()) as primary:
        assert primary.wait(2, 5000) == 2  # replicas know these two jobs
    cut_off(six)
    lost = behind.submit(3 * CHUNK)
    behind.client.retry(retried.job.id)
    worker.points.release()
    wait_until(lambda: running.job.status().done >= 4 * CHUNK, 60)
    promote_another(six)
    wait_until(lambda: worker.said().count("is in Redis again") == 2, 60)
    for order in (running, lost, retried):
        order.check()
    assert retried.job.status().retry == 1
    assert worker.code is None
