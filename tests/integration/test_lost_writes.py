"""Redis that has lost what it had acknowledged: workers write it anew from the bucket."""

from contextlib import closing

import pytest

from camfleet import Client
from camfleet.broker import keys
from camfleet.broker.history import History
from camfleet.broker.redis import redis_client
from camfleet.errors import UnknownJob
from camfleet.jobstore import keys as object_keys
from camfleet_worker.chunks.lost_writes import LostWrites
from helpers.databases import on_database
from helpers.registries import approve
from helpers.samples import write_card
from helpers.waiting import wait_until

OTHER = "of-another-history"
URIS = [f"s3://b/{number}.png" for number in range(600)]  # three chunks


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 13, lease_seconds=0.4)


@pytest.fixture(scope="module")
def client(own, tmp_path_factory):
    with Client(own) as made:
        made.models._check = approve
        made.models.add(write_card(tmp_path_factory.mktemp("card"), "lost"))
        yield made


@pytest.fixture
def redis(own):
    with closing(redis_client(own)) as made:
        made.flushdb()
        yield made
        made.flushdb()


@pytest.fixture
def a_worker(own, client, redis):
    """Give a function that starts the thread of a worker for a block."""
    return lambda: closing(LostWrites(own, client._ledger, client.storage))


@pytest.fixture
def promote(redis, a_worker):
    """Give a function that lets Redis look as a replica promoted before it had heard of keys.

    A worker has noted Redis' id before, another one sees what became of it. None lives between
    them: it might be writing a note just then.
    """
    with a_worker():
        wait_until(lambda: redis.hexists(keys.HISTORY, "replid"), 10)

    def promote(*forgotten, **noted):
        forget_all(redis, *forgotten, **noted)
        with a_worker():
            wait_until(lambda: redis.hget(keys.HISTORY, "replid") != OTHER, 20)

    return promote


def forget_all(redis, *forgotten, **noted):
    """Let Redis forget keys, and its history be another one than was noted."""
    with redis.pipeline() as pipe:
        for key in forgotten:
            pipe.delete(key)
        pipe.hset(keys.HISTORY, mapping={"replid": OTHER, **noted})
        pipe.execute()


def submit(client, name):
    return client.submit(URIS, models=["lost"], job_id=name, force=True)


def forget(redis, job):
    redis.zrem(keys.JOBS, job.id)
    redis.zrem(keys.TURNS, job.id)
    return keys.of_job(job.id)


def is_entered(redis, job):
    """Return whether chunks of a job wait, or will be sent."""
    waiting = "".join(text for queue in keys.QUEUES for text in redis.lrange(queue, 0, -1))
    return f'"{job.id}-0-' in waiting or redis.zscore(keys.TURNS, job.id) is not None


def test_a_job_that_redis_never_heard_of_is_there_again(client, redis, promote):
    job = submit(client, "lost-1")
    promote(*forget(redis, job), *keys.QUEUES)
    assert job.status().total == 600
    assert is_entered(redis, job)


def test_a_job_whose_messages_are_lost_is_sent_again(client, redis, promote):
    job = submit(client, "lost-2")
    promote(keys.TURNS, *keys.QUEUES)
    assert is_entered(redis, job)
    assert job.status().total == 600


def test_a_chunk_that_is_counted_stays_counted_and_is_not_sent(client, redis, promote, own):
    job = submit(client, "lost-3")
    redis.setbit(keys.done(job.id), 0, 1)
    promote(keys.TURNS, *keys.QUEUES)
    redis.zadd(keys.LEASES, {str(number): 2e9 for number in range(99)})  # room for all
    client._ledger.fill_queues()
    sent = "".join(text for queue in keys.QUEUES for text in redis.lrange(queue, 0, -1))
    assert [f'"{job.id}-0-{part:05d}"' in sent for part in range(3)] == [False, True, True]


def test_a_retry_that_redis_never_heard_of_runs(client, redis, promote):
    job = submit(client, "lost-4")
    record = object_keys.retry(job.id, 1)
    redis.hset(keys.job(job.id), "finished_at", 1)
    client.storage.put(
        record,
        b'{"schema_version":1,"job_id":"lost-4","number":1,"created_at":1.0,"codes":[],'
        b'"chunks":[[0,1]]}',
        "application/json",
    )
    promote()
    assert job.status().retry == 1
    assert not job.status().complete


