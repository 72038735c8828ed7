"""Reviews in a real bucket and Redis, with made-up results: sets, runs, verdicts, who runs what."""

import itertools
import json
from contextlib import ExitStack, closing

import numpy as np
import pytest
from msgspec.structs import replace

from camfleet.broker.keys import JOBS, SCHEDULES
from camfleet.broker.ledger import Ledger
from camfleet.broker.reviews import ReviewBoard
from camfleet.contract.reviews import Accepted, ReviewLimits, SeenPlace
from camfleet.contract.schedules import Schedule
from camfleet.errors import InvalidRequest, ObjectChanged, ObjectDamaged
from camfleet.jobstore import keys, parquet, review_keys
from camfleet.jobstore.records import read_record
from camfleet.reviews.judging import accept, limit_of
from camfleet.reviews.protected import protected_jobs
from camfleet.reviews.runs import Runs, run_of
from camfleet.reviews.store import ReviewStore
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.reviews import ReviewPlan
from camfleet_worker.schedules import ScheduleRunner
from helpers import reviews as made_up
from helpers.commands import camfleet
from helpers.databases import on_database
from helpers.producers import Sent
from helpers.waiting import wait_until

YEARLY = Schedule(cron="0 0 1 1 *")
numbers = itertools.count()


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 10)


@pytest.fixture
def sent(redis):
    return Sent(redis, 2)


@pytest.fixture
def runs(storage, ledger):
    return Runs(storage, ledger)


@pytest.fixture
def name():
    return f"made-up-{next(numbers)}"


@pytest.fixture
def old(storage, name):
    return made_up.version(storage, name, 1)


@pytest.fixture
def new(storage, name, old):
    return made_up.version(storage, name, 2)


@pytest.fixture
def review(storage, name, old):
    return made_up.review(storage, name, old, made_up.maps())


@pytest.fixture
def judge(storage, runs, review, new):
    """Judge made-up results of the new version."""

    def command(made, asked=None):
        asked = asked or review
        run = runs.start(asked, new)
        made_up.write_results(storage, run, made_up.parts(made))
        return made_up.judged(storage, asked, run)

    return command


def test_a_set_has_the_images_and_the_baselines_classes(storage, review):
    data = storage.get(review_keys.set_part(review.name, 2)).data
    items = parquet.read_manifest(data)
    assert (review.set.items, review.set.parts, len(items)) == (240, 3, 80)
    assert [item.target for item in items[:3]] == [f"label:class {n % 6}" for n in range(160, 163)]


def test_images_that_the_baseline_could_not_explain_are_left_out(storage, name, old):
    found = made_up.maps()
    found[3] = None
    review = made_up.review(storage, name, old, found)
    assert (review.set.items, review.set.left_out) == (239, 1)
    items = parquet.read_manifest(storage.get(review_keys.set_part(name, 0)).data)
    assert "3" not in [item.item_id for item in items]


def test_a_run_is_one_job_however_often_it_is_started(storage, runs, review, new, sent, redis):
    first = runs.start(review, new)
    assert runs.start(review, new).job_id == first.job_id
    assert [ref.part for ref in sent()] == [0, 1, 2]
    record = read_record(storage, first.job_id)
    assert (record.items, record.models, record.follow_ups.review) == (240, (new,), review.name)
    redis.flushdb()
    runs.start(review, new)
    assert [ref.part for ref in sent()] == [0, 1, 2] * 2
    assert ReviewStore(storage).state(review).run.job_id == first.job_id


def test_the_version_that_was_added_last_is_reviewed_or_the_one_that_is_named(
    storage, runs, review, old, new
):
    assert runs.model(review) == new
    assert runs.model(review, f"{review.name}@1") == old
    third = made_up.version(storage, review.name, 3)
    assert runs.model(review) == third
    assert runs.model(replace(review, model=f"{review.name}@2")) == new


