"""What lies in a real Redis after a fleet's day is what the table of keys says."""

import itertools
from contextlib import ExitStack, closing
from dataclasses import replace
from fnmatch import fnmatch

import pytest
from msgspec.structs import replace as changed

from camfleet.broker import keys
from camfleet.broker.answers import AnswerOwners
from camfleet.broker.app import close_app, make_app, send_chunk
from camfleet.broker.backlog import BacklogReader
from camfleet.broker.callbacks_due import Callbacks
from camfleet.broker.errands_due import ErrandsDue
from camfleet.broker.events import Events
from camfleet.broker.heartbeats import Heartbeats
from camfleet.broker.history import History
from camfleet.broker.keys import Expiry
from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.broker.quotas import Quotas, Reserved
from camfleet.broker.redis import redis_client
from camfleet.broker.requests import HeldRequest, Requests
from camfleet.broker.reviews import ReviewBoard, Reviewed
from camfleet.broker.schedules_due import SchedulesDue
from camfleet.broker.sessions import Sessions
from camfleet.contract.follow_ups import FollowUps
from camfleet.contract.lanes import Lane
from camfleet.contract.messages import BULK_QUEUE
from camfleet.contract.results import Status
from camfleet.jobstore.totals import Image, Totals
from helpers.databases import on_database
from helpers.records import job_record
from helpers.users import PREFIX, a_server_with_users
from helpers.worker_states import worker_state

# Celery stores results by a command that redis-py thinks old.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

DATABASE = "13"
FAILED = Totals.of([Image("a", Status.FAILED, "image_not_found")])
WORKER = worker_state(precisions=("bf16",))


@pytest.fixture(scope="module", params=["as it is", "with a prefix", "as a user"])
def own(settings, request, tmp_path_factory):
    """Give settings of all keys as they are, with a prefix, and of a user who has only those."""
    if request.param != "as a user":
        prefix = PREFIX if request.param == "with a prefix" else ""
        yield on_database(settings, DATABASE, key_prefix=prefix)
        return
    with a_server_with_users(tmp_path_factory.mktemp("users")) as port:
        url = f"redis://camfleet:a-password@127.0.0.1:{port}/0"
        yield replace(settings, redis_url=url, key_prefix=PREFIX)


@pytest.fixture(scope="module")
def redis(own):
    """Give a client that may do everything, to keys as they are, and sees those that have expired.

    Nothing is removed meanwhile: some keys live for two seconds, and a day may take longer.
    """
    url = own.redis_url.replace("camfleet:a-password", ":a-password")
    with (
        closing(redis_client(replace(own, key_prefix="", redis_url=url))) as made,
        made.client() as one_connection,
    ):
        one_connection.flushdb()
        one_connection.config_set("import-mode", "yes")
        one_connection.execute_command("CLIENT IMPORT-SOURCE", "ON")
        yield one_connection
        one_connection.config_set("import-mode", "no")