def test_jobs_that_have_ended_and_those_long_forgotten_stay_as_they_are(client, redis, promote):
    ended, cancelled, old = (submit(client, f"lost-5{letter}") for letter in "abc")
    redis.hset(keys.job(ended.id), "finished_at", 1)
    cancelled.cancel()
    promote(*forget(redis, old), keys.TURNS, *keys.QUEUES, at=2e9)  # which makes all jobs old
    assert not any(is_entered(redis, job) for job in (ended, cancelled, old))
    assert (ended.status().state, cancelled.status().state) == ("complete", "cancelled")
    with pytest.raises(UnknownJob):
        old.status()


def test_a_job_that_a_producer_is_at_is_looked_at_again(client, redis, a_worker, caplog):
    job = submit(client, "lost-6")
    gone = forget(redis, job)
    with client._ledger.claim(job.id):
        forget_all(redis, *gone)
        with a_worker():
            wait_until(lambda: "producers are at are looked at again" in caplog.text, 20)
        assert redis.hget(keys.HISTORY, "replid") == OTHER
    with a_worker():
        wait_until(lambda: redis.hget(keys.HISTORY, "replid") != OTHER, 20)
    assert job.status().total == 600


def test_a_job_of_another_fleet_on_the_same_bucket_is_left_to_it_until_somebody_resumes_it(
    client, redis, promote, settings
):
    elsewhere = on_database(settings, 11)
    with Client(elsewhere) as other, closing(redis_client(elsewhere)) as their_redis:
        submit(other, "lost-9a")
        their_redis.flushdb()
    ours = submit(client, "lost-9b")
    promote(*forget(redis, ours), *keys.QUEUES)
    assert ours.status().total == 600
    with pytest.raises(UnknownJob):
        client.job("lost-9a").status()
    job = client.resume("lost-9a")
    assert "another Redis until now" in job.note
    promote(*forget(redis, job), *keys.QUEUES)
    assert job.status().total == 600
    assert client.resume("lost-9a").note is None


@pytest.mark.parametrize("source", [None, b"{"], ids=["missing", "damaged"])
def test_a_job_that_does_not_say_whose_it_is_is_brought_back(client, redis, promote, source):
    job = submit(client, f"lost-10-{source is None}")
    key = object_keys.source(job.id)
    client.storage.delete([key])
    if source is not None:
        client.storage.put(key, source, "application/json")
    promote(*forget(redis, job), *keys.QUEUES)
    assert job.status().total == 600


def test_a_job_id_that_was_used_again_is_the_new_job(client, redis, promote):
    job = submit(client, "lost-7")
    redis.hset(keys.job(job.id), mapping={"created_at": 5.0, "finished_at": 6.0})
    promote()
    assert job.status().state == "queued"


def test_a_job_that_cannot_be_read_keeps_no_other_waiting(client, redis, promote):
    broken, job = submit(client, "lost-8a"), submit(client, "lost-8b")
    client.storage.put(object_keys.job(broken.id), b"{", "application/json")
    promote(*forget(redis, job), *keys.QUEUES)
    assert job.status().total == 600


def test_a_worker_that_dies_over_it_leaves_it_to_another(own, redis, promote):
    with closing(History(own)) as history:
        assert history.take_turn(1)
        promote()


def test_nothing_is_looked_for_as_long_as_redis_stays_the_same(own, redis, a_worker):
    with closing(History(own)) as history, a_worker():
        wait_until(lambda: redis.hexists(keys.HISTORY, "replid"), 10)
        assert history.lost_since() is None
        at = float(redis.hget(keys.HISTORY, "at"))
        wait_until(lambda: float(redis.hget(keys.HISTORY, "at")) > at, 10)


def test_a_note_that_is_damaged_stands_for_everything(own, redis):
    with closing(History(own)) as history:
        redis.hset(keys.HISTORY, mapping={"replid": OTHER, "at": "never"})
        assert history.lost_since()[1] == 0.0


def test_a_cancellation_that_redis_never_heard_of_is_there_again(client, redis, promote):
    known, unknown = submit(client, "lost-11a"), submit(client, "lost-11b")
    for job in (known, unknown):
        job.cancel()
    redis.hdel(keys.job(known.id), "cancelled_at")
    assert known.status().state == "queued"
    promote(*forget(redis, unknown), keys.TURNS, *keys.QUEUES)
    assert (known.status().state, unknown.status().state) == ("cancelled", "cancelled")
    assert not is_entered(redis, known)
