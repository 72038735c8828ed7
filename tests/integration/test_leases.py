"""Leases against a real server: one holder at a time, and nothing of a dead one is forgotten."""

import itertools
from dataclasses import replace

import pytest
from benchmarks import made_up_jobs

from camfleet.broker import keys
from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json
from camfleet.contract.records import ChunkRef
from camfleet.errors import BrokerUnavailable
from camfleet.jobstore.totals import Totals
from helpers.waiting import wait_until

numbers = itertools.count()


@pytest.fixture
def ref():
    return ChunkRef(job_id=f"leased-{next(numbers)}", model=0, part=3, retry=0)


@pytest.fixture
def leases(settings):
    made = Leases(replace(settings, lease_seconds=60))
    yield made
    made.close()


@pytest.fixture
def short(settings):
    made = Leases(replace(settings, lease_seconds=0.2))
    yield made
    made.close()


def test_a_chunk_has_one_holder_at_a_time(leases, ref):
    assert leases.take(ref) == 1
    assert leases.take(ref) == 0
    leases.give_back(ref)
    assert leases.take(ref) == 2, "the second attempt"
    leases.give_back(ref)


def test_a_lease_that_ran_out_is_offered_until_it_is_dropped(short, ref):
    assert short.take(ref) == 1
    assert wait_until(lambda: ref in short.overdue(), 5)
    assert wait_until(lambda: ref in short.overdue(), 5)
    short.drop(ref)
    assert short.take(ref) == 2
    short.give_back(ref)


def test_a_lease_that_is_renewed_does_not_run_out(short, leases, ref):
    short.take(ref)
    leases.renew([ref])
    wait_until(lambda: short.overdue() == [] and leases.take(ref) == 0, 5)
    leases.give_back(ref)
    leases.renew([ref])
    assert leases.take(ref) == 2, "renewing brings no lease back that was given up"
    leases.give_back(ref)


class Worker:
    """Leases as a worker process takes them, that can die and live."""

    def __init__(self, settings, name, seconds=0.2):
        self.leases = Leases(replace(settings, lease_seconds=seconds), name)

    def work(self, ref, image=None):
        """Take a chunk, which another worker has let run out, and begin an image."""
        attempt = wait_until(lambda: self.leases.take(ref), 5)
        if image is not None:
            self.leases.mark(ref, image)
        return attempt

    def fields(self, ref):
        """Return what is known of all chunks of a job that were begun."""
        return self.leases._redis.run("HGETALL", keys.attempts(ref.job_id))

    def die(self):
        self.leases.close()  # as the kernel closes a dead process's connections


@pytest.fixture
def worker(settings):
    made = []

    def start(name=None, seconds=0.2):
        made.append(Worker(settings, name or f"celery@host:1:{next(numbers)}", seconds))
        return made[-1]

    yield start
    for one in made:
        one.leases.close()


def test_an_image_is_blamed_at_the_second_death_with_it(worker, ref):
    for death, image in enumerate((7, 9, 7), start=1):
        one = worker()
        assert one.leases.killers(ref) == set()
        assert one.work(ref, image) == death
        one.die()
    survivor = worker()
    assert survivor.work(ref) == 4
    assert survivor.leases.killers(ref) == {7}, "9 was in work at one death only"


def test_an_image_that_is_done_is_not_blamed(worker, ref):
    for _ in range(3):
        one = worker()
        one.work(ref, 7)
        one.leases.mark(ref, None)
        one.die()
    assert worker().leases.killers(ref) == set()


def test_a_worker_that_is_paused_is_not_dead(worker, ref):
    """Its connections stay open; its lease runs out all the same."""
    for _ in range(3):
        assert worker().work(ref, 7) == 1, "an attempt that nobody died of doesn't count"
    survivor = worker()
    assert survivor.work(ref) == 1
    assert survivor.leases.killers(ref) == set()


def test_a_worker_that_was_cut_off_and_comes_back_has_not_died(worker, ref):
    first, second = worker(), worker()
    first.work(ref, 7)
    first.die()
    assert second.work(ref, 7) == 2, "nothing was heard of the first for a lease's time"
    assert first.leases.renew([ref]) == [ref], "but it was only cut off"
    second.die()
    third = worker()
    assert third.work(ref, 7) == 2
    assert third.leases.killers(ref) == set(), "7 was in work at one death"
    third.die()
    fourth = worker()
    fourth.work(ref)
    assert fourth.leases.killers(ref) == {7}
    third.leases.renew([ref])
    assert fourth.leases.killers(ref) == set()


def test_a_paused_worker_that_wakes_up_touches_nothing_of_the_next_ones(worker, ref):
    paused, successor = worker(), worker(seconds=60)
    paused.work(ref, 7)
    successor.work(ref, 3)
    assert paused.leases.renew([ref]) == [ref]
    paused.leases.mark(ref, 8)
    paused.leases.mark(ref, None)
    paused.leases.give_back(ref)
    assert paused.leases.take(ref) == 0, "the lease is still the successor's"
    paused.leases.drop(ref)
    assert paused.leases.take(ref) == 0, "nor does a reaper drop it, which saw it run out before"
    successor.die()
    third = worker()
    third.leases._redis.run("ZADD", "camfleet:leases", "XX", 1, _member(ref))
    third.work(ref)
    assert third.leases._redis.run("HGET", keys.attempts(ref.job_id), "0:3:0:deaths:3") == "1"


