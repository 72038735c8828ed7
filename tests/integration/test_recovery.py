"""A job's ledger rebuilt from object storage, and the proof that both agree."""

import itertools

import pytest

from camfleet import Client
from camfleet.broker import keys as broker_keys
from camfleet.broker.redis import redis_client
from camfleet.contract.records import ChunkRef
from camfleet.contract.results import Result, Status
from camfleet.errors import UnknownJob
from camfleet.jobstore import keys, parquet
from helpers.registries import approve
from helpers.samples import write_card

numbers = itertools.count()


@pytest.fixture(scope="module")
def client(settings, tmp_path_factory):
    with Client(settings) as made:
        made.models._check = approve
        made.models.add(write_card(tmp_path_factory.mktemp("card"), "recovered"))
        yield made


@pytest.fixture
def job(client, tmp_path):
    """Submit a job of three parts of which nobody runs any."""
    path = tmp_path / "m.csv"
    path.write_text("image_uri,id\n" + "".join(f"s3://b/{each},{each}\n" for each in range(600)))
    return client.submit([str(path)], models=["recovered"], job_id=f"recovery-{next(numbers)}")


def write_part(client, job, part, statuses):
    """Write a results part as a worker would, without running anything."""
    items = parquet.read_manifest(client.storage.get(keys.manifest_part(job.id, part)).data)
    empty = dict.fromkeys(Result.__struct_fields__)
    rows = [
        Result(**{**empty, "item_id": item.item_id, "rank": 0, "status": status})
        for item, status in zip(items, itertools.cycle(statuses), strict=False)
    ]
    key = keys.results_part(job.record(), ChunkRef(job_id=job.id, model=0, part=part, retry=0))
    plain = parquet.write_results(rows, 0)
    client.storage.put(key, plain, "application/vnd.apache.parquet")


def test_only_what_is_missing_runs_again_and_the_totals_are_those_of_the_parts(client, job):
    write_part(client, job, 0, [Status.OK])
    write_part(client, job, 2, [Status.FAILED, Status.NO_EVIDENCE])
    redis = redis_client(client.settings)
    redis.flushdb()
    with pytest.raises(UnknownJob):
        job.status()
    progress = client.resume(job.id).status()
    assert (progress.ok, progress.failed, progress.no_evidence) == (256, 44, 44)
    assert (progress.total, progress.chunks_done, progress.complete) == (600, 2, False)
    assert redis.llen("camfleet.bulk") == 1, "one message, for the part that is missing"
    redis.close()


def test_a_job_whose_parts_are_all_there_is_complete_at_once(client, job):
    for part in range(3):
        write_part(client, job, part, [Status.OK])
    assert client.resume(job.id).status().complete
    found = job.verify()
    assert found.passed
    assert (found.ok, found.images) == (600, 600)


def test_missing_parts_and_a_ledger_that_says_otherwise_are_found(client, job):
    for part in range(2):
        write_part(client, job, part, [Status.OK])
    faults = "\n".join(job.verify().faults)
    assert "1 of 3 results parts are missing" in faults
    assert "Redis says 0 ok, the parts hold 512" in faults


def test_a_part_with_other_rows_than_the_manifests_is_found(client, job):
    for part in range(3):
        write_part(client, job, part, [Status.OK])
    client.resume(job.id)
    other = keys.results_part(job.record(), ChunkRef(job_id=job.id, model=0, part=1, retry=0))
    client.storage.put(other, client.storage.get(other.replace("00001", "00000")).data, "x/y")
    found = job.verify()
    assert not found.passed
    assert "part-00001.parquet: its rows are not those of the manifest part" in found.faults[0]


def test_jobs_are_listed_newest_first(client, job):
    assert next(iter(client.jobs())).job_id == job.id


def test_an_unknown_job_cannot_be_resumed(client):
    with pytest.raises(UnknownJob, match="nowhere"):
        client.resume("nowhere")


def test_a_complete_job_is_as_before_when_it_is_resumed(client, job):
    for part in range(3):
        write_part(client, job, part, [Status.OK, Status.FAILED])
    client.resume(job.id)
    before = job.status()
    assert before.complete
    assert client.resume(job.id).status() == before
    redis = redis_client(client.settings)
    redis.hincrby(broker_keys.job(job.id), "ok", -1)
    redis.close()
    assert job.status() != before
    assert client.resume(job.id).status().ok == before.ok
