"""Reaper and lease renewer against real servers: what dead workers and lost messages leave runs."""

import itertools
from contextlib import closing
from dataclasses import replace

import pytest

from camfleet.broker import keys
from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json
from camfleet.jobstore.totals import Totals
from camfleet.storage.storage import Storage
from camfleet_worker.chunks.job_records import Records
from camfleet_worker.chunks.lease_renewer import LeaseRenewer
from camfleet_worker.chunks.reaper import Reaper
from helpers.producers import Sent, drain, items, producing
from helpers.records import job_record
from helpers.waiting import wait_until

SHORT = 0.3
numbers = itertools.count()


@pytest.fixture(scope="module")
def parts(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    with producing(settings, folder, model="kept", database=10, chunk_size=2) as made:
        yield made


@pytest.fixture
def redis(parts):
    parts[1].flushdb()
    return parts[1]


@pytest.fixture
def client(parts, redis):
    return parts[0]


@pytest.fixture
def ledger(client):
    with closing(Ledger(client.settings)) as made:
        yield made


@pytest.fixture
def leases(client):
    with closing(Leases(replace(client.settings, lease_seconds=SHORT))) as made:
        yield made


@pytest.fixture
def reap(client, ledger, leases):
    """Give a function that starts a reaper and returns the list of chunks that it puts back."""
    published = []
    reapers = []

    def start():
        records = Records(client.storage, ledger)
        reapers.append(Reaper(leases, ledger, records, publish=published.append, seconds=SHORT))
        return published

    yield start
    for reaper in reapers:
        reaper.close()


@pytest.fixture
def job(client):
    """Submit a job of three chunks."""
    return client.submit(items(6), models=["kept"], job_id=f"kept-{next(numbers)}")


def test_chunks_whose_messages_vanished_are_sent_again(redis, ledger, reap, job):
    refs = drain(redis)
    ledger.commit(job.id, 1, Totals())
    reap()
    sent = Sent(redis)
    wait_until(lambda: len(sent()) >= 2, 10)
    assert set(sent()) == {refs[0], refs[2]}


def test_chunks_whose_turn_it_is_are_sent_though_nobody_takes_any(redis, reap, job, client):
    client.submit(items(6), models=["kept"], job_id=f"{job.id}-more")
    messages = redis.rpop("camfleet.bulk", 100)
    assert len(messages) == 2
    reap()
    wait_until(lambda: redis.llen("camfleet.bulk") == 2, 10)


def test_a_job_without_a_record_does_not_keep_the_others_waiting(redis, ledger, reap, job):
    ledger.open(job_record("no-record", items=1, chunk_size=2, parts=1))
    refs = {ref for ref in drain(redis) if ref.job_id == job.id}
    reap()
    sent = Sent(redis)
    wait_until(lambda: set(sent()) == refs, 10)


def test_the_messages_of_other_jobs_do_not_keep_a_job_from_being_sent_again(
    redis, client, ledger, reap, job
):
    """On a busy fleet the queue is never empty."""
    refs = drain(redis)
    client.submit(items(2500, start=10), models=["kept"], job_id=f"{job.id}-0")
    assert ledger.stalled(0) == [job.id], "an id that begins like another one's is another one"
    reap()
    sent = Sent(redis)
    wait_until(lambda: set(refs) <= set(sent()), 10)


def test_a_retry_whose_messages_vanished_is_sent_again_as_a_retry(redis, ledger, reap, job):
    drain(redis)
    for number in range(3):
        ledger.commit(job.id, number, Totals())
    ledger.reopen(job.record(), 1, [2])
    drain(redis)
    reap()
    sent = Sent(redis)
    wait_until(sent, 10)
    assert set(sent()) == {job.record().chunk(2, 1)}


def test_a_job_is_stalled_only_while_nothing_of_it_is_under_way(redis, ledger, leases, job):
    assert ledger.stalled(0) == [], "its messages wait"
    ref = drain(redis)[0]
    assert ledger.stalled(0) == [job.id]
    assert ledger.stalled(60) == [], "a message may be on its way to a worker"
    leases.take(ref)
    assert ledger.stalled(0) == [], "a worker has a chunk of it, or had"
    leases.give_back(ref)
    with ledger.claim(job.id):
        assert ledger.stalled(0) == [], "a producer is at it"
    assert ledger.stalled(0) == [job.id]


@pytest.mark.parametrize("end", ["cancelled", "complete"])
def test_a_job_that_ended_is_not_stalled(redis, ledger, job, end):
    drain(redis)
    if end == "cancelled":
        job.cancel()
    else:
        for number in range(3):
            ledger.commit(job.id, number, Totals())
    assert job.status().state == end
    assert ledger.stalled(0) == []


def test_a_job_that_redis_forgot_is_not_listed_any_more(redis, ledger, job):
    drain(redis)
    redis.delete(f"camfleet:job:{{{job.id}}}")
    assert ledger.stalled(0) == []
    assert ledger.jobs() == []


def test_the_chunk_of_a_dead_worker_goes_back_unless_nobody_wants_it(
    redis, ledger, leases, reap, job
):
    counted, wanted, _ = drain(redis)
    for ref in (counted, wanted):
        leases.take(ref)
    ledger.commit(job.id, job.record().number(counted), Totals())
    redis.rpush("camfleet.bulk", f'"id": "{job.id}-0-00002"')  # so that nothing is swept
    published = reap()
    wait_until(lambda: redis.zcard(keys.LEASES) == 0, 10)
    assert published == [wanted]


def test_a_chunk_in_work_is_kept_and_known_and_then_given_back(redis, leases, job):
    ref = drain(redis)[0]
    member = encode_json(ref).decode()
    leases.take(ref)
    renewer = LeaseRenewer(leases, SHORT)
    with closing(renewer), renewer.hold(ref, attempt=2) as note:
        note(5)
        (state,) = renewer.chunks()
        assert (state.job_id, state.part, state.attempt, state.explained) == (job.id, 0, 2, 5)
        begun = redis.zscore(keys.LEASES, member)
        wait_until(lambda: redis.zscore(keys.LEASES, member) > begun + 2 * SHORT, 10)
        assert leases.take(ref) == 0
    assert renewer.chunks() == ()
    assert redis.zscore(keys.LEASES, member) is None


def test_a_reaper_that_finds_no_store_leaves_its_turn_to_others(client, ledger, redis, job, caplog):
    ref, *_ = drain(redis)
    long = replace(client.settings, lease_seconds=60)
    nowhere = replace(long, s3_endpoint="http://127.0.0.1:9")
    with (
        closing(Leases(long, "ours")) as ours,
        closing(Leases(long, "others")) as others,
        closing(Storage(nowhere)) as storage,
    ):
        ours.take(ref)
        ours.leave(ref)
        records = Records(storage, ledger)
        with closing(Reaper(ours, ledger, records, publish=[].append, seconds=SHORT)):
            wait_until(lambda: "reaper: trying again" in caplog.text, 60)
            assert wait_until(others.overdue, 10) == [ref]
