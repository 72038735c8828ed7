"""Producers that die on the way, and producers that do the same at the same time."""

import pytest

from camfleet.broker import keys
from camfleet.errors import UnknownJob
from helpers.fleet import CHUNK, MODEL, Order
from helpers.processes import RETRY, SUBMIT
from helpers.waiting import wait_until

pytestmark = pytest.mark.faults

IMAGES = 3 * CHUNK
UNKNOWN = ("manifest-written", "record-written")  # to workers: nothing of the job runs
KNOWN = ("ledger-open", "published")
WAIT = 150  # for the claim of a dead producer to run out, which takes a minute


def submitting(fleet, job_id, uris, *points):
    return fleet.producer(SUBMIT, MODEL, job_id, *uris, armed=points)


@pytest.fixture(scope="module")
def dead(fleet):
    """Kill producers at each point, all of them before the first test.

    The claims of those whose jobs nobody else submits run out by themselves; of the others they
    last until somebody waits for them.
    """
    orders = {}
    producers = {}
    for point in [*UNKNOWN, *KNOWN, *(f"{known} alone" for known in KNOWN)]:
        job_id = f"killed-at-{point.replace(' ', '-')}"
        uris = fleet.photographs(IMAGES)
        orders[point] = Order(fleet.client.job(job_id), uris)
        producers[point] = submitting(fleet, job_id, uris, point.split()[0])
    for point, producer in producers.items():
        producer.hold(point.split()[0])
        producer.kill()
    with fleet.own.redis() as redis:
        assert all(redis.expire(claim(orders[point]), 600) for point in (*UNKNOWN, *KNOWN))
    return orders


def claim(order):
    return keys.claim(order.job.id)


@pytest.fixture(scope="module")
def repeated(fleet, dead):
    """Repeat the submit of each, at the same time, until all wait; then the claims run out."""
    points = [*UNKNOWN, *KNOWN]
    for point in UNKNOWN:
        with pytest.raises(UnknownJob):
            dead[point].job.status()
        assert sum(fleet.times(dead[point])) == 0
    made = {point: submitting(fleet, dead[point].job.id, dead[point].uris) for point in points}
    for producer in made.values():
        producer.says("waiting for it", timeout=WAIT)
    with fleet.own.redis() as redis:
        assert all(redis.expire(claim(dead[point]), 2) for point in points)
    return made


@pytest.mark.parametrize("point", [*UNKNOWN, *KNOWN])
def test_the_same_submit_completes_what_a_dead_one_began(fleet, survivor, dead, repeated, point):
    assert repeated[point].ended(WAIT) == 0, repeated[point].said()
    dead[point].check()
    said = repeated[point].said()
    assert (point == "manifest-written") == ("None" in said), said
    assert max(fleet.times(dead[point])) <= 1 + (point in KNOWN)


@pytest.mark.parametrize("point", KNOWN)
def test_workers_run_a_job_whose_producer_died_once_redis_knew_it(fleet, survivor, dead, point):
    order = dead[f"{point} alone"]
    order.check(timeout=WAIT)
    assert fleet.times(order) == [1] * IMAGES


def test_of_two_producers_of_one_job_one_submits_it(fleet, survivor):
    uris = fleet.photographs(IMAGES)
    first = submitting(fleet, "twice", uris, "manifest-written")
    first.hold("manifest-written")
    second = submitting(fleet, "twice", uris)
    second.says("waiting for it")
    with fleet.own.redis() as redis:  # the first waits for long, and keeps its claim
        redis.expire(keys.claim("twice"), 20)
        wait_until(lambda: redis.ttl(keys.claim("twice")) > 30, 60)
    first.points.release()
    assert [first.ended(), second.ended()] == [0, 0]
    assert first.said().split() == ["None"]
    assert "was submitted before: nothing was done" in second.said()
    order = Order(fleet.client.job("twice"), uris)
    order.check()
    assert fleet.times(order) == [1] * IMAGES


@pytest.mark.parametrize(
    ("point", "by", "number"),
    [("retry-written", "retry", 2), ("retry-written", "resume", 1), ("reopened", None, 1)],
)
def test_a_retry_whose_producer_died_is_done_all_the_same(fleet, survivor, point, by, number):
    order = fleet.incomplete(IMAGES)
    producer = fleet.producer(RETRY, order.job.id, armed=[point])
    producer.hold(point)
    producer.kill()
    with fleet.own.redis() as redis:  # not to wait a minute for the dead one's claim
        redis.delete(claim(order))
    if by:
        order.check(failed=IMAGES // CHUNK)
        getattr(fleet.client, by)(order.job.id)
    assert order.check().retry == number
    assert max(fleet.times(order)) == 2
