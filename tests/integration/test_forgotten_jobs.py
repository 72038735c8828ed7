"""What an emptied Redis has forgotten: who was cancelled, and all that was under way."""

import asyncio
import itertools
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from camfleet import AsyncClient, Client
from camfleet.broker import keys as broker_keys
from camfleet.contract.follow_ups import FollowedUp, FollowUp
from camfleet.contract.results import Status
from camfleet.errors import InvalidRequest, StorageUnavailable, UnknownJob
from camfleet.jobs.cancelling import cancel, settle_note
from camfleet.jobs.stored import StoredJobs
from camfleet.jobstore import keys, later_keys
from camfleet.jobstore.cancellations import read_cancelled
from camfleet.jobstore.fleets import sign
from camfleet.jobstore.follow_ups import write_followed_up
from camfleet.jobstore.results_parts import Outcomes
from camfleet.jobstore.totals import Totals
from camfleet.storage.storage import Storage
from helpers.commands import command_line
from helpers.databases import environ_on
from helpers.producers import drain, items, producing, row

numbers = itertools.count()
DATABASE = 3
OTHER = "0123456789abcdef"


@pytest.fixture
def own(settings):
    made = replace(settings, bucket=f"forgotten-{next(numbers)}")
    with Client(made) as client:
        client.storage.set_up()
    return made


@pytest.fixture
def pair(own, tmp_path):
    with producing(own, tmp_path, model="net", database=DATABASE, chunk_size=2) as made:
        yield made
        made[1].flushdb()


@pytest.fixture
def client(pair):
    return pair[0]


@pytest.fixture
def redis(pair):
    return pair[1]


@pytest.fixture
def submit(client, redis):
    """Submit a job of three chunks, and do what workers do with some of them."""

    def submit(job_id, done=0, **options):
        job = client.submit(items(6), models="net", job_id=job_id, force=True, **options)
        drain(redis)
        for ref in itertools.islice(job.record().refs(), done):
            run_chunk(client, job, ref)
        return job

    return submit


@pytest.fixture
def run(environ, own):
    """Run the camfleet command as a user does, on this module's database and bucket."""
    return command_line({**environ_on(environ, DATABASE), "CAMFLEET_BUCKET": own.bucket})


def run_chunk(client, job, ref):
    record = job.record()
    rows = [row(str(2 * ref.part + n), Status.OK) for n in range(2)]
    outcome = Outcomes(client.storage).store(record, ref, rows, None)
    client._ledger.commit(job.id, record.number(ref), Totals.of(outcome.images), retry=ref.retry)


def noted(client, job):
    return read_cancelled(client.storage, job.id)


def resumed(client, **options):
    return {job.job_id: job.outcome for job in client.resume_stored(**options)}


def test_the_bucket_says_that_a_job_is_cancelled_until_it_goes_on(client, submit):
    job = submit("noted", done=1)
    assert noted(client, job) is None
    job.cancel()
    assert noted(client, job) == job.status().ended_at.timestamp()
    client.resume(job.id)
    assert noted(client, job) is None
    assert job.status().state == "queued"


def test_a_job_that_has_ended_is_not_noted_as_cancelled(client, submit, redis):
    job = submit("ended", done=3)
    job.cancel()
    assert (job.status().state, noted(client, job)) == ("complete", None)
    redis.flushdb()
    job.cancel()
    assert noted(client, job) is None


def test_a_cancelled_job_that_redis_forgot_runs_only_if_that_is_asked_for(client, submit, redis):
    job = submit("wished", done=1)
    job.cancel()
    redis.flushdb()
    hint = "was cancelled on .* UTC, which Redis has forgotten: camfleet resume wished --cancelled"
    with pytest.raises(InvalidRequest, match=hint):
        client.resume(job.id)
    with pytest.raises(InvalidRequest, match=hint):
        client.retry(job.id)
    with pytest.raises(InvalidRequest, match=hint):
        submit(job.id)
    with pytest.raises(InvalidRequest, match=hint):
        client._submitter.note_of(job.id)
    with pytest.raises(UnknownJob, match=hint):
        job.status()
    assert drain(redis) == []
    again = client.resume(job.id, cancelled=True).status()
    assert (again.state, again.done) == ("queued", 2)
    assert noted(client, job) is None


def test_a_job_that_redis_forgot_can_be_cancelled(client, submit, redis):
    job = submit("later", done=1)
    redis.flushdb()
    job.cancel()
    assert noted(client, job)
    assert resumed(client) == {job.id: "cancelled"}
    with pytest.raises(UnknownJob, match="nowhere"):
        client.job("nowhere").cancel()


def test_a_job_that_somebody_resumes_meanwhile_is_cancelled_all_the_same(client, submit, redis):
    job = submit("meanwhile", done=1)
    redis.flushdb()

    class Resumed(Storage):
        def put(self, key, data, content_type):
            if client._ledger.created_at(job.id) is None:
                client.resume(job.id)
            return super().put(key, data, content_type)

    cancel(job.id, Resumed(client.settings), client._ledger)
    assert job.status().state == "cancelled"
    assert noted(client, job)


