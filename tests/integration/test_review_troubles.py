"""Reviews that come to nothing when they're due: repeated, not for ever, and said; and clocks."""

import itertools
import json
from contextlib import closing

import pytest
from msgspec.structs import replace

from camfleet.broker.keys import FOLLOW_UPS
from camfleet.broker.schedules_due import SchedulesDue
from camfleet.contract.follow_ups import FollowedUp, FollowUp
from camfleet.contract.schedules import Schedule
from camfleet.jobs.reviews.looking import LookingAtReviews
from camfleet.jobstore import keys, review_keys
from camfleet.jobstore.follow_ups import write_followed_up
from camfleet.jobstore.records import read_record
from camfleet.registry.names import Names
from camfleet.reviews.repeating import ATTEMPTS, Repeater, in_words
from camfleet.reviews.runs import Runs, run_of
from camfleet.reviews.store import ReviewStore
from camfleet_worker.reviews import LOOK, ReviewPlan
from helpers import reviews as made_up
from helpers.commands import camfleet
from helpers.databases import on_database
from helpers.registries import models_of, write_card
from helpers.waiting import wait_until
from helpers.worker_threads import count_chunks, processes

NOW = made_up.CREATED + 86400.0
MINUTE, HOUR = 60.0, 3600.0
YEARLY = Schedule(cron="0 0 1 1 *")
numbers = itertools.count()


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 10)


@pytest.fixture
def store(storage):
    return ReviewStore(storage)


@pytest.fixture
def repeater(storage, ledger):
    return Repeater(storage, ledger, Runs(storage, ledger))


@pytest.fixture
def review(storage):
    """Make a review of a model that has a second version."""
    name = f"troubled-{next(numbers)}"
    old = made_up.version(storage, name, 1)
    made_up.version(storage, name, 2)
    return made_up.review(storage, name, old, made_up.maps(), on_register=True)


@pytest.fixture
def run(storage, review):
    return run_of(review, Names(storage).find(f"{review.name}@2"))


@pytest.fixture
def end(storage, ledger, store, review, run):
    """Give a function that lets the run's job end, with a verdict unless that's not wanted."""

    def end(*, missing=False, judged=True):
        made = made_up.parts(made_up.rows(run.model, made_up.maps()))
        made_up.write_results(storage, run, made)
        record = read_record(storage, run.job_id)
        count_chunks(record, storage, ledger)
        if missing:
            storage.delete([keys.results_part(record, record.chunk(1, 0))])
        if judged:
            store.write_verdict(made_up.judged(storage, review, run))
            follow(FollowUp(state="done"))
        return record

    def follow(found):
        retry = ledger.progress(run.job_id).retry
        followed = FollowedUp(
            schema_version=1, job_id=run.job_id, retry=retry, report=found, review=found
        )
        write_followed_up(storage, followed)
        record = read_record(storage, run.job_id)
        ledger.open(record, retry, done=list(range(record.chunks)), followed=followed)
        ledger.mark_published(run.job_id)

    end.follow = follow
    return end


def is_due_to_be_judged(redis, run):
    return redis.zscore(FOLLOW_UPS, run.job_id) is not None


def test_a_run_that_failed_is_repeated_with_pauses_and_then_given_up(
    storage, redis, repeater, store, review, run, end
):
    baseline = keys.job(review.baseline.job_id)
    kept = storage.get(baseline).data
    assert repeater.do(review, NOW) is None
    storage.delete([baseline])  # nothing can be compared
    end()
    redis.zrem(FOLLOW_UPS, run.job_id)
    assert repeater.do(review, NOW + MINUTE).verdict == "failed"
    assert store.state(review).trouble.attempts == 1
    moment = NOW + MINUTE
    for attempt, pause in enumerate((10 * MINUTE, HOUR, 6 * HOUR), 2):
        repeater.do(review, moment + pause - 1)
        assert not is_due_to_be_judged(redis, run)
        moment += pause
        repeater.do(review, moment)
        assert is_due_to_be_judged(redis, run), "by workers, anew"
        trouble = store.state(review).trouble
        assert (trouble.attempts, trouble.at) == (attempt, moment)
        assert review.baseline.job_id in trouble.reason
        end.follow(FollowUp(state="done"))
        redis.zrem(FOLLOW_UPS, run.job_id)
    assert trouble.attempts == ATTEMPTS
    assert "tried 4 times; it's given up until its next time: " in in_words(trouble)
    repeater.do(review, moment + 1000 * HOUR)
    assert not is_due_to_be_judged(redis, run)
    storage.put(baseline, kept, "application/json")
    store.write_verdict(made_up.judged(storage, review, run))
    assert repeater.do(review, moment + 1001 * HOUR).verdict == "pass"
    assert store.state(review).trouble is None


