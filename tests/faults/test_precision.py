"""Precision in a mixed fleet: a job has one, and nobody waits for what only others compute."""

import signal
from pathlib import Path

import pytest
from redis import Redis

import helpers
from camfleet.broker import keys
from camfleet.errors import PrecisionRefused
from camfleet.jobs.waiting import waits_for
from helpers.fleet import CHUNK
from helpers.processes import APP
from helpers.samples import write_card
from helpers.waiting import wait_until

CAN, CANNOT = {APP: "helpers.computes_bf16"}, {"CAMFLEET_ENGINE": "tensorflow"}
MODEL = "patches-in-bf16"
HALF = f"{keys.BULK_QUEUES[1]}.bf16"


@pytest.fixture(scope="module")
def mixed(fleet):
    """Give a fleet without workers."""
    path = f"{Path(helpers.__path__[0]).parent}:{fleet.environ['PYTHONPATH']}"
    with fleet.beside(10, PYTHONPATH=path) as made:
        with Redis.from_url(made.environ["CAMFLEET_REDIS_URL"]) as redis:
            redis.flushdb()
        yield made


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return write_card(tmp_path_factory.mktemp("card"), "patches")


@pytest.fixture
def redis(mixed):
    with Redis.from_url(mixed.environ["CAMFLEET_REDIS_URL"], decode_responses=True) as made:
        yield made


def precisions(order):
    return {row.precision for row in order.job.results()}


def test_a_worker_that_cannot_compute_so_leaves_it_to_others_and_works_on(mixed, redis, card):
    with mixed.worker(**CANNOT) as cannot:
        cannot.ready()
        with mixed.worker(**CAN) as can:
            can.ready()
            _, report = mixed.client.models.add(card, model_id=MODEL)
            assert report["bf16"]["refused"] is None
            half, plain = (
                mixed.submit(3 * CHUNK, MODEL, precision=precision)
                for precision in ("bf16", "float32")
            )
            for order in (half, plain):
                order.check()
            assert (precisions(half), precisions(plain)) == ({"bf16"}, {None})
            uris = [set(), set()]
            for _ in range(3):  # whoever gets it
                for seen, precision in zip(uris, ("bf16", None), strict=True):
                    asked = mixed.client.explain(half.uris[0], model=MODEL, precision=precision)
                    (row,) = asked.result(60)
                    assert row.precision == precision
                    seen.add(row.heatmap_uri)
            assert [len(seen) for seen in uris] == [1, 1]
            assert uris[0].isdisjoint(uris[1]), "pictures of one precision are never the other's"
            can.send(signal.SIGTERM)
            can.ended()
        half = mixed.submit(5 * CHUNK, MODEL, precision="bf16")
        assert "no live worker computes in bf16" in " ".join(half.job.warnings)
        plain = mixed.submit(2 * CHUNK, MODEL)
        plain.check()
        assert (half.job.status().done, redis.llen(HALF), redis.zcard(keys.LEASES)) == (0, 2, 0)
        (reason,) = waits_for(half.job, half.job.status(), mixed.client.workers())
        assert "no live worker computes in bf16" in reason
        with pytest.raises(PrecisionRefused, match="no live worker computes in bf16: start one"):
            mixed.client.explain(half.uris[0], model=MODEL, precision="bf16").result(60)
        with mixed.worker(**CAN) as can:
            can.ready()
            half.check()
    assert precisions(half) == {"bf16"}
    assert mixed.times(half) == [1] * len(half.uris)


def test_a_job_of_which_workers_die_holds_the_same_bytes(mixed, card):
    with mixed.worker("explained", **CAN) as victim:
        victim.ready()
        victim.points.release()
        mixed.client.models.add(card, model_id=MODEL)
        once = mixed.submit(3 * CHUNK, MODEL, precision="bf16")
        once.check()
        victim.points.arm("explained")
        again = mixed.client.submit(once.uris, models=MODEL, precision="bf16")
        victim.hold("explained")
        victim.kill()
    with mixed.worker(**CAN) as other:
        other.ready()
        wait_until(lambda: again.status().complete, 120)
    one, two = (
        [(row.item_id, row.map, row.logit, row.precision, row.heatmap_uri) for row in job.results()]
        for job in (once.job, again)
    )
    assert one == two