def test_redis_and_the_bucket_agree_whoever_cancels_and_resumes_at_the_same_time(client, submit):
    job = submit("race", done=1)
    ledger = client._ledger
    ledger.cancel(job.id)

    class GoesOn(Storage):
        def put(self, key, data, content_type):
            found = super().put(key, data, content_type)
            client.resume(job.id)
            return found

    settle_note(job.id, GoesOn(client.settings), ledger)
    assert (job.status().state, noted(client, job)) == ("queued", None)

    class IsCancelled(Storage):
        def delete(self, deleted):
            super().delete(deleted)
            ledger.cancel(job.id)

    settle_note(job.id, IsCancelled(client.settings), ledger)
    assert job.status().state == "cancelled"
    assert noted(client, job)


def test_a_job_is_cancelled_also_where_the_store_is_away(client, submit):
    job = submit("no-store")

    class Away(Storage):
        def put(self, *_args):
            raise StorageUnavailable("no store")

    with pytest.raises(
        StorageUnavailable, match=r"no-store is cancelled, but the bucket .* repeat"
    ):
        cancel(job.id, Away(client.settings), client._ledger)
    assert job.status().state == "cancelled"
    job.cancel()
    assert noted(client, job)


@pytest.mark.parametrize(
    "note",
    [
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"{}" + b" " * 5000, id="too large"),
        pytest.param(
            b'{"schema_version":2,"needs":"0.2.0","job_id":"x","cancelled_at":1.0}', id="another's"
        ),
    ],
)
def test_a_note_that_is_none_is_named_with_the_way_out(client, submit, redis, note):
    job = submit("junk")
    key = later_keys.cancelled(job.id)
    client.storage.put(key, note, "application/json")
    redis.flushdb()
    with pytest.raises(InvalidRequest, match=f"{key}.*: camfleet cancel junk writes it anew"):
        client.resume(job.id)
    assert resumed(client) == {job.id: "unreadable"}
    assert [each.state for each in client.forgotten_jobs()] == ["unreadable"]
    assert client.resume(job.id, cancelled=True).status().state == "queued"
    assert noted(client, job) is None


def test_a_note_goes_with_its_job_and_says_when_that_ended(client, submit, redis):
    job = submit("deleted", done=1)
    job.cancel()
    redis.flushdb()
    assert client.prune(timedelta(days=1)).jobs == []
    assert client.delete(job.id).jobs == [job.id]
    assert list(client.storage.keys(keys.folder(job.id))) == []


def test_everything_that_was_under_way_is_resumed_and_nothing_else(client, submit, redis):
    submit("whole", done=3)
    begun, fresh = submit("begun", done=2), submit("fresh")
    submit("stopped", done=1).cancel()
    reported = submit("reported", done=3, report=True)
    done = FollowUp(state="done", uri="s3://b/report")
    write_followed_up(
        client.storage, FollowedUp(schema_version=2, job_id="reported", retry=0, report=done)
    )
    unreported = submit("unreported", done=3, report=True)
    client.storage.put(keys.job("broken"), b"{", "application/json")
    client.storage.put(keys.manifest_part("cut-off", 0), b"", "")
    redis.flushdb()
    known = submit("known")
    expected = {
        "begun": "resumed",
        "broken": "unreadable",
        "cut-off": "unfinished",
        "fresh": "resumed",
        "reported": "complete",
        "stopped": "cancelled",
        "unreported": "resumed",
        "whole": "complete",
    }
    told = []
    assert resumed(client, dry_run=True, on_progress=told.append) == expected
    assert told == list(range(1, 9))
    assert redis.zrange(broker_keys.JOBS, 0, -1) == [known.id]
    assert resumed(client) == expected
    assert {ref.job_id for ref in drain(redis)} == {"begun", "fresh"}
    assert (begun.status().done, fresh.status().done) == (4, 0)
    assert unreported.status().report.state == "waiting"
    with pytest.raises(UnknownJob):
        reported.status()
    again = {job_id for job_id, outcome in resumed(client).items() if outcome == "resumed"}
    assert again == set(), "Redis knows them now"


def test_a_retry_that_was_under_way_is_resumed(client, submit, redis):
    job = submit("retried")
    record = job.record()
    for ref in record.refs():
        rows = [row(str(2 * ref.part + n), "image_not_found") for n in range(2)]
        outcome = Outcomes(client.storage).store(record, ref, rows, None)
        client._ledger.commit(job.id, record.number(ref), Totals.of(outcome.images))
    client.retry(job.id)
    first, *_ = drain(redis)
    before = Outcomes(client.storage).find(record, first)
    rows = [row(str(2 * first.part + n), Status.OK) for n in range(2)]
    Outcomes(client.storage).store(record, first, rows, before)
    redis.flushdb()
    (found,) = client.resume_stored()
    assert (found.outcome, found.chunks, found.to_run) == ("resumed", 3, 2)
    assert (job.status().ok, job.status().retry) == (2, 1)


