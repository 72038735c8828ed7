"""Processes that die at each step of what follows a job's end: one report, whole, and one callback.

What dies here is the thread of a worker in a process of its own, which starts at once; the last
tests kill and stop a whole worker.
"""

import itertools
import signal
from contextlib import closing

import numpy as np
import pytest
from msgspec.structs import replace as changed

from camfleet.audit import files
from camfleet.audit.reporting import Reporter
from camfleet.broker.keys import FOLLOW_UPS
from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.follow_ups import FollowUps
from camfleet.errors import ServiceError
from camfleet.jobs import recovery
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage
from helpers import rows
from helpers.databases import emptied_redis, on_database
from helpers.fleet import CHUNK, MODEL
from helpers.processes import START
from helpers.waiting import wait_until
from helpers.worker_threads import SECRET, calling_back, count_chunks, processes

POINTS = (
    "follow-up-taken",
    "report-made",
    "report-file",
    "report-written",
    "follow-up-recorded",
    "follow-up-done",
)
# A worker's thread without its models: it makes no pictures.
THREAD = """
import os, threading
from camfleet.broker.ledger import Ledger
from camfleet.contract.messages import ErrorInfo
from camfleet.faultpoints import FaultPoints
from camfleet.jobstore.s3_roots import ReportRoots
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.follow_ups.report import ReportMaker
from camfleet_worker.follow_ups.runner import FollowUpRunner
from camfleet_worker.process.shutdown import Shutdown

settings = Settings.from_environ(os.environ)
storage, reach = Storage(settings), FaultPoints(settings.fault_dir).reach
gone = ErrorInfo(code="image_not_found", message="made up")
report = ReportMaker(
    storage, lambda request: (gone,) * len(request.images), ReportRoots(settings.bucket, ()), reach
)
runner = FollowUpRunner(
    settings, storage=storage, ledger=Ledger(settings), makers={"report": report.make},
    shutdown=Shutdown(8), reach=reach, poll_seconds=0.02, lease_seconds=0.5,
)
threading.Event().wait()
"""
numbers = itertools.count()


@pytest.fixture(scope="module")
def quick(settings):
    return on_database(settings, 10, webhook_secret=SECRET, allow_private_hosts=True)


@pytest.fixture
def redis(quick):
    with emptied_redis(quick) as made:
        yield made


@pytest.fixture
def storage(quick):
    with closing(Storage(quick)) as made:
        yield made


@pytest.fixture
def ledger(quick, redis):
    with closing(Ledger(quick)) as made:
        yield made


@pytest.fixture
def receiver(quick, ledger, storage):
    with calling_back(quick, storage, ledger) as made:
        yield made


@pytest.fixture
def start(quick, environ, tmp_path):
    """Give a function that starts a thread's process, armed at some points."""
    with processes(THREAD, settings=quick, environ=environ, folder=tmp_path) as start:
        yield start


@pytest.fixture
def job(ledger, storage, receiver):
    """Submit a job that asks for a report and a callback, and count its chunks."""
    rng = np.random.default_rng(0)
    parts = [[rows.row(n, rows.blob(rng, (7, 7)), n % 5) for n in range(20)] for _ in range(2)]
    made = rows.job(storage, f"follows-{next(numbers)}", parts, 20)
    follow_ups = FollowUps(report=True)
    record = sealed(changed(made, follow_ups=follow_ups, callback=receiver.url()))
    storage.put(keys.job(record.job_id), encode_json(record), "application/json")
    ledger.open(record)
    count_chunks(record, storage, ledger)
    return record


def check(record, storage, ledger, redis):
    """Prove that the report is there, whole, and nothing left to do."""
    wait_until(lambda: ledger.progress(record.job_id).followed, START)
    progress = ledger.progress(record.job_id)
    assert progress.report.state == "done", progress.report
    expected = files.as_json(Reporter(storage, lambda _request: ()).make(record))
    assert storage.get(f"{keys.report_folder(record.job_id)}report.json").data == expected
    assert storage.get(progress.report_uri).data.rstrip().endswith(b"</html>")
    assert storage.exists(keys.follow_ups(record.job_id))
    wait_until(lambda: redis.zcard(FOLLOW_UPS) == 0, 10)


@pytest.mark.parametrize("point", POINTS)
def test_what_a_killed_process_was_doing_another_one_does(
    point, start, job, storage, ledger, redis, receiver
):
    victim = start(point)
    victim.hold(point)
    before = len(receiver.calls)
    assert before == 0 or point == "follow-up-done"
    victim.kill()
    start()
    check(job, storage, ledger, redis)
    wait_until(lambda: receiver.calls, 10)
    wait_until(lambda: (ledger.progress(job.job_id).callback or "").startswith("sent"), 10)
    (call,) = receiver.calls
    assert call.verified(SECRET)["data"]["report"]["state"] == "done"


@pytest.mark.parametrize("point", POINTS)
def test_a_resume_into_an_empty_redis_has_it_done_unless_it_is(
    point, start, job, storage, ledger, redis, receiver
):
    victim = start(point)
    victim.hold(point)
    victim.kill()
    redis.flushdb()
    recovery.rebuild(job, storage, ledger)
    recorded = point in ("follow-up-recorded", "follow-up-done")
    assert redis.zcard(FOLLOW_UPS) == (0 if recorded else 1)
    if not recorded:
        start()
    check(job, storage, ledger, redis)
    wait_until(lambda: receiver.calls, 10)
    assert receiver.calls[-1].message["data"]["report"]["state"] == "done"


def test_a_process_that_was_only_paused_does_no_harm(start, job, storage, ledger, redis, receiver):
    paused = start("report-made")
    paused.hold("report-made")
    paused.send(signal.SIGSTOP)
    start()
    check(job, storage, ledger, redis)
    paused.points.release()
    paused.send(signal.SIGCONT)
    paused.says("it runs again, or another worker does this")
    check(job, storage, ledger, redis)
    assert len(receiver.calls) == 1


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_workers_report_is_written_by_another_worker(fleet, own, number):
    with fleet.beside(5, CAMFLEET_LEASE_SECONDS="2") as few, few.worker("report-made") as victim:
        victim.ready()
        job = few.client.submit(few.photographs(2 * CHUNK), models=[MODEL], report=True)
        victim.hold("report-made")
        with few.worker() as other:
            other.ready()
            victim.send(number)
            victim.points.release()
            victim.ended()
            wait_until(lambda: job.status().followed, 60)
        assert job.status().report.state == "done"
        assert job.report().models[0].accounting.images == 2 * CHUNK
        assert job.verify().passed


@pytest.mark.faults
@pytest.mark.parametrize("server", ["valkey", "seaweedfs"])
@pytest.mark.parametrize("point", ["follow-up-taken", "report-made", "report-written"])
def test_a_report_outlives_the_crash_of_a_server(fleet, own, server, point):
    with fleet.beside(5, CAMFLEET_LEASE_SECONDS="2") as few, few.worker(point) as worker:
        worker.ready()
        job = few.client.submit(few.photographs(2 * CHUNK), models=[MODEL], report=True)
        worker.hold(point)
        said = len(worker.said())
        own.kill(server)
        worker.points.release()
        worker.says(
            "no Redis at" if server == "valkey" else "no answer from the object store", said
        )
        own.start_again(server)
        wait_until(lambda: _is_followed(job), 120, pause=0.2)
        assert job.status().report.state == "done", job.status().report
        assert job.report().models[0].accounting.images == 2 * CHUNK


def _is_followed(job):
    try:
        return job.status().followed
    except ServiceError:
        return False
