"""Lists that threads share out, and batches of a stream."""

import threading
import time
from contextvars import ContextVar

import pytest

from camfleet.prefetch import map_ahead
from camfleet_worker.pipeline.threads import Pool, Pools, batches

PLACE = ContextVar("place", default="nowhere")


@pytest.fixture
def pool():
    made = Pool(3, "test")
    yield made
    made.shutdown()


def test_a_pool_does_all_with_all_its_threads_and_waits_for_the_last(pool):
    meet, done = threading.Barrier(3), []

    def work(number):
        if number < 3:
            meet.wait(10)
        time.sleep(1e-3)
        done.append(number)

    pool.for_each(work, iter(range(20)))
    assert sorted(done) == list(range(20))


def test_a_pool_without_work_returns(pool):
    pool.for_each(pytest.fail, [])


def test_an_error_leaves_the_rest_undone_and_is_raised_when_the_others_have_ended(pool):
    begun, ended = [], []
    broken = threading.Event()

    def work(number):
        begun.append(number)
        if number == 1:
            broken.set()
            raise ValueError("one")
        broken.wait(10)
        time.sleep(0.05)
        ended.append(number)

    with pytest.raises(ValueError, match="one"):
        pool.for_each(work, range(100))
    assert len(begun) <= 4
    assert len(ended) == len(begun) - 1


def test_a_pool_helps_whoever_does_the_work_and_is_not_waited_for(pool):
    done, freed = [], threading.Event()
    for _ in range(3):
        pool.submit(freed.wait, 10)
    pool.help_with(done.append, range(20))
    assert done == list(range(20)), "the caller has done all"
    freed.set()
    meet = threading.Barrier(4)
    pool.help_with(lambda _: meet.wait(10), range(4))
    meet = threading.Barrier(2)
    pool.help_with(lambda _: meet.wait(10), range(4), 1)
    pool.help_with(pytest.fail, [])


@pytest.mark.parametrize("where", ["here", "in the pool"])
def test_an_error_where_a_pool_helps_leaves_the_rest_undone(pool, where):
    here, begun, broken = threading.current_thread(), [], threading.Event()

    def work(number):
        begun.append(number)
        if (threading.current_thread() is here) == (where == "here"):
            broken.set()
            raise ValueError("one")
        broken.wait(10)
        time.sleep(0.05)

    with pytest.raises(ValueError, match="one"):
        pool.help_with(work, range(100))
    assert len(begun) <= 8


def test_a_pool_works_at_the_place_of_whoever_asks(pool):
    found = []
    PLACE.set("here")
    pool.for_each(lambda _: found.append(PLACE.get()), range(9))
    assert found == ["here"] * 9
    assert pool.submit(PLACE.get).result() == "nowhere"


def test_batches_keep_order_and_size():
    assert list(batches(iter(range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches([], 3)) == []


def test_whoever_leads_may_wait_for_the_other_pools_however_many_batches_there_are():
    pools = Pools(io=1, cpu=1, chunks=1)
    seen = []

    def lead(batch):
        pools.io.for_each(seen.append, batch)
        pools.cpu.for_each(seen.append, batch)
        return len(batch)

    assert list(map_ahead(pools.lead, lead, batches(range(50), 4), 2)) == [4] * 12 + [2]
    assert sorted(seen) == sorted([*range(50), *range(50)])
    pools.close()
