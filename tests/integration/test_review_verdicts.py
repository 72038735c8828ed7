"""Verdicts that workers write at the end of a review's job: one, told once, signed, measured."""

import itertools
from contextlib import ExitStack, closing

import pytest
from msgspec.structs import replace

from camfleet.contract.follow_ups import FollowUp
from camfleet.jobstore.records import read_record
from camfleet.jobstore.s3_roots import ReportRoots
from camfleet.reviews.runs import Runs, run_of
from camfleet.reviews.store import ReviewStore
from camfleet_worker.follow_ups.report import ReportMaker
from camfleet_worker.follow_ups.review import ReviewMaker
from camfleet_worker.prometheus import Metrics
from helpers import reviews as made_up
from helpers.databases import on_database
from helpers.waiting import wait_until
from helpers.worker_threads import (
    SECRET,
    calling_back,
    count_chunks,
    follow_up_thread,
)

numbers = itertools.count()


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 14, webhook_secret=SECRET, allow_private_hosts=True)


@pytest.fixture
def receiver(own, ledger, storage):
    with calling_back(own, storage, ledger) as made:
        yield made


@pytest.fixture
def review(storage, receiver):
    name = f"judged-{next(numbers)}"
    old = made_up.version(storage, name, 1)
    return made_up.review(storage, name, old, made_up.maps(), callback=receiver.url())


@pytest.fixture
def ended(storage, ledger, review):
    """Let the job of a version's run end with made-up maps; give the run."""

    def end(number, found):
        ref = made_up.version(storage, review.name, number)
        run = Runs(storage, ledger).start(review, ref)
        made_up.write_results(storage, run, made_up.parts(made_up.rows(ref, found)))
        record = read_record(storage, run.job_id)
        count_chunks(record, storage, ledger)
        return run

    return end


@pytest.fixture
def start(own, ledger, storage, board):
    """Give a function that starts the thread of a worker."""
    with ExitStack() as stack:

        def start(make=None):
            def reach(_point):
                pass

            ask, roots = made_up.no_pictures, ReportRoots(own.bucket, ())
            report = ReportMaker(storage, ask, roots, reach).make
            review = make or ReviewMaker(storage, ask, board, reach).make
            makers = {"report": report, "review": review}
            return stack.enter_context(closing(follow_up_thread(own, storage, ledger, makers)))

        yield start


def test_a_verdict_follows_the_jobs_end_and_the_signed_callback_has_it(
    start, ended, ledger, storage, review, receiver
):
    run = ended(2, made_up.elsewhere(made_up.maps()))
    assert ledger.progress(run.job_id).review == FollowUp(state="waiting")
    for _ in range(2):
        start()
    wait_until(lambda: ledger.progress(run.job_id).followed, 30)
    verdict = ReviewStore(storage).verdict(review.name, run.run)
    found = ledger.progress(run.job_id).review
    assert (found.state, found.uri, verdict.verdict) == ("done", verdict.page, "moved")
    assert found.note.startswith("moved; maps moved by")
    assert ledger.progress(run.job_id).report_uri == verdict.report
    wait_until(lambda: receiver.calls, 10)
    (call,) = receiver.calls
    assert call.verified(SECRET)["data"]["review"] == {
        "state": "done", "uri": verdict.page, "note": found.note
    }  # fmt: skip


def test_a_version_alarms_once_however_often_it_is_due(
    start, ended, ledger, storage, review, receiver
):
    run = ended(2, made_up.elsewhere(made_up.maps()))
    start()
    wait_until(lambda: receiver.calls, 30)
    assert Runs(storage, ledger).start(review, run.model).job_id == run.job_id
    assert ledger.progress(run.job_id).complete
    before = ReviewStore(storage).verdict(review.name, run.run)
    other = ended(3, made_up.noisy(made_up.maps()))
    wait_until(lambda: ReviewStore(storage).verdict(review.name, other.run), 30)
    wait_until(lambda: len(receiver.calls) == 2, 30)
    assert ReviewStore(storage).verdict(review.name, run.run) == before
    assert ReviewStore(storage).verdict(review.name, other.run).verdict == "pass"


def test_the_job_of_a_review_that_is_gone_says_so(start, ended, ledger, storage, review):
    run = ended(2, made_up.maps())
    store = ReviewStore(storage)
    made_up.change(storage, review, "deleted")
    store.remove(review.name)
    start()
    wait_until(lambda: ledger.progress(run.job_id).followed, 30)
    found = ledger.progress(run.job_id).review
    assert (found.state, "there is no review" in found.note) == ("failed", True)


def test_a_set_that_was_made_anew_has_other_runs(start, ended, ledger, storage, review):
    run = ended(2, made_up.maps())
    made = replace(review.set, digest="0" * 64)
    made_up.change(storage, review, set=made)
    start()
    wait_until(lambda: ledger.progress(run.job_id).followed, 30)
    assert "is a run of a former review" in ledger.progress(run.job_id).review.note
    assert run_of(replace(review, set=made), run.model).job_id != run.job_id


def test_metrics_have_the_movement_the_verdict_and_the_age(
    start, ended, ledger, storage, review, board, redis
):
    run = ended(2, made_up.elsewhere(made_up.maps()))
    start()
    wait_until(lambda: ledger.progress(run.job_id).followed, 30)
    redis.zadd("camfleet:schedules", {review.name: board.read().now - 100})
    metrics = Metrics()
    metrics.watch_reviews(board)

    def value(name, **labels):
        return metrics.registry.get_sample_value(name, {"review": review.name, **labels})

    verdict = ReviewStore(storage).verdict(review.name, run.run)
    model = f"{review.name}@2"
    assert value("camfleet_review_movement", model=model) == verdict.movement.value
    assert value("camfleet_review_places", model=model) == len(verdict.places)
    assert value("camfleet_review_verdict", verdict="moved") == 1
    assert 0 <= value("camfleet_review_age_seconds") < 60
    assert 100 <= value("camfleet_review_late_seconds") < 160
