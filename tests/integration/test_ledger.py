"""The ledger against a real server: totals move once per chunk, whatever comes twice."""

import itertools
import threading
import time
from collections import Counter
from contextlib import closing

import pytest

from camfleet.broker import keys
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import redis_client
from camfleet.contract.results import Status
from camfleet.errors import BrokerUnavailable, UnknownJob
from camfleet.jobstore.totals import Totals
from camfleet.settings import Settings
from helpers.records import job_record

numbers = itertools.count()
OK, NOTHING, FAILED = Status.OK, Status.NO_EVIDENCE, Status.FAILED


def totals(counts):
    """Return totals of these numbers; what failed failed by one code."""
    codes = Counter({"image_not_found": counts[FAILED]} if counts.get(FAILED) else {})
    return Totals(Counter(counts), codes)


def record(items=10, parts=2):
    return job_record(f"ledger-{next(numbers)}", items=items, chunk_size=5, parts=parts)


@pytest.fixture
def ledger(settings):
    made = Ledger(settings)
    yield made
    made.close()


@pytest.fixture
def redis(settings):
    with closing(redis_client(settings)) as made:
        yield made


def test_a_chunk_that_is_delivered_twice_counts_once(ledger):
    job = record()
    ledger.open(job)
    counts = {OK: 3, NOTHING: 1, FAILED: 1}
    assert ledger.commit(job.job_id, 0, totals(counts)) is True
    assert ledger.commit(job.job_id, 0, totals(counts)) is False
    progress = ledger.progress(job.job_id)
    assert (progress.ok, progress.no_evidence, progress.failed) == (3, 1, 1)
    assert (progress.done, progress.total, progress.chunks_done) == (5, 10, 1)


def test_the_commit_of_the_last_chunk_completes_the_job(ledger):
    job = record()
    ledger.open(job)
    assert ledger.progress(job.job_id).state == "queued"
    ledger.begin(job.job_id)
    assert ledger.progress(job.job_id).state == "running"
    ledger.commit(job.job_id, 1, totals({OK: 5}))
    assert not ledger.progress(job.job_id).complete
    ledger.commit(job.job_id, 0, totals({OK: 5}))
    progress = ledger.progress(job.job_id)
    assert progress.complete
    assert progress.seconds_left == 0
    assert ledger.is_done(job.job_id, 0)


def test_totals_are_exact_when_every_chunk_is_committed_by_many_threads(ledger):
    job = record(items=200, parts=40)
    ledger.open(job)
    firsts = []

    def worker():
        firsts.extend(
            chunk
            for chunk in range(40)
            if ledger.commit(job.job_id, chunk, totals({OK: 4, FAILED: 1}))
        )

    threads = [threading.Thread(target=worker) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress = ledger.progress(job.job_id)
    assert sorted(firsts) == list(range(40))
    assert (progress.ok, progress.failed, progress.complete) == (160, 40, True)


def test_the_time_left_follows_from_the_rate(ledger):
    job = record(items=100, parts=20)
    ledger.open(job)
    ledger.begin(job.job_id)
    for chunk in range(5):
        ledger.commit(job.job_id, chunk, totals({OK: 5}))
    progress = ledger.progress(job.job_id)
    assert progress.images_per_second > 0
    assert progress.seconds_left == pytest.approx(75 / progress.images_per_second)


def test_an_unknown_job_is_named(ledger):
    with pytest.raises(UnknownJob, match="nowhere"):
        ledger.progress("nowhere")
    with pytest.raises(UnknownJob, match="nowhere"):
        ledger.commit("nowhere", 0, totals({OK: 1}))


def test_a_server_that_is_not_there_is_named_with_its_setting():
    lost = Ledger(Settings(redis_url="redis://127.0.0.1:9/0", bucket="none"))
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:9 .*CAMFLEET_REDIS_URL"):
        lost.ping()
    lost.close()


def test_chunks_that_end_side_by_side_do_not_make_the_rate_explode(ledger, redis):
    job = record(items=100, parts=20)
    ledger.open(job)
    redis.hset(f"camfleet:job:{{{job.job_id}}}", "started_at", time.time() - 10)
    for chunk in range(4):
        ledger.commit(job.job_id, chunk, totals({OK: 5}))
    assert ledger.progress(job.job_id).images_per_second == pytest.approx(2, rel=0.1)


def test_what_is_in_work_shows_before_it_is_counted_and_never_twice(ledger):
    job = record()
    ledger.open(job)
    ledger.note_work(job.job_id, 0, 3)
    ledger.note_work(job.job_id, 0, 4)
    assert (ledger.progress(job.job_id).done, ledger.progress(job.job_id).in_work) == (0, 4)
    ledger.commit(job.job_id, 0, totals({OK: 5}))
    assert (ledger.progress(job.job_id).done, ledger.progress(job.job_id).in_work) == (5, 0)


def test_the_events_of_a_cancelled_job_end_with_that(ledger, redis):
    job = record()
    ledger.open(job)
    ledger.commit(job.job_id, 0, totals({OK: 5}))
    ledger.cancel(job.job_id)
    ledger.commit(job.job_id, 1, totals({OK: 5}))  # was in work
    events = [fields["event"] for _, fields in redis.xrange(keys.events(job.job_id))]
    assert events == ["chunk", "cancelled"]
    assert ledger.progress(job.job_id).done == 10
