"""What follows a job's end: one report, whole, then one callback, whoever dies or forgets."""

import html
import itertools
import json
from contextlib import ExitStack, closing

import numpy as np
import pytest
from msgspec.structs import replace as changed

from camfleet.broker.keys import CALLBACKS, FOLLOW_UPS
from camfleet.broker.keys import job as key_of
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.follow_ups import FollowUp, FollowUps
from camfleet.contract.messages import ErrorInfo
from camfleet.errors import JobDamaged, ModelRefused, ObjectChanged, StorageUnavailable
from camfleet.jobs import recovery
from camfleet.jobstore import keys
from camfleet.jobstore.results_parts import Outcomes
from camfleet.jobstore.s3_roots import ReportRoots
from camfleet.jobstore.totals import Totals
from camfleet.storage.storage import Storage
from camfleet_worker.follow_ups.report import ReportMaker
from camfleet_worker.follow_ups.runner import ATTEMPTS
from camfleet_worker.process.shutdown import Shutdown
from helpers import rows
from helpers.databases import on_database
from helpers.waiting import wait_until
from helpers.worker_threads import (
    SECRET,
    calling_back,
    follow_up_thread,
)

FILES = {"index.html", "report.json", "classes.parquet", "suspicious.parquet", "worst.parquet"}
NO_PICTURES = ErrorInfo(code="image_not_found", message="made up")
REPORTED = FollowUps(report=True)
numbers = itertools.count()


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 14, webhook_secret=SECRET, allow_private_hosts=True)


@pytest.fixture
def receiver(own, ledger, storage):
    """Give a receiver, and a sender that sends it callbacks."""
    with calling_back(own, storage, ledger) as made:
        yield made


@pytest.fixture
def start(own, ledger, storage):
    """Give a function that starts a thread as every worker has it; it makes no pictures."""
    with ExitStack() as stack:

        def start(
            make=None,
            *,
            lease=60,
            reach=lambda _point: None,
            shutdown=None,
            roots=(),
            study=None,
            is_busy=bool,
            on_end=lambda *_end: None,
            storage=storage,
        ):
            def ask(request):
                return (NO_PICTURES,) * len(request.images)

            report = ReportMaker(storage, ask, ReportRoots(own.bucket, roots), reach).make
            runner = follow_up_thread(
                own,
                storage,
                ledger,
                {"report": make(report) if make else report, "faithfulness": study},
                shutdown=shutdown or Shutdown(8),
                reach=reach,
                is_busy=is_busy,
                on_end=on_end,
                lease_seconds=lease,
            )
            return stack.enter_context(closing(runner))

        yield start


@pytest.fixture
def job(storage, ledger):
    """Give a function that writes a job of two parts and their results, and counts them."""

    def job(url=None, *, failed=False, follow_ups=REPORTED):
        rng = np.random.default_rng(0)
        parts = [
            [rows.row(n, None if failed else rows.blob(rng, (7, 7)), n % 5) for n in range(20)]
            for _ in range(2)
        ]
        made = rows.job(storage, f"followed-{next(numbers)}", parts, 20)
        record = sealed(changed(made, follow_ups=follow_ups, callback=url))
        storage.put(keys.job(record.job_id), encode_json(record), "application/json")
        ledger.open(record)
        return record

    return job


def run(ledger, storage, record, retry=0):
    """Count all chunks, as workers do that have stored them."""
    for number in range(record.chunks):
        ref = record.chunk(number, retry)
        found = Outcomes(storage).find(record, ref)
        held = Totals.of(found.images) if not retry else Totals()
        ledger.commit(record.job_id, number, held, retry=retry)


def followed(ledger, record):
    """Return how the report went, as soon as that is settled."""
    wait_until(lambda: ledger.progress(record.job_id).followed, 30)
    return ledger.progress(record.job_id).report


def written(storage, record):
    folder = keys.report_folder(record.job_id)
    return {key.removeprefix(folder): storage.get(key).data for key in storage.keys(folder)}


