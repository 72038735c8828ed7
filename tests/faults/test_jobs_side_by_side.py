"""Jobs that share a fleet: each starts at once, ends exactly, and is lost with no worker."""

import pytest
from redis import Redis

from camfleet.broker import keys
from camfleet.contract.codec import decode_json
from camfleet.contract.records import ChunkRef
from helpers.fleet import CHUNK, short
from helpers.waiting import wait_until


@pytest.fixture
def beside(fleet):
    """Give a fleet without a survivor; every worker keeps two slots for first chunks."""
    with fleet.beside(9, CAMFLEET_FIRST_CONCURRENCY="2") as made:
        with redis_of(made) as redis:
            redis.flushdb()
        yield made


def redis_of(fleet):
    return Redis.from_url(fleet.environ["CAMFLEET_REDIS_URL"], decode_responses=True)


def in_work(redis):
    """Return the jobs whose chunks are in work."""
    leases = redis.zrange(keys.LEASES, 0, -1)
    return sorted(decode_json(lease.encode(), ChunkRef).job_id for lease in leases)


def test_a_job_starts_though_all_slots_are_taken_by_another_one(beside):
    with beside.worker("leased") as worker, redis_of(beside) as redis:
        worker.ready()
        wait_until(lambda: redis.exists(keys.TAKES_FIRST), 10)
        large = beside.submit(12 * CHUNK)
        wait_until(lambda: len(in_work(redis)) == 2, 30)  # its first chunk, and another
        small = beside.submit(CHUNK)
        wait_until(lambda: in_work(redis).count(small.job.id) == 1, 10)
        assert in_work(redis).count(large.job.id) == 2
        assert sum(redis.llen(queue) for queue in keys.QUEUES) <= 2
        worker.points.release()
        for order in (small, large):
            order.check()
            assert beside.times(order) == [1] * len(order.uris)


@pytest.mark.parametrize("point", short("taken", "next-sent"))
def test_a_message_that_died_with_its_worker_is_sent_again(fleet, survivor, point):
    survivor.points.arm("leased")
    with fleet.worker(point) as victim:
        victim.ready()
        order = fleet.submit(6 * CHUNK)
        survivor.hold("leased")
        victim.hold(point)
        victim.kill()
    survivor.points.release()
    order.check()
    assert fleet.times(order) == [1] * len(order.uris)


@pytest.mark.faults
def test_what_was_not_sent_when_all_workers_died_is_sent_by_the_next_one(beside):
    with redis_of(beside) as redis:
        with beside.worker("taken") as victim:
            victim.ready()
            order = beside.submit(6 * CHUNK)
            victim.hold("taken")
            victim.kill()
        redis.delete(*keys.QUEUES)
        with beside.worker():
            order.check()
    assert beside.times(order) == [1] * len(order.uris)


@pytest.mark.faults
def test_ten_jobs_of_many_sizes_and_priorities_end_exactly_though_workers_die(beside):
    with beside.worker(CAMFLEET_CONCURRENCY="2") as one, beside.worker("stored") as victim:
        one.ready()
        victim.ready()
        orders = [
            beside.submit(chunks * CHUNK - 1, priority=priority)
            for chunks, priority in zip(range(1, 11), [1, 100, 10, 5, 50] * 2, strict=True)
        ]
        victim.hold("stored")
        victim.kill()
        for order in orders:
            order.check()
            assert max(beside.times(order)) <= 2
    with redis_of(beside) as redis:
        assert redis.zcard(keys.TURNS) == 0


@pytest.mark.faults
def test_a_job_of_higher_priority_overtakes_one_that_came_before(beside):
    with beside.worker("leased", CAMFLEET_FIRST_CONCURRENCY="0") as worker:
        worker.ready()
        before = beside.submit(16 * CHUNK)
        worker.hold("leased")
        urgent = beside.submit(8 * CHUNK, priority=100)
        worker.points.release()
        first, second = urgent.check(), before.check()
        assert first.ended_at < second.ended_at
        assert first.priority == 100


@pytest.mark.faults
@pytest.mark.parametrize("verb", ["resume", "retry"])
def test_jobs_that_share_a_fleet_are_cancelled_resumed_and_retried_beside_each_other(beside, verb):
    with beside.worker() as worker:
        worker.ready()
        if verb == "retry":
            order = beside.incomplete(3 * CHUNK)
        other = beside.submit(8 * CHUNK)
        if verb == "resume":
            order = beside.submit(5 * CHUNK)
            order.job.cancel()
        getattr(beside.client, verb)(order.job.id)
        order.check()
        other.check()
    assert max(beside.times(other)) == 1
