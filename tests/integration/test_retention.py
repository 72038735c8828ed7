"""Jobs that are deleted: what goes, what others need, and what a kill leaves."""

import itertools
import random
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec.structs import replace as changed

from camfleet.broker.keys import JOBS, claim, of_job
from camfleet.broker.leases import Leases
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.follow_ups import FollowUps
from camfleet.contract.records import Item
from camfleet.contract.results import Status
from camfleet.contract.reviews import Accepted
from camfleet.errors import InvalidRequest, ObjectMissing, ResultsPruned, UnknownJob
from camfleet.jobs.retention.candidates import Candidates
from camfleet.jobs.retention.deletion import Deleter
from camfleet.jobs.retention.protected import protected_jobs
from camfleet.jobs.retention.references import keep_referenced
from camfleet.jobs.retention.retention import Retention
from camfleet.jobstore import keys, parquet, review_keys
from camfleet.jobstore.results_parts import Outcomes
from camfleet.jobstore.totals import Totals
from camfleet.reviews.runs import Runs
from camfleet.storage.storage import Storage
from camfleet_worker.chunks.job_records import Records
from helpers import reviews as made_up
from helpers.producers import drain, producing, row
from helpers.registries import Killed, MortalStorage

DAY = 24 * 3600.0
LATER = 2 * DAY
numbers = itertools.count()


class LaterStorage(Storage):
    """A bucket whose clock is two days ahead of what lies in it."""

    def now(self):
        return super().now() + LATER


class MortalLaterStorage(MortalStorage):
    def now(self):
        return super().now() + LATER

    def replace(self, key, *args, **kwargs):
        with self._write():
            return super().replace(key, *args, **kwargs)


@pytest.fixture
def own(settings):
    made = replace(settings, bucket=f"retention-{next(numbers)}")
    with closing(Storage(made)) as storage:
        storage.set_up()
    return made


@pytest.fixture
def pair(own, tmp_path):
    with producing(own, tmp_path, model="net", database=9, chunk_size=2) as (client, redis):
        client.__dict__["storage"] = LaterStorage(client.settings)
        yield client, redis
        redis.flushdb()


@pytest.fixture
def client(pair):
    return pair[0]


@pytest.fixture
def redis(pair):
    return pair[1]


@pytest.fixture
def storage(client):
    return client.storage


@pytest.fixture
def submit(client, redis):
    def submit(*uris, run=True, **options):
        items = [Item(item_id=str(n), image_uri=uri) for n, uri in enumerate(uris)]
        named = {"job_id": f"job-{next(numbers)}", **options}
        job = client.submit(items, models="net", force=True, **named)
        if run:
            drain(redis)
            for ref in job.record().refs():
                run_chunk(client, job, ref)
        return job

    return submit


def run_chunk(client, job, ref):
    """Do what a worker does with a chunk: pictures, then the results part, then the count."""
    record, storage = job.record(), client.storage
    rows = [
        changed(
            row(item.item_id, Status.OK),
            image_uri=item.image_uri,
            model_id="net",
            heatmap_uri=storage.put(keys.picture(prefix, 3, "heatmap"), b"12345", "image/png"),
        )
        for item, prefix in prefixes(client, job, ref.part)
    ]
    outcome = Outcomes(storage).store(record, ref, rows, None)
    client._ledger.commit(job.id, record.number(ref), Totals.of(outcome.images))


def prefixes(client, job, part):
    record = job.record()
    data = client.storage.get(keys.manifest_part(job.id, part)).data
    for item in parquet.read_manifest(data):
        yield (
            item,
            keys.explanation(
                item.image_uri,
                item.inputs,
                record.models[0].digest,
                item.target or record.target,
                record.method,
                record.layer,
                record.fuse,
                record.outputs,
            ),
        )


def pictures(storage):
    return set(storage.keys(keys.pictures()))


def pictures_of(job):
    tables = job.tables(["heatmap_uri"])
    return {uri.split("/", 3)[3] for table in tables for uri in table[0].to_pylist()}


def whole(job):
    """Prove that a job is as it was: all of its rows, and every picture that they name."""
    assert job.verify().passed
    assert pictures_of(job) <= pictures(job._storage)
    return True