def test_maps_that_stay_pass_and_maps_elsewhere_alarm(judge, new, storage):
    found = judge(made_up.rows(new, made_up.noisy(made_up.maps())))
    assert (found.verdict, found.reasons, found.limit) == ("pass", (), 0.3)
    assert storage.exists(found.page)
    assert storage.exists(found.page.replace("index.html", "comparison.json"))
    found = judge(made_up.rows(new, made_up.elsewhere(made_up.maps())))
    assert found.verdict == "moved"
    assert "maps moved by" in found.reasons[0]


@pytest.mark.parametrize(("differ", "verdict"), [(24, "pass"), (25, "moved")])
def test_first_answers_have_a_limit_though_maps_are_the_baselines_class(
    judge, review, new, differ, verdict
):
    limited = replace(review, limits=replace(review.limits, flips=0.1))
    rows = [
        replace(one, target=f"label:{one.class_name}") for one in made_up.rows(new, made_up.maps())
    ]
    found = judge(rows, limited)  # as a worker writes them that doesn't say its own answers
    assert (found.verdict, "--limit-flips" in found.reasons[0]) == ("undecidable", True)
    said = [
        replace(one, first_index=n, first_name=f"class {n}")
        for at, one in enumerate(rows)
        for n in [(one.class_index + (at < differ)) % made_up.CLASSES]
    ]
    assert judge(said).verdict == "pass"
    found = judge(said, limited)
    assert found.verdict == verdict
    if verdict == "moved":
        assert found.reasons[0] == "25 of 240 first answers differ, more than 10 %"


def test_a_version_without_evidence_for_anything_has_moved_unless_that_may_be(judge, review, new):
    rows = made_up.rows(new, [one * 0 - 1 for one in made_up.maps()], status="no_evidence")
    found = judge(rows)
    assert found.verdict == "moved"
    assert "lost" in found.reasons[0]
    assert judge(rows, replace(review, limits=replace(review.limits, lost=1.0))).verdict == (
        "undecidable"
    )


@pytest.mark.parametrize(("count", "verdict"), [(2, "pass"), (3, "set_changed")])
def test_more_than_a_hundredth_of_changed_images_is_a_verdict(judge, new, count, verdict):
    rows = made_up.rows(new, made_up.maps())
    rows[:count] = [replace(one, image_etag="another") for one in rows[:count]]
    found = judge(rows)
    assert (found.verdict, found.changed) == (verdict, count)
    assert f"{count} of 240 images have changed and are excluded" in found.reasons


@pytest.mark.parametrize(
    ("code", "verdict"), [("image_not_found", "set_changed"), ("unknown_target", "failed")]
)
def test_images_that_are_gone_and_those_that_fail_are_told_apart(judge, new, code, verdict):
    maps = [None if n < 3 else one for n, one in enumerate(made_up.maps())]
    rows = made_up.rows(new, maps)
    rows[:3] = [replace(one, error_code=code) for one in rows[:3]]
    found = judge(rows)
    assert (found.verdict, found.missing + found.failed) == (verdict, 3)
    assert code in found.reasons[0]


def test_missing_results_and_a_baseline_that_is_gone_never_pass(judge, storage, new, review):
    rows = made_up.rows(new, made_up.maps())
    assert judge(rows).verdict == "pass"
    record = read_record(storage, run_of(review, new).job_id)
    storage.delete([keys.results_part(record, record.chunk(1, 0))])
    found = made_up.judged(storage, review, run_of(review, new))
    assert (found.verdict, found.reasons) == ("failed", ("the results of 80 images are missing",))
    storage.delete([keys.job(review.baseline.job_id)])
    found = judge(rows)
    assert found.verdict == "failed"
    assert review.baseline.job_id in found.reasons[0]


def test_drift_from_the_first_baseline_alarms_though_each_step_is_small(
    storage, judge, review, new
):
    second = made_up.version(storage, review.name, "1b")
    step = made_up.elsewhere(made_up.maps())
    record = made_up.baseline_job(
        storage, f"review-{review.name}-step", second, made_up.rows(second, step)
    )
    moved = replace(review, baseline=Accepted(model=second, job_id=record.job_id))
    found = judge(made_up.rows(new, made_up.noisy(step)), moved)
    assert found.verdict == "moved"
    assert found.movement.high < 0.3 < found.drift.low
    assert found.reasons[0].startswith("since the first baseline: maps moved by")
    assert storage.exists(found.first_page)