def test_a_report_follows_the_end_and_the_callback_says_where_it_lies(
    start, job, ledger, storage, receiver, redis
):
    record = job(receiver.url())
    assert ledger.progress(record.job_id).report == FollowUp(state="waiting")
    run(ledger, storage, record)
    assert redis.zcard(CALLBACKS) == 0, "it comes after the report"
    start()
    uri = storage.uri(f"jobs/{record.job_id}/report/index.html")
    found = followed(ledger, record)
    assert (found.state, found.uri) == ("done", uri)
    assert found.note in html.unescape(written(storage, record)["index.html"].decode())
    assert ledger.progress(record.job_id).report_uri == uri
    assert written(storage, record).keys() == FILES
    wait_until(lambda: receiver.calls, 10)
    data = receiver.calls[0].verified(SECRET)["data"]
    assert data["report"] == {"state": "done", "uri": uri, "note": found.note}
    assert (data["ok"], data["state"]) == (40, "complete")
    assert redis.zcard(FOLLOW_UPS) == 0


def test_a_job_that_asks_for_none_gets_none_and_its_record_is_as_ever(
    start, job, ledger, storage, receiver, redis
):
    record = job(receiver.url(), follow_ups=None)
    assert b"follow_ups" not in storage.get(keys.job(record.job_id)).data
    run(ledger, storage, record)
    start()
    wait_until(lambda: receiver.calls, 10)
    assert "report" not in receiver.calls[0].message["data"]
    progress = ledger.progress(record.job_id)
    assert (progress.report, progress.followed) == (None, True)
    assert written(storage, record) == {}


def test_where_all_images_failed_the_report_is_one_of_failures(start, job, ledger, storage):
    record = job(failed=True)
    run(ledger, storage, record)
    start()
    found = followed(ledger, record)
    assert (found.state, found.note) == ("done", "Nothing can be said: all 40 images failed.")
    (model,) = json.loads(written(storage, record)["report.json"])["models"]
    assert model["accounting"]["failures"][0]["code"] == "image_not_found"


def test_a_cancelled_job_has_none_and_says_so(start, job, ledger, storage, receiver, redis):
    record = job(receiver.url())
    ledger.cancel(record.job_id)
    start()
    wait_until(lambda: receiver.calls, 10)
    none = {"state": "dropped", "uri": None, "note": "the job was cancelled"}
    assert receiver.calls[0].message["data"]["report"] == none
    assert ledger.progress(record.job_id).report.state == "dropped"
    assert redis.zcard(FOLLOW_UPS) == 0
    assert written(storage, record) == {}


def test_a_retry_has_it_written_anew_to_the_same_place(start, job, ledger, storage, receiver):
    record = job(receiver.url(), failed=True)
    run(ledger, storage, record)
    start()
    followed(ledger, record)
    before = written(storage, record)
    rng = np.random.default_rng(1)
    for ref in record.refs():
        data = [rows.row(n, rows.blob(rng, (7, 7)), n % 5) for n in range(20)]
        part = rows.parquet.write_results(data, 1, 2)
        storage.put(keys.results_part(record, ref), part, "application/octet-stream")
    ledger.reopen(record, 1, range(record.chunks))
    assert ledger.progress(record.job_id).report == FollowUp(state="waiting")
    run(ledger, storage, record, retry=1)
    assert "failed" not in followed(ledger, record).note
    after = written(storage, record)
    assert after.keys() == before.keys()
    assert after["index.html"] != before["index.html"]
    wait_until(lambda: len(receiver.calls) == 2, 10)
    assert len({call.id for call in receiver.calls}) == 2


def test_many_workers_write_each_report_once(start, job, ledger, storage, receiver):
    made = []

    def counting(make):
        def count(record, check):
            made.append(record.job_id)
            return make(record, check)

        return count

    for _ in range(3):
        start(counting)
    records = [job(receiver.url()) for _ in range(6)]
    for record in records:
        run(ledger, storage, record)
    for record in records:
        assert followed(ledger, record).state == "done"
    assert sorted(made) == sorted(record.job_id for record in records)
    wait_until(lambda: len(receiver.calls) == len(records), 20)
    assert len({call.id for call in receiver.calls}) == len(records)


