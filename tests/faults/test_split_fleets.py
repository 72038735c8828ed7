"""Fleets behind sentinels whose networks fall apart: each side with a part of the servers.

Servers and sentinels are on three hosts, the store on a fourth; two workers and a producer have
hosts of their own. What came of a job is counted in its Parquet files, without camfleet.
"""

import json
import logging
import time
from contextlib import ExitStack

import pytest

from helpers.host_fleet import CHUNK, LEASE, PATIENCE
from helpers.host_sentinels import HostSentinels
from helpers.waiting import wait_until

pytestmark = pytest.mark.faults

IMAGES = 3000
APART = 20  # seconds, several times what sentinels need
BOUND = 90

say = logging.getLogger(__name__).info


@pytest.fixture(scope="module")
def three(hosts, tmp_path_factory):
    """Give Redis on three hosts."""
    made = [hosts.network.host(f"redis-{number}") for number in range(3)]
    with HostSentinels(made, tmp_path_factory.mktemp("three")) as started:
        yield started


@pytest.fixture(scope="module")
def workers(hosts, three):
    with ExitStack() as stack:
        made = [
            stack.enter_context(hosts.worker(host, **three.environ))
            for host in (hosts.one, hosts.two)
        ]
        yield [each.ready(PATIENCE) for each in made]


def only_the_primary(hosts, three):
    return [three.primary()]


def the_primary_a_worker_and_the_producer(hosts, three):
    return [three.primary(), hosts.one, hosts.desk]


def the_primary_a_worker_and_the_store(hosts, three):
    """Chunks are counted there, and acknowledged, until the primary misses its replicas."""
    return [three.primary(), hosts.one, hosts.store]


def a_replica_and_a_worker(hosts, three):
    return [three.others()[0], hosts.two]


@pytest.mark.parametrize(
    "side",
    [
        only_the_primary,
        the_primary_a_worker_and_the_producer,
        the_primary_a_worker_and_the_store,
        a_replica_and_a_worker,
    ],
)
def test_a_job_ends_exactly_though_the_network_falls_apart(hosts, three, workers, side):
    three.settle()
    apart, before = side(hosts, three), three.primary()
    rest = next(host for host in three.others() if host not in apart)
    with hosts.asking(**three.environ) as log:
        order = hosts.submit(IMAGES, **three.environ)
        wait_until(lambda: len(order.parts()) >= 4, PATIENCE)
        wait_until(log.answered, PATIENCE)
        hosts.network.split(apart)
        assert len(order.parts()) < IMAGES // CHUNK
        begun = time.monotonic()
        try:
            if before in apart:
                wait_until(lambda: three.primary(rest) is not before, 30, pause=0.1)
                say(f"another primary after {time.monotonic() - begun:.1f} s")
            wait_until(lambda: time.monotonic() > begun + APART, APART + 1)
        finally:
            hosts.network.unite(apart)
        back = time.monotonic()
        with hosts.command("watch", order.job.id, **three.environ) as watch:
            assert watch.ended(900) == 0, watch.said()
        wait_until(lambda: log.answered(since=back), LEASE + 60)
    say(log.summary())
    log.check(BOUND)
    check(hosts, three, order)
    assert [each.code for each in workers] == [None, None]


def check(hosts, three, order):
    """Prove by the bucket alone that each image was counted once, and that the ledger agrees."""
    ids, states = hosts.recount(order.job.id)
    assert sorted(ids) == list(range(order.images))
    assert set(ids.values()) == {1}, "an image has two results"
    with hosts.command("status", order.job.id, "--json", **three.environ) as status:
        assert status.ended(PATIENCE) == 0, status.said()
        progress = json.loads(status.said())
    assert (progress["state"], progress["failed"]) == ("complete", 0)
    assert {"ok": progress["ok"], "no_evidence": progress["no_evidence"]} == {
        "ok": states["ok"],
        "no_evidence": states["no_evidence"],
    }