def gone(storage, job):
    assert list(storage.keys(keys.folder(job.id))) == []
    return True


def test_what_another_job_needs_stays(client, storage, submit):
    one = submit("s3://b/1", "s3://b/2", "s3://b/3")
    two = submit("s3://b/2", "s3://b/3", "s3://b/4")
    only = pictures_of(one) - pictures_of(two)
    own = [each.nbytes for each in storage.objects(keys.folder(one.id))]
    done = client.delete(one.id)
    assert (done.jobs, done.pruned, done.kept, done.younger) == ([one.id], [], [], 0)
    assert done.freed["pictures"] == (1, 5)
    assert done.objects == len(own) + 1
    assert 0 < done.nbytes - sum(own) - 5 < 100, "its record says when that began"
    assert gone(storage, one)
    assert whole(two)
    assert not only & pictures(storage)
    with pytest.raises(UnknownJob, match="no job"):
        one.status()
    assert one.id not in [each.job_id for each in client.jobs()]
    client.delete(two.id)
    assert pictures(storage) == set()


def test_a_deleted_id_can_be_submitted_again(client, storage, redis, submit):
    one = submit("s3://b/1")
    client.delete(one.id)
    again = client.submit(
        [Item(item_id="0", image_uri="s3://b/9")], models="net", job_id=one.id, force=True
    )
    assert again.note is None
    assert len(drain(redis)) == 1
    assert again.status().state == "queued"


def test_young_pictures_stay_and_a_later_prune_takes_them(client, storage, submit):
    one = submit("s3://b/1", "s3://b/2")
    with closing(Storage(client.settings)) as on_time:
        done = Retention(on_time, client._ledger, lambda *_: None).delete([one.id])
    assert done.younger == 2
    assert gone(storage, one)
    assert len(pictures(storage)) == 2
    done = client.prune(timedelta(days=1))
    assert done.freed == {"pictures": (2, 10)}
    assert pictures(storage) == set()


def test_pictures_that_a_running_job_is_about_to_write_again_stay(client, redis, submit):
    """Their rows don't exist yet: the manifest says what they'll name."""
    one = submit("s3://b/1", "s3://b/2", "s3://b/3", "s3://b/4")
    shared = pictures_of(one)
    running = submit("s3://b/4", "s3://b/3", "s3://b/2", run=False)
    first, second = drain(redis)
    run_chunk(client, running, first)
    client.delete(one.id)
    assert len(shared & pictures(client.storage)) == 3
    run_chunk(client, running, second)
    assert whole(running)


def test_a_damaged_part_of_a_job_that_stays_counts_as_not_yet_written(client, storage, submit):
    one, two = submit("s3://b/1", "s3://b/2"), submit("s3://b/1", "s3://b/2")
    shared = pictures_of(one)
    (part,) = storage.keys(keys.results(two.id))
    storage.put(part, b"junk", "")
    client.delete(one.id)
    assert pictures(storage) == shared


def test_nothing_shared_goes_as_long_as_a_job_that_stays_cannot_be_read(client, storage, submit):
    one, two = submit("s3://b/1"), submit("s3://b/1")
    data = storage.get(keys.job(two.id)).data
    storage.put(keys.job(two.id), b"junk", "")
    done = client.delete(one.id)
    assert "nothing that jobs share was deleted" in done.kept[-1]
    assert two.id in done.kept[0]
    assert gone(storage, one)
    assert len(pictures(storage)) == 1
    storage.put(keys.job(two.id), data, "")
    assert whole(two)


def test_uploads_stay_as_long_as_a_manifest_names_them(client, storage, submit):
    uris = [client.upload(b"\x89PNG%d" % number) for number in range(3)]
    one, two = submit(*uris[:2]), submit(*uris[1:], run=False)
    assert client.delete(one.id).freed["uploads"].objects == 1
    assert [*storage.keys(keys.uploads())] == sorted(uri.split("/", 3)[3] for uri in uris[1:])
    two.cancel()
    client.delete(two.id)
    assert [*storage.keys(keys.uploads())] == []