def test_a_lease_outlasts_a_report_that_takes_longer(start, job, ledger, storage):
    made = []

    def slow(make):
        def work(record, check):
            made.append(record.job_id)
            ends = len(made) and redis_time(ledger) + 1.5
            wait_until(lambda: check() or redis_time(ledger) > ends, 10)
            return make(record, check)

        return work

    record = job()
    run(ledger, storage, record)
    for _ in range(2):
        start(slow, lease=0.5)
    assert followed(ledger, record).state == "done"
    assert made == [record.job_id]


def redis_time(ledger):
    seconds, micros = ledger._redis.run("TIME")
    return int(seconds) + int(micros) / 1e6


def test_it_waits_while_the_worker_is_busy_but_not_for_ever(start, job, ledger, storage):
    asked = []

    def is_busy():
        asked.append(1)
        return True

    record = job()
    run(ledger, storage, record)
    start(is_busy=is_busy)
    assert followed(ledger, record).state == "done"
    assert len(asked) > 2 * record.chunks, "more than once for each step"


def test_what_fails_is_tried_again_and_then_given_up_with_the_reason(
    start, job, ledger, storage, receiver
):
    attempts = []

    def broken(_make):
        def work(record, _check):
            attempts.append(record.job_id)
            raise MemoryError("too many maps")

        return work

    record = job(receiver.url())
    run(ledger, storage, record)
    start(broken)
    found = followed(ledger, record)
    assert (found.state, len(attempts)) == ("failed", ATTEMPTS)
    assert found.note == f"given up after {ATTEMPTS} attempts: MemoryError: too many maps"
    wait_until(lambda: receiver.calls, 10)
    assert receiver.calls[0].message["data"]["report"]["state"] == "failed"


def test_workers_that_die_of_it_end_it_too(start, job, ledger, storage, redis):
    """Each attempt is counted before it begins: one that kills the process counts as well."""
    record = job()
    run(ledger, storage, record)
    redis.hset(key_of(record.job_id), "report_attempts", ATTEMPTS)
    start()
    found = followed(ledger, record)
    assert found.note == f"given up after {ATTEMPTS} attempts: the workers died with it"


def test_an_outage_is_no_attempt(start, job, ledger, storage, redis):
    attempts = []

    def unlucky(make):
        def work(record, check):
            attempts.append(record.job_id)
            if len(attempts) <= 2 * ATTEMPTS:
                raise StorageUnavailable("no answer from the object store")
            return make(record, check)

        return work

    record = job()
    run(ledger, storage, record)
    start(unlucky)
    assert followed(ledger, record).state == "done"
    assert redis.hget(key_of(record.job_id), "report_attempts") == "1"


def test_an_outage_after_the_report_is_no_attempt(start, job, ledger, storage, own, redis):
    """The document can't be written: the bucket is gone between the two."""
    record = job()
    run(ledger, storage, record)
    reached = []

    def reach(point):
        reached.append(point)
        if point == "report-written" and reached.count(point) <= 2 * ATTEMPTS:
            lost.put = unavailable
        elif point == "follow-up-taken":
            lost.put = put

    def unavailable(*_args):
        raise StorageUnavailable("no answer from the object store")

    with closing(Storage(own)) as lost:
        put = lost.put
        start(reach=reach, storage=lost)
        assert followed(ledger, record).state == "done"
    assert reached.count("report-written") == 2 * ATTEMPTS + 1
    assert redis.hget(key_of(record.job_id), "report_attempts") == "1"


def test_what_cannot_succeed_is_not_tried_again(start, job, ledger, storage):
    record = job()
    run(ledger, storage, record)
    part = next(storage.keys(keys.results(record.job_id)))
    storage.put(part, b"no Parquet", "application/octet-stream")
    start()
    found = followed(ledger, record)
    assert found.state == "failed"
    assert f"camfleet resume {record.job_id}" in found.note