def test_lost_results_are_explained_again(ledger, repeater, store, review, run, end):
    repeater.do(review, NOW)
    end(missing=True)
    assert repeater.do(review, NOW).reasons == ("the results of 80 images are missing",)
    repeater.do(review, NOW + HOUR)
    progress = ledger.progress(run.job_id)
    assert (progress.complete, progress.done, progress.retry) == (False, 160, 1)
    assert store.state(review).trouble.attempts == 2


def test_what_was_given_up_is_tried_again_when_its_own_time_comes(
    storage, redis, repeater, store, review, run, end
):
    review = made_up.change(storage, review, schedule=YEARLY, on_register=False)
    repeater.do(review, NOW)
    end(missing=True)
    repeater.do(review, NOW)
    given_up = replace(store.state(review).trouble, attempts=ATTEMPTS)
    store.note(review, trouble=given_up, last=NOW)
    following = YEARLY.next_after(NOW)
    repeater.do(review, following - 1)
    assert store.state(review).trouble == given_up
    repeater.do(review, following)
    assert (store.state(review).trouble.attempts, store.state(review).trouble.at) == (1, following)


def test_before_its_time_only_what_was_begun_is_looked_after(storage, repeater, review, run):
    review = made_up.change(storage, review, schedule=YEARLY, on_register=False)
    repeater.do(review, NOW + 366 * 86400)
    ReviewStore(storage).note(review, last=NOW + 366 * 86400)
    made_up.version(storage, review.name, 3)
    repeater.do(review, NOW + 366 * 86400 + HOUR)
    assert ReviewStore(storage).state(review).run == run
    repeater.do(review, NOW + 2 * 366 * 86400)
    assert ReviewStore(storage).state(review).run.model.version == "3"


def test_what_can_not_be_started_is_said_until_it_can(storage, repeater, store, review):
    review = made_up.change(storage, review, model=f"{review.name}@candidate")
    assert repeater.do(review, NOW) is None
    trouble = store.state(review).trouble
    assert (trouble.run, trouble.attempts) == (None, 1)
    assert "has no version 'candidate'" in trouble.reason
    repeater.do(review, NOW + MINUTE)
    assert store.state(review).trouble == trouble
    repeater.do(review, NOW + 10 * MINUTE)
    assert store.state(review).trouble.attempts == 2
    models_of(storage).promote(f"{review.name}@2", alias="candidate")
    repeater.do(review, NOW + 20 * MINUTE)
    assert store.state(review).trouble is None
    assert store.state(review).run.model.version == "2"


def test_a_cancelled_run_and_one_that_nobody_could_judge_have_failed(
    ledger, repeater, review, run, end
):
    repeater.do(review, NOW)
    ledger.cancel(run.job_id)
    found = repeater.do(review, NOW)
    assert (found.verdict, found.job_id) == ("failed", run.job_id)
    assert found.reasons == (f"its job was cancelled: camfleet resume {run.job_id} continues it",)


def test_one_that_nobody_could_judge_has_failed(repeater, review, end):
    repeater.do(review, NOW)
    end(judged=False)
    end.follow(FollowUp(state="failed", note="the workers died with it"))
    found = repeater.do(review, NOW)
    assert found.verdict == "failed"
    assert found.reasons == ("it couldn't be judged: the workers died with it",)