def test_uploads_in_the_frozen_set_of_a_review_stay(client, storage, submit):
    kept, other = (client.upload(b"\x89PNG%d" % number) for number in range(2))
    job = submit(kept, other)
    items = [Item(item_id="0", image_uri=kept)]
    storage.put(review_keys.set_part("weekly", 0), parquet.write_items(items, 1), "")
    client.delete(job.id)
    assert [*storage.keys(keys.uploads())] == [kept.split("/", 3)[3]]


def test_a_job_that_runs_is_not_deleted_and_nothing_is_touched(client, storage, submit):
    done, running = submit("s3://b/1"), submit("s3://b/2", run=False)
    before = set(storage.keys(""))
    with pytest.raises(
        InvalidRequest, match=f"{running.id} is queued: camfleet cancel {running.id}"
    ):
        client.delete(done.id, running.id)
    assert set(storage.keys("")) == before
    pruned = client.prune(timedelta(days=1))
    assert pruned.jobs == [done.id]
    assert len(pruned.kept) == 1
    assert running.id in pruned.kept[0]
    running.cancel()
    client.delete(running.id)
    assert gone(storage, running)


def test_where_one_of_several_jobs_cant_be_deleted_the_error_says_that_none_was(client, submit):
    one, other = submit("s3://b/1"), submit("s3://b/2", run=False)
    with pytest.raises(UnknownJob, match=r"no job 'nope' .*; none of these jobs was deleted"):
        client.delete(one.id, "nope")
    with pytest.raises(InvalidRequest, match=r"camfleet cancel .*; none of these jobs was deleted"):
        client.delete(one.id, other.id)
    assert whole(one)
    with pytest.raises(UnknownJob) as caught:
        client.delete("nope")
    assert "none of these" not in str(caught.value)
    client.delete(one.id)
    kept = client.prune(timedelta(0), dry_run=True).kept
    assert [reason.split()[1] for reason in kept] == [other.id], "nothing of what is deleted"


def test_a_chunk_in_work_of_a_cancelled_job_keeps_it(client, redis, submit):
    job = submit("s3://b/1", run=False)
    (ref,) = drain(redis)
    with closing(Leases(client.settings, "worker-1")) as leases:
        leases.take(ref)
        job.cancel()
        with pytest.raises(InvalidRequest, match="a worker has one of its chunks in work"):
            client.delete(job.id, force=True)
        leases.give_back(ref)
    assert client.delete(job.id).jobs == [job.id]


def test_a_report_that_is_still_to_come_keeps_the_job_unless_forced(client, storage, submit):
    job = submit("s3://b/1", report=True)
    with pytest.raises(InvalidRequest, match=r"its report or study, isn't done.*--force"):
        client.delete(job.id)
    assert job.id in client.prune(timedelta(days=1)).kept[0]
    client.delete(job.id, force=True)
    assert gone(storage, job)


def test_a_job_that_is_being_submitted_is_left_alone(client, storage):
    def source():
        yield from (Item(item_id=str(n), image_uri=f"s3://b/{n}") for n in range(2))
        yield Item(item_id="2", image_uri="s3://b/2")
        wait_for_part(storage, "slow")
        with pytest.raises(InvalidRequest, match="slow is being submitted"):
            client.delete("slow")
        assert "slow is being submitted" in client.prune(timedelta(0)).kept[0]

    job = client.submit(source(), models="net", job_id="slow", force=True, keep_duplicates=True)
    assert job.verify().missing_parts == 2
    assert len([*storage.keys(keys.manifest(job.id))]) == 2


def wait_for_part(storage, job_id):
    from helpers.waiting import wait_until

    wait_until(lambda: storage.exists(keys.manifest_part(job_id, 0)), 20)


def test_what_was_never_submitted_to_the_end_goes(client, storage):
    storage.put(keys.manifest_part("cut-off", 0), b"", "")
    assert client.prune(timedelta(days=1)).jobs == ["cut-off"]
    assert [*storage.keys("jobs/")] == []


def test_a_job_of_an_unreadable_record_goes_only_by_force(client, storage, submit):
    job = submit("s3://b/1")
    storage.put(keys.job(job.id), b"junk", "")
    with pytest.raises(InvalidRequest, match="--force deletes it"):
        client.delete(job.id)
    assert job.id in client.prune(timedelta(days=1)).kept[0]
    client.delete(job.id, force=True)
    assert gone(storage, job)


