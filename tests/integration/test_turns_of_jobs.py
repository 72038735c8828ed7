"""Whose chunks are sent next, against a real Redis: jobs take turns, and little waits there."""

import itertools
import json
from collections import Counter
from contextlib import closing

import pytest
from msgspec.structs import replace as changed

from camfleet.broker import keys
from camfleet.broker.app import close_app, make_app, send_chunk
from camfleet.broker.backlog import BacklogReader
from camfleet.broker.leases import Leases
from camfleet.contract.lanes import Lane
from camfleet.contract.messages import CHUNK_TASK, FIRST_TASK
from camfleet.jobstore.totals import Totals
from camfleet_worker.process.envelope import task_message
from helpers.databases import on_database
from helpers.producers import drain, ref_of
from helpers.records import NET, job_record

(QUEUE, LATER, HALF), (FIRST, FIRST_LATER, FIRST_HALF) = keys.BULK_QUEUES, keys.FIRST_QUEUES


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 12)


@pytest.fixture
def app(own):
    made = make_app(own)
    yield made
    close_app(made)


def record(job_id, parts=1000, priority=10, form=1, models=1, precision="float32"):
    return job_record(
        job_id,
        schema_version=form,
        models=tuple(changed(NET, id=f"net{n}") for n in range(models)),
        items=parts,
        parts=parts,
        priority=priority,
        precision=precision,
    )


def take(redis, ledger, count, *queues):
    """Take messages one by one as a worker does, and return their chunks."""
    refs, asked = [], list(queues or (FIRST, QUEUE, LATER))
    for _ in range(count):
        queue, message = redis.brpop(asked, 1)
        asked.sort(key=queue.__eq__)
        refs.append(ref_of(message))
        ledger.fill_queues()
    return refs


def test_few_messages_wait_however_large_a_job_is_and_all_chunks_come_once(redis, ledger):
    whole = record("large", parts=700, models=2)
    ledger.open(whole)
    assert redis.llen(QUEUE) == 2
    assert drain(redis) == list(whole.refs())
    assert redis.zcard(keys.TURNS) == 0


def test_a_job_of_ten_million_images_takes_no_more_of_redis_than_one_of_ten(redis, ledger):
    used = []
    for parts in (10, 40_000):
        redis.flushdb()
        ledger.open(record("large", parts=parts))
        used.append(sum(redis.memory_usage(key, samples=0) for key in redis.keys("*")))
    assert used[1] < used[0] + 100


def test_all_that_nobody_works_on_counts_whether_it_is_sent_or_not(redis, ledger, own):
    with closing(BacklogReader(own)) as queues:
        ledger.open(record("large", parts=70))
        assert {queue.name: queue.depth for queue in queues.read().queues}[QUEUE] == 2
        assert queues.read().chunks == 70
        redis.brpop(QUEUE)
        ledger.fill_queues()
        assert queues.read().chunks == 69
        redis.hset(keys.job("large"), "cursor", "forged")
        assert queues.read().chunks == 2


def test_the_more_is_in_work_the_more_waits(redis, ledger, own):
    large = record("large")
    ledger.open(large)
    with closing(Leases(own)) as leases:
        for ref in take(redis, ledger, 80):
            leases.take(ref)
    ledger.fill_queues()
    assert redis.llen(QUEUE) == 2 + 80 // 8


def test_a_job_that_comes_later_is_next_and_shares_from_then_on(redis, ledger):
    ledger.open(record("large"))
    take(redis, ledger, 100)
    ledger.open(record("small", parts=4))
    jobs = [ref.job_id for ref in take(redis, ledger, 20)]
    assert "small" in jobs[:4], "those that had been sent come first"
    places = [place for place, job in enumerate(jobs) if job == "small"]
    assert len(places) == 4
    assert {later - sooner for sooner, later in itertools.pairwise(places)} == {2}


@pytest.mark.parametrize("form", [1, 2])
def test_a_priority_is_a_jobs_share(redis, ledger, form):
    """Whatever forms the jobs have, and so whatever queues."""
    ledger.open(record("one", priority=10, form=form))
    ledger.open(record("half", priority=5))
    ledger.open(record("thrice", priority=30, form=3 - form))
    found = Counter(ref.job_id for ref in take(redis, ledger, 450))
    assert found["one"] == pytest.approx(100, abs=3)
    assert found["half"] == pytest.approx(50, abs=3)
    assert found["thrice"] == pytest.approx(300, abs=3)


def test_no_job_starves_though_many_are_there_and_few_are_in_work(redis, ledger):
    names = [f"job{number}" for number in range(10)]
    for name in names:
        ledger.open(record(name))
    found = Counter(ref.job_id for ref in take(redis, ledger, 100))
    assert all(8 <= found[name] <= 12 for name in names), found