def tagged(found, number=2):
    """Return maps of which those of a class peak in a corner."""
    corner = made_up.blob(np.random.default_rng(2), made_up.GRID, at=(0, 0))
    return [
        np.maximum(corner, 0) if at % made_up.CLASSES == number else one
        for at, one in enumerate(found)
    ]


def test_a_place_that_was_accepted_is_new_no_more_and_another_one_is(
    storage, judge, review, new, runs
):
    sources = tagged(made_up.maps())
    found = judge(made_up.rows(new, sources))
    assert found.verdict == "moved"
    assert found.places == (SeenPlace(class_name="class 2", grid=(7, 7), cell=(0, 0)),)
    assert any("40 of 40 maps of class class 2 peak in row 1" in one for one in found.reasons)
    accepted = accept(review, found)
    assert accepted.baseline == Accepted(model=new, job_id=found.job_id)
    assert (accepted.accepted, accepted.accepted_places) == (0, found.places)
    third = made_up.version(storage, review.name, 3)
    loose = replace(accepted, limits=ReviewLimits(classes=1))

    def verdict(made):
        run = runs.start(loose, third)
        made_up.write_results(storage, run, made_up.parts(made_up.rows(third, made)))
        return made_up.judged(storage, loose, run)

    again = verdict(made_up.noisy(sources))
    assert (again.verdict, again.places, again.first_page is None) == ("pass", (), False)
    more = verdict(tagged(sources, 3))
    assert (more.verdict, [one.class_name for one in more.places]) == ("moved", ["class 3"])


def test_the_limit_grows_with_what_was_accepted(review):
    assert limit_of(review) == 0.3
    assert limit_of(replace(review, accepted=0.4)) == pytest.approx(0.6)
    fixed = replace(review.limits, movement=0.1)
    assert limit_of(replace(review, accepted=0.4, limits=fixed)) == 0.1


def test_a_changed_set_and_a_forged_review_are_named(storage, runs, review, new):
    part = review_keys.set_part(review.name, 1)
    storage.put(part, storage.get(review_keys.set_part(review.name, 0)).data, "x/y")
    with pytest.raises(ObjectDamaged, match="isn't what was frozen"):
        runs.start(review, new)
    store = ReviewStore(storage)
    with pytest.raises(ObjectChanged, match="somebody else has changed"):
        store.append(replace(review, paused=True), "paused", made_up.AUTHOR, at=1e9, after=None)
    storage.put(review_keys.change(review.name, 2), b"{}", "application/json")
    with pytest.raises(InvalidRequest, match="changes/00002"):
        store.review(review.name)
    with pytest.raises(InvalidRequest, match="changes/00002"):
        protected_jobs(storage)
    storage.delete([review_keys.change(review.name, 2)])


def test_jobs_that_reviews_need_are_protected(storage, runs, review, new):
    run = runs.start(review, new)
    found = protected_jobs(storage)
    assert found[review.baseline.job_id] == found[run.job_id] == f"review {review.name}"
    made_up.change(storage, review, "deleted")
    assert run.job_id not in protected_jobs(storage)


@pytest.fixture
def start(own, storage, redis, review):
    """Give a function that starts the threads of a worker that knows this review alone."""
    with ExitStack() as stack:

        def start():
            ledger = stack.enter_context(closing(Ledger(own)))
            board = stack.enter_context(closing(ReviewBoard(own)))
            plan = ReviewPlan.of(storage, ledger, board)
            plan.names = lambda: [review.name]
            made = ScheduleRunner(
                own,
                plan,
                shutdown=Shutdown(8),
                reach=lambda _point: None,
                poll_seconds=0.02,
                look_seconds=0.1,
            )
            stack.callback(made.close)

        yield start