def test_only_jobs_that_ended_long_enough_ago_are_pruned(client, storage, submit):
    job = submit("s3://b/1")
    assert client.prune(timedelta(days=3)).jobs == []
    assert whole(job)
    assert client.prune(timedelta(days=1)).jobs == [job.id]


def test_what_ended_in_this_second_of_the_stores_clock_has_ended(
    client, storage, submit, monkeypatch
):
    job = submit("s3://b/1")
    latest = max(each.modified_at for each in storage.objects(keys.folder(job.id)))
    ended = max(latest, job.status().ended_at.timestamp())
    monkeypatch.setattr(storage, "now", lambda: float(int(ended)))
    assert client.prune(timedelta(0)).jobs == [job.id]


def test_a_dry_run_says_what_a_run_then_does_and_writes_nothing(client, storage, submit):
    jobs = [submit("s3://b/1", "s3://b/2", "s3://b/3"), submit("s3://b/2")]
    storage.put("maps/0123/4567/00001.heatmap.png", b"1234", "")
    before = list(storage.objects(""))
    for keep in (True, False):
        would = client.prune(timedelta(days=1), keep_report=keep, dry_run=True)
        assert list(storage.objects("")) == before
        if not keep:
            done = client.prune(timedelta(days=1))
            assert (would.jobs, would.objects, would.kept) == (done.jobs, done.objects, done.kept)
            assert would.freed["pictures"] == done.freed["pictures"]
            assert would.jobs == sorted(job.id for job in jobs)
    assert [*storage.keys("jobs/")] == [*storage.keys("maps/")] == []


def test_what_interactive_requests_left_goes_by_age(client, storage, submit):
    job = submit("s3://b/1")
    storage.put("maps/0123/4567/00001.heatmap.png", b"1234", "")
    client.upload(b"\x89PNG")
    done = client.prune(timedelta(days=3))
    assert done.objects == 0
    with closing(LaterStorage(client.settings)) as later:
        later.now = lambda: Storage.now(later) + 10 * DAY
        running = submit("s3://b/1", run=False)
        done = Retention(later, client._ledger, lambda *_: None).prune(9 * DAY)
    assert done.jobs == [job.id]
    assert set(done.freed) == {"pictures", "uploads", "records", "manifests", "results"}
    assert done.freed["pictures"].objects == 1, "the other one is still to be written anew"
    assert running.status().state == "queued"


def test_converted_models_go_that_nobody_names_or_that_are_older_ones(client, storage):
    (version,) = client.models.list()
    for name in ("b", "a"):
        storage.put(keys.converted(version.digest, name), b"12", "")
    for other in ("0" * 64, "1" * 64):
        storage.put(keys.converted(other, "a"), b"12", "")
        storage.put(keys.card(other), b"card", "")
    done = client.prune(timedelta(days=1))
    assert set(done.freed) == {"converted models"}
    left = [key for key in storage.keys("models/") if "/converted/" in key]
    assert keys.converted(version.digest, "a") in left
    assert len(left) == 4 - done.freed["converted models"].objects
    assert not any(key.startswith(("models/000", "models/111")) for key in left)


def test_reports_are_kept_without_results_and_status_says_so(client, storage, redis, submit):
    job = submit("s3://b/1", "s3://b/2")
    before = job.status()
    report = f"{keys.report_folder(job.id)}index.html"
    storage.put(report, b"page", "")
    storage.put(f"jobs/{job.id}/thumbnails/1.jpg", b"", "")
    done = client.prune(timedelta(days=1), keep_report=True)
    assert (done.jobs, done.pruned) == ([], [job.id])
    assert set(storage.keys(keys.folder(job.id))) == {
        keys.job(job.id),
        keys.source(job.id),
        report,
    }
    assert pictures(storage) == set()
    now = job.status()
    assert (now.ok, now.total, now.state) == (before.ok, before.total, "complete")
    assert now.ended_at == before.ended_at
    assert now.pruned_at
    for verb in (job.verify, lambda: list(job.results()), lambda: client.resume(job.id)):
        with pytest.raises(ResultsPruned, match=r"were deleted on .* UTC"):
            verb()
    with pytest.raises(ObjectMissing, match=r"report\.json"):
        job.report()
    for verb in (lambda: client.retry(job.id), lambda: submit_again(client, job)):
        with pytest.raises(ResultsPruned):
            verb()
    assert client.prune(timedelta(days=1), keep_report=True).objects == 0
    assert client.prune(timedelta(days=1)).jobs == [job.id]
    assert gone(storage, job)