@pytest.mark.parametrize(("form", "queue"), [(1, FIRST), (2, FIRST_LATER)])
def test_a_jobs_first_chunk_goes_where_a_slot_is_kept_unless_anothers_waits(
    redis, ledger, form, queue
):
    redis.set(keys.TAKES_FIRST, 1, ex=60)
    first, second = record("first", form=form), record("second", form=form)
    ledger.open(first)
    assert [ref_of(text) for text in redis.lrange(queue, 0, -1)] == [first.chunk(0, 0)]
    ledger.open(second)
    assert redis.llen(queue) == 1
    (message,) = redis.rpop(queue, 9)
    assert json.loads(message)["headers"]["task"] == FIRST_TASK


def test_nothing_waits_for_a_slot_that_no_live_worker_keeps(redis, ledger):
    ledger.open(record("first"))
    assert redis.llen(FIRST) == 0
    assert redis.llen(QUEUE) == 2


def test_what_is_counted_or_cancelled_is_not_sent(redis, ledger):
    ledger.open(record("counted", parts=20), done=[0, 1, 5, 6, 7, 8, 9, 10, 18, 19])
    assert [ref.part for ref in drain(redis)] == [2, 3, 4, *range(11, 18)]
    ledger.open(record("cancelled", parts=20))
    ledger.cancel("cancelled")
    assert [ref.part for ref in drain(redis)] == [0, 1], "which were sent before"
    assert redis.zcard(keys.TURNS) == 0


def test_of_a_retry_only_its_own_chunks_are_sent(redis, ledger):
    ledger.open(record("again", parts=9))
    drain(redis)
    for chunk in range(9):
        ledger.commit("again", chunk, Totals())
    ledger.reopen(record("again", parts=9), 3, [2, 8])
    assert [(ref.part, ref.retry) for ref in drain(redis)] == [(2, 3), (8, 3)]


def test_a_job_that_is_sent_again_begins_with_what_is_not_counted(redis, ledger):
    lost = record("lost", parts=5)
    ledger.open(lost)
    drain(redis)
    for chunk in (0, 3):
        ledger.commit("lost", chunk, Totals())
    assert ledger.stalled(0) == ["lost"]
    ledger.enter_again(lost)
    assert ledger.stalled(0) == [], "it's in turn again"
    assert [ref.part for ref in drain(redis)] == [1, 2, 4]


def test_a_job_whose_turn_is_to_come_is_not_lost(redis, ledger):
    ledger.open(record("large"))
    ledger.open(record("late", parts=3, priority=1))
    assert redis.zcard(keys.TURNS) == 2
    assert ledger.stalled(0) == []
    redis.delete(keys.TURNS, QUEUE)
    assert set(ledger.stalled(0)) == {"large", "late"}


def test_a_job_of_a_form_that_is_not_known_here_is_left_to_newer_programs(redis, ledger):
    ledger.open(record("newer", form=2))
    redis.hset(keys.job("newer"), "lane", 99)
    redis.delete(LATER)
    ledger.open(record("older", parts=3))
    assert [ref.job_id for ref in drain(redis)] == ["older"] * 3
    assert redis.zrange(keys.TURNS, 0, -1) == ["newer"]


@pytest.mark.parametrize(
    "forge",
    [
        lambda redis: redis.zadd(keys.TURNS, {"nobody's": -1, "a b": -2, "x" * 200: -3}),
        lambda redis: redis.zadd(keys.TURNS, {"true": float("-inf"), "other": float("inf")}),
        lambda redis: redis.hset(keys.job("true"), "parts", "0"),
        lambda redis: redis.hset(keys.job("true"), "cursor", "-1e9"),
        lambda redis: redis.hset(keys.job("true"), "priority", "nan"),
        lambda redis: redis.hset(keys.job("true"), "chunks", "99999999999"),
        lambda redis: redis.delete(keys.job("true")),
        lambda redis: (redis.delete(keys.job("true")), redis.set(keys.job("true"), "x")),
    ],
)
def test_what_somebody_forged_keeps_no_other_job_waiting(redis, ledger, forge):
    ledger.open(record("true"))
    ledger.open(record("other", parts=4))
    redis.delete(QUEUE)
    forge(redis)
    redis.zadd(keys.TURNS, {"other": 0})
    ledger.fill_queues()
    assert "other" in {ref_of(text).job_id for text in redis.lrange(QUEUE, 0, -1)}


@pytest.mark.parametrize("form", [1, 2])
def test_a_message_is_what_celery_itself_would_send(redis, ledger, app, form):
    job = record("alike", parts=3, form=form)
    queue = keys.BULK_QUEUES[form - 1]
    send_chunk(app, job.chunk(0, 0), Lane(form))
    (celerys,) = map(json.loads, redis.rpop(queue, 9))
    ledger.open(job)
    ours = json.loads(redis.rpop(queue))
    assert ref_of(json.dumps(ours)) == ref_of(json.dumps(celerys))
    assert set(ours) == set(celerys)
    assert set(ours["properties"]) <= set(celerys["properties"])
    assert set(ours["headers"]) <= set(celerys["headers"])
    for name in ("id", "task", "timelimit", "ignore_result", "root_id", "lang"):
        assert ours["headers"][name] == celerys["headers"][name]
    assert abs(ours["headers"]["camfleet_sent"] - celerys["headers"]["camfleet_sent"]) < 60
    read = [task_message(message, queue) for message in (ours, celerys)]
    assert read[0]["body"] == read[1]["body"]
    assert read[0]["headers"]["task"] == CHUNK_TASK