@pytest.mark.parametrize(
    ("place", "roots", "reason"),
    [
        ("s3://elsewhere/reports", (), "add elsewhere or a prefix of it"),
        ("s3://elsewhere/reports", ("elsewhere/other",), "add elsewhere or a prefix"),
        ("s3://camfleet/jobs/another/report", ("camfleet",), "camfleet's own records"),
        ("s3://elsewhere/a/../b", ("elsewhere/a",), "has a part"),
    ],
)
def test_a_place_that_nobody_opened_is_refused(start, job, ledger, storage, place, roots, reason):
    record = job(follow_ups=FollowUps(report=True, place=place))
    run(ledger, storage, record)
    start(roots=roots)
    found = followed(ledger, record)
    assert found.state == "failed"
    assert reason in found.note


def test_a_report_lies_where_it_is_wanted_and_workers_may_write(start, job, ledger, storage):
    place = storage.uri("weekly/2026-48/")
    record = job(follow_ups=FollowUps(report=True, place=place))
    run(ledger, storage, record)
    start(roots=(f"{storage.bucket}/weekly",))
    assert followed(ledger, record).uri == f"{place}index.html"
    assert {key.rpartition("/")[2] for key in storage.keys("weekly/2026-48/")} == FILES


def test_an_emptied_redis_has_it_done_if_it_is_not_and_only_then(
    start, job, ledger, storage, redis, receiver
):
    record = job(receiver.url())
    run(ledger, storage, record)
    redis.flushdb()
    recovery.rebuild(record, storage, ledger)
    assert redis.zcard(FOLLOW_UPS) == 1
    runner = start()
    done = followed(ledger, record)
    runner.close()
    wait_until(lambda: receiver.calls, 10)
    redis.flushdb()
    recovery.rebuild(record, storage, ledger)
    assert redis.zcard(FOLLOW_UPS) == 0
    assert ledger.progress(record.job_id).report == done
    wait_until(lambda: len(receiver.calls) == 2, 10)
    assert receiver.calls[1].message["data"]["report"]["uri"] == done.uri


def test_results_that_are_made_again_have_it_written_again(start, job, ledger, storage, redis):
    record = job()
    run(ledger, storage, record)
    runner = start()
    followed(ledger, record)
    runner.close()
    part = next(storage.keys(keys.results(record.job_id)))
    data = storage.get(part).data
    storage.delete([part])
    (ref,) = recovery.rebuild(record, storage, ledger)
    assert not storage.exists(keys.follow_ups(record.job_id))
    storage.put(part, data, "application/octet-stream")
    redis.flushdb()  # before it's counted: nothing is missing any more
    assert recovery.rebuild(record, storage, ledger) == []
    assert redis.zcard(FOLLOW_UPS) == 1
    assert ref.part == 0


@pytest.mark.parametrize("text", [b"no JSON", b'{"schema_version": 2, "job_id": "x", "retry": 0}'])
def test_a_document_that_is_not_of_this_job_is_as_none(job, ledger, storage, redis, text):
    record = job()
    run(ledger, storage, record)
    storage.put(keys.follow_ups(record.job_id), text, "application/json")
    redis.flushdb()
    recovery.rebuild(record, storage, ledger)
    assert redis.zcard(FOLLOW_UPS) == 1


def test_a_worker_that_is_told_to_stop_gives_it_back(start, job, ledger, storage, redis):
    begun = []
    shutdown = Shutdown(0)

    def stopping(_make):
        def work(record, check):
            begun.append(record.job_id)
            shutdown.begin()
            wait_until(check, 10)

        return work

    record = job()
    run(ledger, storage, record)
    start(stopping, shutdown=shutdown)
    wait_until(lambda: ledger.progress(record.job_id).report.note == "its worker stopped", 10)
    start()
    assert followed(ledger, record).state == "done"
    assert begun == [record.job_id]
    assert redis.hget(key_of(record.job_id), "report_attempts") == "1"