def submit_again(client, job):
    return client.submit(
        [Item(item_id="0", image_uri="s3://b/9")], models="net", job_id=job.id, force=True
    )


def test_without_a_report_a_job_keeps_its_results_and_is_named(client, storage, submit):
    bare, broken, elsewhere = (submit(f"s3://b/{n}") for n in range(3))
    storage.put(f"{keys.report_folder(broken.id)}report.json", b"", "")  # the page is written last
    place = f"s3://{client.settings.bucket}/reports/{elsewhere.id}"
    record = changed(elsewhere.record(), follow_ups=FollowUps(report=True, place=place))
    storage.put(keys.job(elsewhere.id), encode_json(sealed(record, 2)), "")
    for dry_run in (True, False):
        done = client.prune(timedelta(days=1), keep_report=True, dry_run=dry_run)
        assert (done.jobs, done.pruned, done.objects) == ([], [], 0)
        assert len(done.kept) == 3
        said = next(reason for reason in done.kept if bare.id in reason)
        own = storage.uri(keys.report_folder(bare.id))
        assert f"{bare.id} has no report: camfleet report {bare.id} --output {own}" in said
        assert "prune without --keep-report" in said
        assert whole(bare)
        assert whole(broken)
    storage.put(f"{place}/index.html", b"page", "")
    assert client.prune(timedelta(days=1), keep_report=True).pruned == [elsewhere.id]
    assert client.prune(timedelta(days=1)).kept == []


def add_report(storage, job):
    storage.put(f"{keys.report_folder(job.id)}index.html", b"page", "")


def test_totals_of_a_pruned_job_that_redis_forgot_are_those_of_its_parts(client, redis, submit):
    job = submit("s3://b/1", "s3://b/2", "s3://b/3")
    add_report(client.storage, job)
    redis.flushdb()
    client.prune(timedelta(days=1), keep_report=True)
    now = job.status()
    assert (now.ok, now.failed, now.state) == (3, 0, "complete")


def test_a_job_that_says_it_is_being_deleted_is_none_to_anybody(client, storage, redis, submit):
    job = submit("s3://b/1")
    record = changed(job.record(), deleted_at=1e9, schema_version=2, needs="0.2.0")
    storage.put(keys.job(job.id), encode_json(record), "")
    for verb in (
        job.verify,
        job.record,
        lambda: client.resume(job.id),
        lambda: client.retry(job.id),
        lambda: submit_again(client, job),
    ):
        with pytest.raises(UnknownJob, match=r"is being deleted since 2001-09-09 .* delete"):
            verb()
    redis.flushdb()
    with pytest.raises(UnknownJob, match="is being deleted"):
        job.status()
    assert client.prune(timedelta(days=1000)).jobs == [job.id]
    assert gone(storage, job)