def test_who_dies_while_repeating_leaves_it_to_others(redis, repeater, store, review, run, end):
    repeater.do(review, NOW)
    end()
    store.forget_verdict(review.name, run.run)  # `review run` does that first
    assert repeater.do(review, NOW) is None
    assert is_due_to_be_judged(redis, run)


def test_a_verdict_that_says_something_stays_and_one_that_failed_does_not(
    storage, store, repeater, review, run, end
):
    repeater.do(review, NOW)
    end(missing=True)
    failed = store.verdict(review.name, run.run)
    passed = replace(failed, verdict="pass", reasons=())
    assert store.write_verdict(passed).verdict == "pass"
    assert store.write_verdict(failed).verdict == "pass"


def test_a_verdict_that_came_to_nothing_takes_no_place_of_one_that_comes_at_the_same_moment(
    storage, store, repeater, review, run, end, monkeypatch
):
    repeater.do(review, NOW)
    end(missing=True)
    failed = store.verdict(review.name, run.run)
    passed = replace(failed, verdict="pass", reasons=())
    late, write = ReviewStore(storage), storage.replace

    def overtaken(*args, **options):
        monkeypatch.undo()
        store.write_verdict(passed)
        return write(*args, **options)

    monkeypatch.setattr(storage, "replace", overtaken)
    assert late.write_verdict(replace(failed, decided_at=NOW)).verdict == "pass"
    assert store.verdict(review.name, run.run).verdict == "pass"


def test_a_run_is_repeated_though_a_worker_said_the_same_of_it_a_moment_later(
    storage, ledger, store, repeater, review, run, end, redis
):
    repeater.do(review, NOW)
    end(missing=True)
    seen = store.verdict(review.name, run.run)
    redis.zrem(FOLLOW_UPS, run.job_id)
    store.write_verdict(replace(seen, reasons=("another one",)))
    runs = Runs(storage, ledger)
    runs.repeat(review, run, seen)  # somebody else has repeated it
    assert not is_due_to_be_judged(redis, run)
    store.write_verdict(replace(seen, decided_at=seen.decided_at + 1))
    runs.repeat(review, run, seen)
    assert ledger.progress(run.job_id).retry == 1 or is_due_to_be_judged(redis, run)


def test_while_there_is_trouble_it_is_looked_at_every_ten_minutes(
    storage, ledger, board, repeater, store, review, end
):
    review = made_up.change(storage, review, schedule=YEARLY, on_register=False)
    plan = ReviewPlan.of(storage, ledger, board)
    assert plan.load(review.name).schedule == YEARLY
    repeater.do(review, NOW)
    assert plan.load(review.name).schedule == LOOK
    assert plan.load(review.name).entered
    end(missing=True)
    repeater.do(review, NOW)
    assert plan.load(review.name).schedule == LOOK
    trouble = store.state(review).trouble
    store.note(review, trouble=replace(trouble, attempts=ATTEMPTS))
    assert plan.load(review.name).schedule == YEARLY
    (said,) = board.read().reviewed
    assert said.trouble == in_words(replace(trouble, attempts=ATTEMPTS))


def test_a_run_of_a_review_without_a_schedule_is_entered_by_nobody_but_workers(
    storage, ledger, board, repeater, review
):
    review = made_up.change(storage, review, on_register=False)
    plan = ReviewPlan.of(storage, ledger, board)
    assert plan.load(review.name) is None
    repeater.do(review, NOW)
    found = plan.load(review.name)
    assert (found.schedule, found.entered) == (LOOK, False)


def test_only_what_a_review_does_by_itself_is_due(
    own, storage, board, repeater, store, review, end
):
    review = made_up.change(storage, review, on_register=False)
    with closing(SchedulesDue(own)) as schedules:
        reviews = LookingAtReviews(store, schedules, board)

        def due():
            return reviews.show(review.name).due

        repeater.do(review, NOW)
        schedules.enter(review.name, NOW + 600)  # as workers do for a run without a verdict
        assert due() == NOW + 600
        end()
        assert due() is None, "once it has one they find nothing to do then"
        made_up.change(storage, review, schedule=YEARLY)
        assert due() == NOW + 600