def test_a_job_that_runs_again_meanwhile_stops_the_work_on_its_old_report(
    start, job, ledger, storage, redis
):
    seen = []

    def slow(make):
        def work(record, check):
            seen.append(record.job_id)
            if len(seen) == 1:
                ledger.reopen(record, 1, range(record.chunks))
                wait_until(check, 10)  # raises as soon as the lease is to be renewed
            return make(record, check)

        return work

    record = job()
    run(ledger, storage, record)
    start(slow, lease=0.3)
    wait_until(lambda: seen, 10)
    run(ledger, storage, record, retry=1)
    assert followed(ledger, record).state == "done"
    assert json.loads(storage.get(keys.follow_ups(record.job_id)).data)["retry"] == 1


def test_a_record_that_is_lost_is_said(start, job, ledger, storage):
    record = job()
    run(ledger, storage, record)
    storage.delete([keys.job(record.job_id)])
    start()
    found = followed(ledger, record)
    assert found.state == "failed"
    assert found.note.startswith(f"no job {record.job_id!r} in s3://")


def test_what_nobody_knows_any_more_is_dropped(start, redis):
    redis.zadd(FOLLOW_UPS, {"gone": 1})
    start()
    wait_until(lambda: redis.zcard(FOLLOW_UPS) == 0, 10)
    assert not redis.exists(key_of("gone"))


def test_what_somebody_else_wrote_in_its_place_is_damage_not_a_crash(job, ledger, redis):
    record = job()
    redis.hset(key_of(record.job_id), "report", '{"state": "great"}')
    with pytest.raises(JobDamaged, match="camfleet resume writes it anew"):
        ledger.progress(record.job_id)


BOTH = FollowUps(report=True, faithfulness=8)


def test_a_study_comes_before_the_report_and_is_not_repeated_for_it(start, job, ledger, storage):
    done = []

    def study(record, _check):
        done.append("study")
        return FollowUp(state="done", uri="s3://here", note="faithful")

    def unlucky(make):
        def work(record, check):
            done.append("report")
            if done.count("report") == 1:
                raise MemoryError
            return make(record, check)

        return work

    record = job(follow_ups=BOTH)
    run(ledger, storage, record)
    start(unlucky, study=study)
    assert followed(ledger, record).state == "done"
    assert done == ["study", "report", "report"]
    assert ledger.progress(record.job_id).faithfulness.note == "faithful"
    kept = json.loads(storage.get(keys.follow_ups(record.job_id)).data)
    assert kept["faithfulness"] == {"state": "done", "uri": "s3://here", "note": "faithful"}


def test_a_study_that_fails_leaves_the_report_and_the_callback_says_both(
    start, job, ledger, storage, receiver
):
    def study(_record, _check):
        raise ModelRefused("the model is gone")

    ended = []
    record = job(receiver.url(), follow_ups=BOTH)
    run(ledger, storage, record)
    start(study=study, on_end=lambda *end: ended.append(end))
    assert followed(ledger, record).state == "done"
    assert [end[:2] for end in ended] == [("faithfulness", "failed"), ("report", "done")]
    assert all(0 <= seconds < 60 for *_, seconds in ended)
    wait_until(lambda: receiver.calls, 10)
    data = receiver.calls[0].message["data"]
    assert data["report"]["state"] == "done"
    assert data["faithfulness"] == {"state": "failed", "uri": None, "note": "the model is gone"}


def test_a_part_that_is_replaced_meanwhile_is_read_again(start, job, ledger, storage):
    tried = []

    def study(_record, _check):
        tried.append(1)
        if len(tried) == 1:
            raise ObjectChanged("the part is another one by now")
        return FollowUp(state="done")

    record = job(follow_ups=FollowUps(faithfulness=8))
    run(ledger, storage, record)
    start(study=study)
    wait_until(lambda: ledger.progress(record.job_id).followed, 10)
    progress = ledger.progress(record.job_id)
    assert (progress.report, progress.faithfulness.state) == (None, "done")
    assert len(tried) == 2