@pytest.mark.parametrize(
    ("how", "after"),
    [
        ("delete", False),
        ("prune", True),
        ("keep", False),
        pytest.param("delete", True, marks=pytest.mark.more),
        pytest.param("prune", False, marks=pytest.mark.more),
        pytest.param("keep", True, marks=pytest.mark.more),
    ],
)
def test_a_kill_at_any_write_leaves_whole_jobs_and_the_same_call_finishes(
    client, storage, redis, submit, how, after
):
    other = submit("s3://b/2", "s3://b/3")
    later = submit("s3://b/2", "s3://b/3", run=False)
    refs = drain(redis)
    for last in itertools.count(1):
        job = submit("s3://b/1", "s3://b/2", "s3://b/4")
        if how == "keep":
            add_report(storage, job)
            add_report(storage, other)
        with closing(MortalLaterStorage(client.settings, last, after=after)) as mortal:
            try:
                retire(mortal, client, job, how)
                break
            except Killed:
                pass
        try:
            job.record()
        except UnknownJob:
            pass
        else:
            assert whole(job)
        retire(storage, client, job, how, again=True)
        left = [*storage.keys(keys.folder(job.id))]
        page = f"{keys.report_folder(job.id)}index.html"
        own = [keys.job(job.id), page, keys.source(job.id)]
        assert left == (own if how == "keep" else [])
        other_pictures = {
            keys.picture(prefix, 3, "heatmap") for _, prefix in prefixes(client, later, 0)
        }
        assert pictures(storage) == other_pictures
        if how == "keep":
            client.delete(job.id)
        if how == "delete":
            assert whole(other)
        else:  # it went, too
            other = submit("s3://b/2", "s3://b/3")
    assert last > 3
    for ref in refs:
        run_chunk(client, later, ref)
    assert whole(later)


def retire(storage, client, job, how, *, again=False):
    retention = Retention(storage, client._ledger, lambda *_: None)
    if how != "delete":
        return retention.prune(DAY, keep_report=how == "keep")
    try:
        return retention.delete([job.id])
    except UnknownJob:
        assert again
        return None


def test_redis_forgets_a_job_whose_prune_died_right_after_its_mark(client, storage, submit):
    job = submit("s3://b/1")
    Deleter(storage, client._ledger, {})._write(changed(job.record(), deleted_at=storage.now()))
    assert client._ledger.progress(job.id)
    client.prune(timedelta(days=1))
    with pytest.raises(UnknownJob):
        client._ledger.progress(job.id)


@pytest.mark.parametrize("results_too", [False, True])
def test_no_kept_report_stays_among_jobs_that_redis_knows_after_a_kill(
    client, storage, redis, submit, results_too
):
    """Redis would list it as a whole job, with results that nobody finds."""
    job = submit("s3://b/1", "s3://b/2")
    add_report(storage, job)
    deleter = Deleter(storage, client._ledger, {})
    summary = deleter._summary(job.record(), 1e9, storage.now())
    deleter._write(changed(job.record(), pruned=summary))
    if results_too:
        storage.delete(list(storage.keys(f"{keys.folder(job.id)}results/")))
        storage.delete(list(storage.keys(f"{keys.folder(job.id)}manifest/")))
    client.prune(timedelta(days=1), keep_report=True, dry_run=True)
    assert job.id in {progress.job_id for progress in client.jobs()}
    client.prune(timedelta(days=1), keep_report=True)
    assert job.id not in {progress.job_id for progress in client.jobs()}
    assert not redis.exists(*of_job(job.id))
    assert job.status().pruned_at
    (listed,) = [one for one in client.forgotten_jobs() if one.job_id == job.id]
    assert (listed.state, listed.done) == ("pruned", 2)


def test_a_killed_delete_is_finished_once_its_claim_has_expired(client, storage, redis, submit):
    job = submit("s3://b/1")
    record = changed(job.record(), deleted_at=1e9)
    storage.put(keys.job(job.id), encode_json(sealed(record, 2)), "")
    redis.set(claim(job.id), "a dead process", ex=2)
    assert client.delete(job.id).jobs == [job.id]
    assert gone(storage, job)


def test_a_worker_reads_the_record_again_of_an_id_that_was_deleted_and_submitted_anew(
    client, storage, redis, submit
):
    records = Records(storage, client._ledger)
    job = submit("s3://b/1", "s3://b/2", "s3://b/3", run=False)
    first, *_ = drain(redis)
    assert records.is_needed(first)
    job.cancel()
    client.delete(job.id)
    with pytest.raises(UnknownJob):
        records.is_needed(first)
    client.submit(
        [Item(item_id="0", image_uri="s3://b/9")],
        models="net",
        job_id=job.id,
        target="top:2",
        force=True,
    )
    assert records.is_needed(first)
    assert records.job(job.id).target == "top:2"
    assert records.job(job.id).items == 1