def test_health_and_history_say_what_is_wrong(own, environ, storage, board, store, review):
    trouble = {"reason": "no such \x1b[2J baseline", "at": NOW, "attempts": 2, "run": None}
    state = {"schema_version": 2, "needs": "0.2.0", "name": review.name, "last": NOW}
    state |= {"run": None, "trouble": trouble}
    storage.put(review_keys.state(review.name), json.dumps(state).encode(), "application/json")
    board.tell(review, None, trouble=in_words(store.state(review).trouble))
    found = {**environ, **own.to_environ()}

    def said(*words):
        done = camfleet(*words, environ=found)
        assert "\x1b[2J" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    assert f"note: review {review.name}: tried 2 times: no such" in said("health")
    lines = said("review", "history", review.name).splitlines()
    (line,) = [line for line in lines if " trouble " in line]
    assert "2001-09-10" in line
    assert "tried 2 times: no such" in line
    assert "trouble   tried 2 times: no such" in said("review", "show", review.name)


THREADS = """
import os, sys, threading, time
now = time.time
time.time = lambda: now() + float(sys.argv[2])
from camfleet.broker.ledger import Ledger
from camfleet.broker.reviews import ReviewBoard
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.reviews import ReviewPlan
from camfleet_worker.schedules import ScheduleRunner

settings = Settings.from_environ(os.environ)
plan = ReviewPlan.of(Storage(settings), Ledger(settings), ReviewBoard(settings))
plan.names = lambda: [sys.argv[1]]
runner = ScheduleRunner(
    settings, plan, shutdown=Shutdown(8), reach=lambda _point: None, poll_seconds=0.02,
    look_seconds=0.1,
)
threading.Event().wait()
"""


@pytest.mark.parametrize("years", [-20, 20])
def test_the_clocks_of_workers_dont_matter(
    years, own, environ, storage, ledger, store, board, review, run, tmp_path
):
    review = made_up.change(storage, review, schedule=YEARLY, on_register=False)
    seconds = str(years * 365 * 86400)
    with closing(SchedulesDue(own)) as schedules:
        now = schedules.now()
        looks = {LOOK.next_after(now + minutes * MINUTE) for minutes in (0, 10)}
        words = (THREADS, review.name, seconds)
        with processes(*words, settings=own, environ=environ, folder=tmp_path) as start:
            start()
            wait_until(lambda: store.state(review).last == YEARLY.latest(0, now), 20)
            wait_until(lambda: schedules.times().get(review.name) in looks, 20)
    assert store.state(review).run == run
    assert ledger.is_published(run.job_id)


def test_metrics_dont_believe_in_the_future(board, storage, review, store, run, repeater, end):
    repeater.do(review, NOW)
    end()
    verdict = replace(store.verdict(review.name, run.run), decided_at=9e9)
    board.tell(review, verdict)
    (said,) = board.read().reviewed
    assert said.at <= board.now()
    board.tell(review, None)
    assert board.read().reviewed == [said], "while the next run goes on, that's the latest verdict"


def test_the_version_that_was_added_last_is_so_whatever_clocks_say(storage, tmp_path, monkeypatch):
    models, names = models_of(storage), Names(storage)

    def add(number, **options):
        card = write_card(tmp_path / str(next(numbers)), "clocks", str(number))
        return models.add(card, **options)

    for number, clock in enumerate((3e9, 1e9, 2e9), 1):
        monkeypatch.setattr("camfleet.registry.adding.time.time", lambda clock=clock: clock)
        add(number)
        assert names.added_last("clocks").version == str(number)
    models.promote("clocks@2")
    assert names.added_last("clocks").version == "3"
    models.remove("clocks@3")
    assert names.added_last("clocks").version == "2"
    assert names.added_last("nothing") is None