def test_two_workers_and_one_due_time_make_one_job(storage, review, new, start, sent, redis):
    asked = made_up.change(storage, review, schedule=YEARLY)
    for _ in range(2):
        start()
    store = ReviewStore(storage)
    wait_until(lambda: store.state(asked).last > 1e9, 20)
    assert sorted(ref.part for ref in sent()) == [0, 1, 2]
    assert {ref.job_id for ref in sent()} == {run_of(asked, new).job_id}
    jobs = [key for key in storage.folders("jobs/") if f"review-{review.name}-" in key]
    assert len(jobs) == 2  # the baseline's, and the run's


def test_twenty_reviews_due_at_once_make_a_job_each_on_two_workers(
    storage, name, old, new, start, redis
):
    found = made_up.maps()
    asked = [
        made_up.review(storage, f"{name}-{number}", old, found, schedule=YEARLY)
        for number in range(20)
    ]
    redis.zadd(SCHEDULES, {one.name: 1.0 for one in asked})
    for _ in range(2):
        start()
    store = ReviewStore(storage)
    wait_until(lambda: all(store.state(one).last > 1e9 for one in asked), 60)
    wanted = {one.name: run_of(one, new).job_id for one in asked}
    assert {one.name: store.state(one).run.job_id for one in asked} == wanted
    assert sorted(redis.zrange(JOBS, 0, -1)) == sorted(wanted.values())
    own = [key for key in storage.folders("jobs/") if f"jobs/review-{name}-" in key]
    assert len(own) == 2 * 20 + 1  # the baselines' too, and that of the fixture's review
    wait_until(lambda: redis.zrangebyscore(SCHEDULES, 0, redis.time()[0]) == [], 30)


def test_after_redis_is_emptied_the_schedule_and_the_run_come_back(
    storage, review, new, start, sent, redis
):
    asked = made_up.change(storage, review, schedule=YEARLY)
    start()
    wait_until(lambda: ReviewStore(storage).state(asked).last > 1e9, 20)
    sent().clear()
    last = ReviewStore(storage).state(asked)
    ReviewStore(storage).note(asked, last=last.last - 3600)  # since then it's been an hour
    redis.flushdb()
    wait_until(lambda: len(sent()) == 3, 20)
    wait_until(lambda: redis.zscore(SCHEDULES, review.name) is not None, 20)
    assert {ref.job_id for ref in sent()} == {last.run.job_id}


def test_a_version_that_is_added_is_found_though_nobody_told(storage, review, new, start, sent):
    made_up.change(storage, review, on_register=True)
    start()
    wait_until(lambda: len(sent()) == 3, 20)


def test_what_is_paused_does_not_run(storage, review, new, start, sent, redis):
    asked = made_up.change(storage, review, schedule=YEARLY, paused=True)
    redis.zadd(SCHEDULES, {review.name: 1})
    start()
    wait_until(lambda: redis.zscore(SCHEDULES, review.name) is None, 20)
    assert not sent()
    assert ReviewStore(storage).state(asked).run is None


def test_a_review_that_nobody_runs_is_late(own, storage, review, redis):
    with closing(ReviewBoard(own)) as board:
        redis.zadd(SCHEDULES, {review.name: board.read().now - 400, "fresh": board.read().now})
        board.tell(review, None)
        standing = board.read()
    assert list(standing.late(300)) == [review.name]
    assert [(one.name, one.at) for one in standing.reviewed] == [(review.name, 1e9)]


def test_health_notes_a_review_that_nobody_runs(own, environ, redis):
    with closing(ReviewBoard(own)) as board:
        redis.zadd(SCHEDULES, {"late-look": board.read().now - 400})
    done = camfleet("health", "--json", environ={**environ, **own.to_environ()})
    (note,) = json.loads(done.stdout)["notes"]
    assert note.startswith("review late-look has been due for 6")
    assert note.endswith(", and no worker has taken it")