def test_marking_a_hundred_thousand_rows_takes_the_memory_of_some_parts(client, storage, submit):
    job = submit("s3://b/1")
    (kept,) = pictures_of(job)
    (part,) = storage.keys(keys.results(job.id))
    digest = kept.split("/")[1]
    size = 1000
    names = [f"maps/{digest}/{n:032x}/00003.heatmap.png" for n in range(100_000)]
    for number in range(1, 101):
        rows = [
            changed(row(str(n), Status.OK), heatmap_uri=storage.uri(name), overlay_uri=None)
            for n, name in enumerate(names[(number - 1) * size : number * size])
        ]
        key = part.replace("part-00000", f"part-{number:05d}")
        storage.put(key, parquet.write_results(rows, 0), "")
    with Candidates() as candidates:
        candidates.add(names)
        candidates.add([kept, f"maps/{digest}/zz/00003.heatmap.png"])
        tracemalloc.start()
        marked = keep_referenced(storage, candidates, lambda _: False, lambda _: None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert marked.unreadable == []
        assert candidates.next(keys.pictures()) == f"maps/{digest}/zz/00003.heatmap.png"
    assert peak < 8e6, "the names alone take more"


def test_several_prunes_at_once_take_each_job_and_nothing_else(client, storage, submit):
    going = [submit(f"s3://b/{n}", f"s3://b/{n + 1}") for n in range(6)]
    staying = submit("s3://b/3", "s3://b/4", "s3://b/99", run=False)

    def prune(_number):
        with closing(LaterStorage(client.settings)) as own:
            return Retention(own, client._ledger, lambda *_: None).prune(DAY)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(prune, range(3)))
    again = client.prune(timedelta(days=1))  # what one held while another looked at it
    taken = {job_id for one in (*found, again) for job_id in one.jobs}
    assert taken == {job.id for job in going}
    assert all(gone(storage, job) for job in going)
    assert staying.record().items == 3


def test_a_job_that_a_review_has_come_to_need_meanwhile_stays(client, storage, submit):
    ref = submit("s3://b/1").record().models[0]
    review = made_up.review(storage, "accepts", ref, made_up.maps())
    own = submit("s3://b/2", job_id="review-accepts-old")
    deleter = Deleter(storage, client._ledger, protected_jobs(storage))
    accepted = Accepted(model=ref, job_id=own.id)
    made_up.change(storage, review, "accepted", baseline=accepted)
    with pytest.raises(InvalidRequest, match="is needed by review accepts"):
        deleter.mark(own.id, storage.now())
    assert whole(own)
    with pytest.raises(UnknownJob), Runs(storage, client._ledger).keeping("review-gone"):
        pass


class TogetherStorage(LaterStorage):
    """A bucket that does some things only for four at a time: whoever comes alone gets no answer.

    Those are to mark a job, to read its results, and to delete its record. What belongs to the
    `young` jobs has just been written.
    """

    def __init__(self, settings, young):
        super().__init__(settings)
        self._young = tuple(keys.folder(job.id) for job in young)
        self._together = {word: threading.Barrier(4, timeout=20) for word in ("mark", "read", "go")}

    def objects(self, *args, **kwargs):
        for each in super().objects(*args, **kwargs):
            young = each.key.startswith(self._young)
            yield replace(each, modified_at=self.now()) if young else each

    def replace(self, key, *args, **kwargs):
        self._together["mark"].wait()
        return super().replace(key, *args, **kwargs)

    def get(self, key, *args, **kwargs):
        if key.startswith("jobs/") and "/results/" in key:
            self._together["read"].wait()
        return super().get(key, *args, **kwargs)

    def delete(self, doomed):
        if any(key.endswith("/job.json") for key in doomed):
            self._together["go"].wait()
        super().delete(doomed)


def test_many_jobs_are_marked_read_and_deleted_together(client, storage, submit):
    going = [submit(f"s3://b/{n}", f"s3://b/{n + 8}") for n in range(8)]
    staying = [submit(f"s3://b/{n}") for n in range(4)]
    with closing(TogetherStorage(client.settings, staying)) as together:
        found = Retention(together, client._ledger, lambda *_: None).prune(DAY)
    assert sorted(found.jobs) == sorted(job.id for job in going)
    assert all(map(whole, staying))
    assert pictures(storage) == set().union(*map(pictures_of, staying))