def test_the_reaper_settles_what_it_puts_back(worker, ref):
    one, reaper = worker(), worker()
    one.work(ref, 5)
    wait_until(lambda: ref in reaper.leases.overdue(), 5)
    assert not reaper.leases.settle(ref), "it may live"
    reaper.leases.drop(ref)
    one.die()
    two = worker()
    two.work(ref, 5)
    two.die()
    wait_until(lambda: ref in reaper.leases.overdue(), 5)
    assert reaper.leases.settle(ref)


def test_without_a_list_of_clients_a_fresh_heartbeat_says_that_a_worker_lives(
    worker, ref, settings
):
    one, reaper = worker(), worker()
    one.work(ref, 5)
    one.die()

    def forbidden(command, *args):
        if command == "CLIENT LIST":
            raise BrokerUnavailable("NOPERM")
        return run(command, *args)

    run, reaper.leases._redis.run = reaper.leases._redis.run, forbidden
    run("SET", keys.alive(one.leases.owner), 1, "EX", 60)
    wait_until(lambda: ref in reaper.leases.overdue(), 5)
    assert not reaper.leases.settle(ref)


def test_a_lease_from_before_the_clock_was_set_back_runs_out(leases, worker, ref):
    one = worker()
    one.work(ref)
    leases._redis.run("ZADD", "camfleet:leases", "XX", 4e9, _member(ref))
    wait_until(lambda: ref in leases.overdue(), 90)
    one.die()
    assert leases.take(ref) == 2


def test_a_lease_that_0_1_0_took_is_respected_and_runs_out(settings, worker, ref):
    """That version names no owner."""
    old = Leases(replace(settings, lease_seconds=60))
    assert old.take(ref) == 1
    assert worker().leases.take(ref) == 0
    old.give_back(ref)
    old.close()
    assert worker().work(ref) == 2


@pytest.fixture
def ledger(settings):
    made = Ledger(settings)
    yield made
    made.close()


@pytest.fixture
def counted_job(ledger):
    """Give the record of a job of 40 chunks, which Redis knows."""
    made = made_up_jobs.record(f"counted-{next(numbers)}", 40)
    ledger.open(made)
    return made


def test_a_chunk_that_is_counted_leaves_no_attempts(worker, ledger, counted_job):
    one = worker(seconds=60)
    for ref in counted_job.refs():
        assert one.work(ref, image=3) == 1
        assert ledger.commit(ref.job_id, counted_job.number(ref), Totals(), begun=ref)
        one.leases.give_back(ref)
    assert one.fields(counted_job.chunk(0, 0)) == {}


def test_a_chunk_that_comes_again_once_it_is_counted_leaves_no_attempts_either(
    worker, ledger, counted_job
):
    one, ref = worker(seconds=60), counted_job.chunk(7, 0)
    one.work(ref)
    ledger.commit(ref.job_id, 7, Totals(), begun=ref)
    one.leases.give_back(ref)
    assert one.work(ref) == 1
    one.leases.uncount(ref)
    one.leases.give_back(ref)
    assert one.fields(ref) == {}


def test_a_worker_that_was_given_up_and_counts_first_ends_nobody_elses_lease(
    worker, ledger, counted_job
):
    ref = counted_job.chunk(5, 0)
    paused, successor, third = worker(), worker(seconds=60), worker(seconds=60)
    paused.work(ref)
    successor.work(ref)
    assert ledger.commit(ref.job_id, 5, Totals(), begun=ref)
    paused.leases.give_back(ref)
    assert third.leases.take(ref) == 0, "the lease is still the successor's"
    assert successor.leases.renew([ref]) == []
    assert not ledger.commit(ref.job_id, 5, Totals(), begun=ref)
    successor.leases.uncount(ref)
    successor.leases.give_back(ref)
    assert third.fields(ref) == {}


def test_attempts_that_did_not_end_in_a_count_are_still_known(worker, ledger, counted_job):
    failed, other = counted_job.chunk(1, 0), counted_job.chunk(2, 0)
    one = worker(seconds=60)
    for ref in (failed, other):
        one.work(ref)
        one.leases.give_back(ref)
    one.work(other)
    ledger.commit(other.job_id, 2, Totals(), begun=other)
    one.leases.give_back(other)
    assert one.work(failed) == 2


def test_an_image_that_killed_workers_stays_known_once_its_chunk_is_counted(
    worker, ledger, counted_job
):
    """Should the chunk's results be lost, it would kill workers again."""
    ref = counted_job.chunk(3, 0)
    for _ in range(2):
        one = worker()
        one.work(ref, 7)
        one.die()
    survivor = worker(seconds=60)
    assert survivor.work(ref) == 3
    ledger.commit(ref.job_id, 3, Totals(), begun=ref)
    survivor.leases.give_back(ref)
    assert survivor.leases.killers(ref) == {7}
    assert survivor.work(ref) == 4


def _member(ref):
    return encode_json(ref).decode()


def test_a_chunk_that_its_worker_leaves_is_overdue_at_once_and_that_was_no_attempt(worker, ref):
    one, two = worker(seconds=60), worker(seconds=2)
    assert one.work(ref) == 1
    one.leases.leave(ref)
    assert wait_until(lambda: ref in two.leases.overdue(), 5)
    assert not two.leases.settle(ref), "it lives"
    two.leases.drop(ref)
    assert two.work(ref) == 1
    two.leases.renew([ref])
    one.leases.leave(ref)
    assert one.leases.take(ref) == 0, "another's lease it can't end"
    two.leases.give_back(ref)