def test_another_fleets_jobs_are_left_to_it_while_it_lives_unless_it_is_named(
    client, submit, redis, run
):
    job = submit("theirs", done=1)
    submit("complete", done=3)
    theirs = client._ledger.fleet_id()
    redis.flushdb()
    sign(client.storage, theirs, "there:6379")
    whole, found = client.resume_stored()
    assert (whole.outcome, found.outcome) == ("complete", "foreign")
    assert found.note == f"{theirs}, on there:6379, 0 min ago"
    with pytest.raises(UnknownJob):
        job.status()
    said = run("resume", "--all-stored")
    assert said.returncode == 0, said.stderr
    assert f"left to another fleet, 1 job: {theirs}, on there:6379" in said.stderr
    assert "0 jobs resumed; 1 complete; 1 another fleet's" in said.stdout
    _, found = client.resume_stored(of_fleet=theirs)
    assert found.outcome == "resumed"
    assert "another Redis until now" in found.note
    redis.flushdb()
    sign(client.storage, OTHER, "there:6379")
    assert resumed(client)[job.id] == "resumed", "that fleet has another id"


def test_a_job_that_somebody_is_at_or_has_resumed_is_left_to_them(client, submit, redis):
    job, other = submit("at"), submit("has")
    redis.flushdb()
    with client._ledger.claim(job.id):
        found = client.resume_stored()
        first = next(found)
    assert (first.outcome, first.needs_somebody) == ("failed", True)
    assert "by another producer right now" in first.note
    client.resume(other.id)
    run_chunk(client, other, next(other.record().refs()))
    assert [each.outcome for each in found] == ["resumed"]
    assert other.status().done == 2, "it wasn't entered anew"


def test_few_jobs_are_looked_at_ahead(client, submit, redis):
    for number in range(100):
        client.storage.put(keys.job(f"junk-{number:03}"), b"{", "application/json")
    looked = []

    class Counting(Storage):
        def get(self, key, **kwargs):
            looked.append(key)
            return super().get(key, **kwargs)

    storage = Counting(client.settings)
    found = StoredJobs(storage, client._ledger, client._submitter, None)
    first = next(found.resume(lambda _count: None, dry_run=True))
    assert first.job_id == "junk-000"
    assert len(looked) < 90


def test_async_clients_resume_all_too(own, client, submit, redis):
    job = submit("awaited", done=1)
    redis.flushdb()

    async def resume():
        async with AsyncClient(client.settings) as made:
            found = [each async for each in made.resume_stored()]
            await made.job(job.id).cancel()
            return found

    (found,) = asyncio.run(resume())
    assert (found.job_id, found.outcome, found.to_run) == (job.id, "resumed", 2)
    assert job.status().state == "cancelled"
    redis.flushdb()

    async def resume_one(**options):
        async with AsyncClient(client.settings) as made:
            return await made.resume(job.id, **options)

    with pytest.raises(InvalidRequest):
        asyncio.run(resume_one())
    assert asyncio.run(resume_one(cancelled=True)).id == job.id


def test_one_command_says_what_it_would_resume_and_does_it(client, submit, redis, run):
    submit("command-whole", done=3)
    submit("command-begun", done=2)
    submit("command-stopped").cancel()
    redis.flushdb()
    would = run("resume", "--all-stored", "--dry-run")
    assert would.returncode == 0, would.stderr
    assert would.stdout.splitlines()[2].split() == ["command-begun", "1", "3"]
    assert "1 job would be resumed; 1 complete; 1 cancelled" in would.stdout
    assert redis.zcard(broker_keys.JOBS) == 0
    done = json.loads(run("resume", "--all-stored", "--json").stdout)
    (resumed,) = done["resumed"]
    assert (resumed["job_id"], resumed["chunks"], resumed["to_run"]) == ("command-begun", 3, 1)
    assert done["jobs"] == {"cancelled": 1, "complete": 1, "resumed": 1}
    client.storage.put(keys.job("command-junk"), b"{", "application/json")
    failed = run("resume", "--all-stored")
    assert failed.returncode == 1
    assert "command-junk can't be resumed: s3://" in failed.stderr
    assert "0 jobs resumed; 1 complete; 1 cancelled; 1 unreadable" in failed.stdout


def test_the_command_asks_for_an_explicit_wish_and_cancels_forgotten_jobs(submit, redis, run):
    job = submit("command-wished", done=1)
    redis.flushdb()
    stopped = run("cancel", job.id)
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout == "command-wished, which Redis has forgotten, is cancelled\n"
    assert json.loads(run("cancel", job.id, "--json").stdout)["state"] == "cancelled"
    assert "cancelled" in run("jobs").stdout
    refused = run("resume", job.id)
    assert refused.returncode == 1
    assert "camfleet resume command-wished --cancelled runs the rest" in refused.stderr
    assert run("resume", job.id, "--cancelled").returncode == 0
    assert job.status().state == "queued"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("job", "--all-stored"),
        ("job", "--dry-run"),
        ("job", "--of-fleet", OTHER),
        ("--all-stored", "--cancelled"),
    ],
    ids=" ".join,
)
def test_wrong_words_of_resume_are_wrong_usage(run, words):
    assert run("resume", *words).returncode == 2
