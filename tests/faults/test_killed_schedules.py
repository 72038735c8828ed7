"""Processes that die at each step of what is due by a schedule: each time is done, and once."""

import itertools
import json
from contextlib import closing

import pytest

from camfleet.broker.keys import SCHEDULES_IN_WORK
from camfleet.broker.schedules_due import SchedulesDue
from camfleet.contract.schedules import Schedule
from camfleet.storage.storage import Storage
from helpers.databases import emptied_redis, on_database
from helpers.processes import START
from helpers.waiting import wait_until
from helpers.worker_threads import processes

POINTS = ("schedule-taken", "schedule-begun", "schedule-done", "schedule-settled")
YEARLY = Schedule(cron="0 0 1 1 *")
# A worker's threads with a plan that lies in the bucket: what is done, is an object.
THREADS = """
import json, os, sys, threading
from camfleet.contract.schedules import Schedule
from camfleet.errors import ObjectMissing
from camfleet.faultpoints import FaultPoints
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.schedules import Scheduled, ScheduleRunner

settings, prefix = Settings.from_environ(os.environ), sys.argv[1]
storage = Storage(settings)

class Plan:
    def names(self):
        return ["yearly"]

    def load(self, name):
        said = json.loads(storage.get(f"{prefix}/{name}.json").data)
        return Scheduled(Schedule(cron=said["cron"]), said["last"])

    def do(self, name, moment, check):
        storage.put(f"{prefix}/done/{moment:.0f}-{os.getpid()}", b"", "text/plain")
        said = json.loads(storage.get(f"{prefix}/{name}.json").data)
        text = json.dumps({**said, "last": moment}).encode()
        storage.put(f"{prefix}/{name}.json", text, "application/json")

runner = ScheduleRunner(
    settings, Plan(), shutdown=Shutdown(8), reach=FaultPoints(settings.fault_dir).reach,
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
def schedules(quick, redis):
    with closing(SchedulesDue(quick)) as made:
        yield made


@pytest.fixture
def prefix(quick, schedules):
    """Write a schedule that was due at New Year, and enter it; give where it lies."""
    made = f"killed-schedules/{next(numbers)}"
    with closing(Storage(quick)) as storage:
        said = {"cron": YEARLY.cron, "last": YEARLY.latest(0, schedules.now()) - 1}
        storage.put(f"{made}/yearly.json", json.dumps(said).encode(), "application/json")
    schedules.enter("yearly", said["last"] + 1)
    return made


@pytest.fixture
def start(quick, environ, tmp_path, prefix):
    """Give a function that starts a process, armed at some points."""
    with processes(THREADS, prefix, settings=quick, environ=environ, folder=tmp_path) as start:
        yield start


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("point", POINTS)
def test_what_a_killed_process_had_begun_another_one_ends(
    point, emptied, start, schedules, redis, quick, prefix
):
    due, following = YEARLY.latest(0, schedules.now()), YEARLY.next_after(schedules.now())
    victim = start(point)
    victim.hold(point)
    victim.kill()
    if emptied:
        redis.flushdb()
    start()
    wait_until(lambda: schedules.times().get("yearly") == following, START)
    assert not redis.exists(SCHEDULES_IN_WORK)
    with closing(Storage(quick)) as storage:
        done = [key.rpartition("/")[2] for key in storage.keys(f"{prefix}/done/")]
    assert [name.split("-")[0] for name in done] == [f"{due:.0f}"]