def test_each_message_has_a_tag_of_its_own(redis, ledger):
    ledger.open(record("tags", parts=50))
    tags = set()
    for _ in range(50):
        tags.add(json.loads(redis.rpop(QUEUE))["properties"]["delivery_tag"])
        ledger.fill_queues()
    assert len(tags) == 50


def test_a_job_that_version_0_1_0_entered_is_sent_again_when_it_is_stalled(redis, ledger):
    old = record("old", parts=3)
    ledger.open(old)
    redis.hdel(keys.job("old"), "parts", "lane", "priority", "cursor")
    redis.delete(keys.TURNS, QUEUE)
    assert ledger.stalled(0) == ["old"]
    ledger.enter_again(changed(old))
    assert drain(redis) == list(old.refs())


def test_a_job_of_higher_priority_overtakes_one_that_came_before(redis, ledger):
    ledger.open(record("before", parts=16))
    take(redis, ledger, 1)
    ledger.open(record("urgent", parts=8, priority=100, form=2))
    jobs = [ref.job_id for ref in take(redis, ledger, 23)]
    assert jobs.count("urgent") == 8
    assert jobs[:13].count("urgent") == 8, jobs


def test_nobody_waits_behind_chunks_that_only_others_can_compute(redis, ledger):
    ledger.open(record("half", precision="bf16"))
    ledger.open(record("plain", parts=50))
    jobs = [ref.job_id for ref in take(redis, ledger, 50)]
    assert jobs == ["plain"] * 50
    assert [redis.llen(queue) for queue in (QUEUE, LATER, HALF)] == [0, 0, 2]
    halves = take(redis, ledger, 998, HALF)
    assert [ref.part for ref in halves] == list(range(998))


@pytest.mark.parametrize("lane", [None, 99])
def test_a_job_that_comes_later_shares_though_another_has_waited_for_workers_for_long(
    redis, ledger, lane
):
    """For such that compute so, or that are newer: it shall not catch up with what they missed."""
    ledger.open(record("stuck", precision="bf16"))
    if lane:
        redis.hset(keys.job("stuck"), "lane", lane)
    ledger.open(record("before"))
    take(redis, ledger, 100)
    ledger.open(record("after"))
    found = Counter(ref.job_id for ref in take(redis, ledger, 40))
    assert found["before"] == pytest.approx(20, abs=2), found


def test_however_many_jobs_wait_for_workers_that_compute_so_the_others_go_on(redis, ledger):
    ledger.open(record("half", precision="bf16"))
    ledger.open(record("before"))
    take(redis, ledger, 100)
    with redis.pipeline() as pipe:
        for number in range(1500):
            pipe.copy(keys.job("half"), keys.job(f"half{number}"))
            pipe.zadd(keys.TURNS, {f"half{number}": 0})
        pipe.execute()
    ledger.open(record("after"))
    found = Counter(ref.job_id for ref in take(redis, ledger, 40))
    assert found["before"] == pytest.approx(20, abs=2), found


def test_a_job_that_is_alone_in_its_precision_begins_beside_the_others(redis, ledger):
    ledger.open(record("plain"))
    take(redis, ledger, 100)
    ledger.open(record("half", precision="bf16"))
    turns = dict(redis.zrange(keys.TURNS, 0, -1, withscores=True))
    assert turns["half"] == pytest.approx(turns["plain"], abs=1)


def test_where_all_workers_compute_so_a_precision_gets_no_more_than_its_share(redis, ledger):
    ledger.open(record("half", priority=10, precision="bf16"))
    ledger.open(record("plain", priority=5))
    ledger.open(record("more", priority=25, form=2))
    jobs = []
    for _ in range(200):
        for queue in (HALF, QUEUE, LATER):  # as such workers ask
            if taken := redis.rpop(queue):
                jobs.append(ref_of(taken).job_id)
                break
        ledger.fill_queues()
    counted = {job: jobs[20:180].count(job) for job in ("half", "plain", "more")}
    assert counted == {"half": 40, "plain": 20, "more": 100}


def test_a_first_chunk_is_kept_apart_only_for_workers_that_compute_so(redis, ledger):
    redis.set(keys.TAKES_FIRST, 1, ex=60)
    ledger.open(record("half", precision="bf16"))
    assert [redis.llen(queue) for queue in (FIRST, FIRST_LATER, FIRST_HALF)] == [0, 0, 0]
    redis.set(keys.takes_first("bf16"), 1, ex=60)
    ledger.open(record("other", precision="bf16"))
    assert [redis.llen(queue) for queue in (FIRST, FIRST_LATER, FIRST_HALF)] == [0, 0, 1]