@pytest.fixture(scope="module")
def day(own, redis):
    """Run a job, end and retry others, and do what workers do beside; leave it all in Redis."""
    with ExitStack() as stack:
        ledger, leases, callbacks, heartbeats, requests = [
            stack.enter_context(closing(kind(own)))
            for kind in (Ledger, Leases, Callbacks, Heartbeats, Requests)
        ]
        app = make_app(own)
        stack.callback(close_app, app)
        ledger.ping()
        stack.enter_context(ledger.claim("running"))
        schedules = stack.enter_context(closing(SchedulesDue(own)))
        schedules.enter("weekly", 1)
        schedules.begin("weekly", 1, 0)
        assert schedules.is_planner()
        schedules.note_clock()
        stack.enter_context(closing(ReviewBoard(own))).note(Reviewed(name="weekly", at=1.5))
        followed = changed(record("followed"), follow_ups=FollowUps(report=True))
        ledger.open(followed)
        for chunk in range(2):
            ledger.commit("followed", chunk, FAILED)
        for job_id in ("running", "complete", "cancelled", "retried"):
            ledger.open(record(job_id))
            ledger.mark_published(job_id)
            run(ledger, leases, job_id, 0)
        run(ledger, leases, "complete", 1)
        run(ledger, leases, "retried", 1)
        ledger.reopen(record("retried"), 1, [1])
        leases.take(record("retried").chunk(1, 1))
        ledger.note_work("retried", 1, 1)
        ledger.cancel("cancelled")
        callbacks.count_failure(callbacks.ending(callbacks.take().name))
        leases.overdue()
        assert leases.is_sweeper()
        history = stack.enter_context(closing(History(own)))
        assert history.lost_since() is None
        assert [history.take_turn(60), history.takes_turn_to_sign(60)] == [True, True]
        stack.enter_context(closing(AnswerOwners(own))).note("r", "ann")
        stack.enter_context(closing(ErrandsDue(own))).enter("complete", "0" * 32)
        stack.enter_context(closing(Sessions(own))).open("a-secret", "a-token", 60)
        use_quotas(stack.enter_context(closing(Quotas(own))))
        requests.hold(HeldRequest(id="r", task="t", request={}, queue="q", attempt=1))
        assert requests.overdue() == []
        heartbeats.publish(WORKER, "celery@a:1:f00d", takes_first=True)
        assert [worker.name for worker in heartbeats.workers()] == [WORKER.name]
        assert [progress.job_id for progress in ledger.progress_of_all()]
        assert followed.job_id in ledger.jobs()
        events = stack.enter_context(closing(Events(own)))
        assert events.wait({"complete": events.latest("none")}, 0.1) == ["complete"]
        assert stack.enter_context(closing(BacklogReader(own))).read().leases
        pass_messages(app, stack.enter_context(app.connection_for_read()))
        found = {name: (redis.type(name), redis.ttl(name)) for name in redis.scan_iter("*")}
        assert all(name.startswith(own.key_prefix) for name in found), found
        yield {name.removeprefix(own.key_prefix): state for name, state in found.items()}


def record(job_id):
    return job_record(job_id, callback="http://127.0.0.1/")


def use_quotas(quotas):
    assert quotas.ask("a-token", 1)
    assert quotas.reserve("a-token", "new", 1, (1, 1), once=True) == Reserved(images=1)
    assert quotas.upload("a-token", 1, 1) == 0


def run(ledger, leases, job_id, chunk):
    """Do what a worker does with a chunk, but leave its lease, and a note of another chunk."""
    ref = record(job_id).chunk(chunk, 0)
    assert leases.take(ref)
    leases.mark(ref, 0)
    ledger.begin(job_id)
    for number in {chunk, 1}:
        ledger.note_work(job_id, number, 1)
    ledger.commit(job_id, chunk, FAILED)


def pass_messages(app, connection):
    """Send two chunks, hold the message of one, answer a request, and ask who is there."""
    for chunk in range(2):
        send_chunk(app, record("running").chunk(chunk, 0), Lane(1))
    app.backend.store_result("a-request", {}, "SUCCESS")
    app.control.ping(timeout=0.1)
    assert connection.channel().basic_get(BULK_QUEUE)


def test_every_key_has_one_row_and_is_of_its_type(day):
    for name, (kind, _) in day.items():
        assert [row.type for row in rows(name)] == [kind], name


def test_keys_expire_as_the_table_says(day):
    for name, (_, ttl) in day.items():
        (row,) = rows(name)
        ended = any(f"{{{job}}}" in name for job in ("complete", "cancelled", "followed"))
        expires = row.expiry is Expiry.ALWAYS or (row.expiry is Expiry.AT_END and ended)
        assert (ttl >= 0) is expires, name  # 0: it has expired by now


def test_every_key_of_ours_was_seen(day):
    """Else the two tests above say nothing of it."""
    ours = [row.pattern for row in keys.TABLE if row.owner not in ("kombu", "celery")]
    assert [pattern for pattern in ours if not any(fnmatch(name, pattern) for name in day)] == []
    jobs = itertools.product(("running", "complete", "cancelled", "retried"), ("", ":done"))
    assert {f"camfleet:job:{{{job}}}{part}" for job, part in jobs} <= day.keys()
    assert {BULK_QUEUE, "unacked", "celery-task-meta-a-request"} <= day.keys()


def test_nothing_was_refused(day, redis):
    assert [entry for entry in redis.acl_log() if entry["reason"] != "auth"] == []


def rows(name):
    return [row for row in keys.TABLE if fnmatch(name, row.pattern)]