def test_jobs_that_redis_has_forgotten_are_listed_from_the_bucket(client, storage, redis, submit):
    jobs = [submit(f"s3://b/{n}", "s3://b/9") for n in range(3)]
    for job in jobs:
        add_report(storage, job)
    _, pruned, deleting = jobs
    client.prune(timedelta(days=1), keep_report=True)
    kept, known = submit("s3://b/1"), submit("s3://b/2", run=False)
    record = changed(kept.record(), job_id=deleting.id, deleted_at=1e9)
    storage.put(keys.job(deleting.id), encode_json(sealed(record, 2)), "")
    storage.put(keys.manifest_part("cut-off", 0), b"", "")
    storage.put(keys.job("junk"), b"junk", "")
    redis.delete(*of_job(kept.id))
    redis.zrem(JOBS, kept.id)
    told = []
    found = {each.job_id: each for each in client.forgotten_jobs(told.append)}
    assert known.id not in found
    assert found[kept.id].state == "stored"
    assert (found[pruned.id].state, found[pruned.id].done, found[pruned.id].ok) == ("pruned", 2, 2)
    assert found[deleting.id].state == "deleting"
    assert found["cut-off"].state == "unfinished"
    assert found["junk"].state == "unreadable"
    assert "jobs/junk/job.json" in found["junk"].note
    assert found[pruned.id].submitted_at == pruned.status().submitted_at
    assert told == list(range(1, 7))


def test_results_without_a_record_are_no_new_jobs(client, storage, redis, submit):
    job = submit("s3://b/1")
    storage.delete([keys.job(job.id)])
    redis.flushdb()
    with pytest.raises(InvalidRequest, match=f"results of an earlier .* delete {job.id}"):
        submit_again(client, job)
    client.delete(job.id)
    assert gone(storage, job)
    assert list(client.forgotten_jobs()) == [], "whatever empty folders a store keeps"
    assert client.prune(timedelta(days=1)).kept == []
    submit_again(client, job)


_PRUNING = """
import sys
from camfleet import Client
from camfleet.jobs.retention.retention import Retention
from camfleet.storage.storage import Storage

class LaterStorage(Storage):
    def now(self):
        return super().now() + 2 * 24 * 3600.0

with Client.from_environ() as client:
    client.__dict__["storage"] = LaterStorage(client.settings)
    client.ping()
    print("begins", flush=True)
    done = Retention(client.storage, client._ledger, lambda *_: None).prune(24 * 3600.0)
    print(done.kept, flush=True)
"""


def test_a_prune_that_is_killed_at_random_moments_leaves_all_others_whole(
    client, storage, redis, environ, submit
):
    chance = random.Random(7)
    staying = [submit(*(f"s3://b/{n}" for n in range(k, k + 4)), run=False) for k in range(3)]
    refs = drain(redis)
    for ref in refs:
        if ref.part == 0:
            run_chunk(client, next(job for job in staying if job.id == ref.job_id), ref)
    for k in range(6):
        submit(*(f"s3://b/{n}" for n in range(k, k + 5)))
    own = {
        **environ,
        "CAMFLEET_BUCKET": client.settings.bucket,
        "CAMFLEET_REDIS_URL": client.settings.redis_url,
    }
    kills, code = 0, None
    while code != 0:
        with subprocess.Popen(
            [sys.executable, "-c", _PRUNING], env=own, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "begins\n"
            try:
                code = process.wait(chance.uniform(0.05, 0.5) * (1 + kills / 2))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            kept = process.stdout.read()
        if held := redis.keys(claim("*")):
            redis.delete(*held)  # a minute later
    assert kills > 2
    assert kept.count("camfleet cancel") == kept.count("job-") // 2 == len(staying), kept
    left = {keys.job_of(key) for key in storage.keys(keys.jobs())}
    assert left == {job.id for job in staying}
    for ref in refs:
        if ref.part == 1:
            run_chunk(client, next(job for job in staying if job.id == ref.job_id), ref)
    assert all(map(whole, staying))
    assert pictures(storage) == set().union(*map(pictures_of, staying))
