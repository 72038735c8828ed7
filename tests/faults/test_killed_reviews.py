"""Workers that die at each step of a review that is due: its run is one job, whole and sent."""

import itertools
from contextlib import closing

import pytest

from camfleet.broker.ledger import Ledger
from camfleet.contract.schedules import Schedule
from camfleet.jobstore.records import read_record
from camfleet.registry.names import Names
from camfleet.reviews.runs import run_of
from camfleet.reviews.store import ReviewStore
from camfleet.storage.storage import Storage
from helpers import reviews as made_up
from helpers.databases import emptied_redis, on_database
from helpers.processes import START
from helpers.producers import drain
from helpers.waiting import wait_until
from helpers.worker_threads import processes

POINTS = (
    "schedule-begun",
    "review-manifest",
    "review-recorded",
    "review-opened",
    "review-sent",
    "review-started",
    "schedule-done",
)
# A worker's threads, for one review.
THREADS = """
import os, sys, threading
from camfleet.broker.ledger import Ledger
from camfleet.broker.reviews import ReviewBoard
from camfleet.faultpoints import FaultPoints
from camfleet.registry.names import Names
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.reviews import ReviewPlan
from camfleet_worker.schedules import ScheduleRunner

settings, name = Settings.from_environ(os.environ), sys.argv[1]
plan = ReviewPlan.of(
    Storage(settings), Ledger(settings), ReviewBoard(settings), settings.fault_dir
)
plan.names = lambda: [name]
runner = ScheduleRunner(
    settings, plan, shutdown=Shutdown(8), reach=FaultPoints(settings.fault_dir).reach,
    poll_seconds=0.02, lease_seconds=0.5, look_seconds=0.1,
)
threading.Event().wait()
"""
numbers = itertools.count()


@pytest.fixture(scope="module")
def quick(settings):
    return on_database(settings, 8)


@pytest.fixture
def redis(quick):
    with emptied_redis(quick) as made:
        yield made


@pytest.fixture
def storage(quick):
    with closing(Storage(quick)) as made:
        yield made


@pytest.fixture
def name():
    return f"killed-review-{next(numbers)}"


@pytest.fixture
def review(storage, name):
    """Make a review that was due at New Year."""
    old = made_up.version(storage, name, 1)
    made_up.version(storage, name, 2)
    return made_up.review(storage, name, old, made_up.maps(), schedule=Schedule(cron="0 0 1 1 *"))


@pytest.fixture
def start(quick, environ, tmp_path, name):
    """Give a function that starts a process, armed at some points."""
    with processes(THREADS, name, settings=quick, environ=environ, folder=tmp_path) as start:
        yield start


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("point", POINTS)
def test_what_a_killed_worker_had_begun_is_one_job_in_the_end(
    point, emptied, start, redis, storage, quick, review
):
    store = ReviewStore(storage)
    victim = start(point)
    victim.hold(point)
    victim.kill()
    if emptied:
        redis.flushdb()
    else:  # its claim on the job's id runs out by itself, after a minute
        redis.delete(*redis.keys("camfleet:claim:*") or ["none"])
    start()
    wait_until(lambda: store.state(review).last > made_up.CREATED, START)
    with closing(Ledger(quick)) as ledger:
        run = run_of(review, Names(storage).find(f"{review.name}@2"))
        wait_until(lambda: ledger.is_published(run.job_id), 20)
        progress = ledger.progress(run.job_id)
    assert (progress.total, progress.chunks) == (made_up.COUNT, 3)
    assert {ref.part for ref in drain(redis, 2)} == {0, 1, 2}
    assert read_record(storage, run.job_id).items == made_up.COUNT
    jobs = [key for key in storage.folders("jobs/") if f"review-{review.name}-" in key]
    assert len(jobs) == 2  # the baseline's, and the run's
