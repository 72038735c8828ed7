"""Submitting: once per id, whatever is submitted twice, cut off or submitted by two at once."""

import itertools
import threading
from contextlib import closing
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from camfleet import Client
from camfleet.broker.app import close_app, make_app, send_chunk
from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json
from camfleet.contract.lanes import Lane
from camfleet.contract.records import LeftOut
from camfleet.errors import InvalidRequest, UnknownJob
from camfleet.jobstore import keys, parquet
from camfleet.jobstore.manifest_parts import write_manifest
from camfleet.jobstore.records import write_source
from helpers.producers import drain, items, producing
from helpers.waiting import wait_until

numbers = itertools.count()


@pytest.fixture(scope="module")
def parts(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("submitted")
    with producing(settings, folder, model="submitted", database=6, chunk_size=4) as made:
        yield made


@pytest.fixture
def client(parts, redis):
    return parts[0]


@pytest.fixture
def redis(parts):
    """Give the client's Redis, with nothing in the queue."""
    drain(parts[1])
    return parts[1]


@pytest.fixture
def job_id():
    return f"submitted-{next(numbers)}"


def submit(client, job_id, source, **options):
    return client.submit(source, models=["submitted"], job_id=job_id, **options)


def manifest(client, job):
    """Return the images of a job's manifest."""
    record = job.record()
    found = [keys.manifest_part(job.id, part) for part in range(record.parts)]
    rows = [row for key in found for row in parquet.read_manifest(client.storage.get(key).data)]
    assert len(rows) == record.items
    return [row.image_uri for row in rows]


def uris(count, start=0):
    return [item.image_uri for item in items(count, start)]


def test_what_is_named_twice_is_explained_once_and_the_record_says_how_much(client, redis, job_id):
    job = submit(client, job_id, [*items(6), *items(3), *items(2, start=6)])
    assert manifest(client, job) == uris(8)
    assert (job.record().items, job.record().duplicates, job.status().total) == (8, 3, 8)
    assert drain(redis) == list(job.record().refs())


def test_duplicates_are_kept_for_whoever_wants_them(client, job_id):
    job = submit(client, job_id, [*items(2), *items(2)], keep_duplicates=True)
    assert manifest(client, job) == uris(2) * 2
    assert (job.record().items, job.record().duplicates) == (4, 0)


@pytest.mark.parametrize("wrong", [{"image_uri": "s3://photos/" + "x" * 4096}, {"item_id": ""}])
def test_an_item_that_no_worker_could_read_is_refused(client, redis, job_id, wrong):
    (item,) = items(1)
    with pytest.raises(InvalidRequest, match=f"Item: .*{min(wrong)}"):
        submit(client, job_id, [changed(item, **wrong)])
    assert not drain(redis)


def test_submitting_an_id_again_does_nothing_and_says_so(client, redis, job_id):
    first = submit(client, job_id, items(9))
    assert first.note is None
    assert len(drain(redis)) == 3
    again = submit(client, job_id, items(2))
    assert again.note == "was submitted before: nothing was done"
    assert manifest(client, again) == uris(9)
    assert drain(redis) == []


@pytest.fixture
def cut_off(client, job_id):
    """Give a function that submits nine images, but ends after some of the steps."""
    record = changed(submit(client, f"{job_id}-whole", items(9)).record(), job_id=job_id)
    app = make_app(client.settings)

    def begin(steps):
        write_manifest(client.storage, job_id, iter(items(9)), 4, lambda _count: None)
        if steps >= 1:
            client.storage.create(keys.job(job_id), encode_json(record), "application/json")
        if steps >= 2:
            with closing(Ledger(client.settings)) as ledger:
                ledger.open(record)
        if steps >= 3:
            send_chunk(app, next(record.refs()), Lane(1))

    yield begin
    close_app(app)


def test_a_manifest_without_a_record_is_no_job_and_says_what_to_do(client, redis, cut_off, job_id):
    cut_off(steps=0)
    for ask in (client.job(job_id).status, client.job(job_id).record):
        with pytest.raises(UnknownJob, match=f"never submitted to the end.* --job-id {job_id}"):
            ask()
    drain(redis)
    job = submit(client, job_id, items(5))
    assert (job.note, manifest(client, job), len(drain(redis))) == (None, uris(5), 2)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("way", ["submit", "resume"])
def test_a_submit_that_was_cut_off_is_completed_by_repeating_it(
    client, redis, cut_off, job_id, steps, way
):
    drain(redis)
    cut_off(steps)
    job = submit(client, job_id, items(9)) if way == "submit" else client.resume(job_id)
    assert way == "resume" or "not to the end" in job.note
    messages = drain(redis)
    assert len(messages) <= 3 + 3, "those that were sent before, and all"
    assert set(messages) == set(job.record().refs())
    assert (job.status().state, job.status().total) == ("queued", 9)
    assert "nothing was done" in submit(client, job_id, items(9)).note
    assert drain(redis) == []


def test_of_two_who_submit_the_same_id_at_once_one_does(client, redis, job_id):
    barrier, notes = threading.Barrier(2), []

    def run():
        with Client(client.settings) as own:
            barrier.wait()
            notes.append(submit(own, job_id, items(9)).note)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(notes, key=str) == [None, "was submitted before: nothing was done"]
    assert len(drain(redis)) == 3
    assert client.job(job_id).status().total == 9


def test_a_broken_line_leaves_nothing_and_the_id_can_be_used_again(client, redis, job_id, tmp_path):
    lines = "".join(f"s3://b/{number},top\n" for number in range(10))
    path = tmp_path / "m.csv"
    path.write_text(f"image_uri,target\n{lines}s3://b/10,top:none\n")
    with pytest.raises(InvalidRequest, match=r"m\.csv, line 12"):
        submit(client, job_id, [str(path)])
    assert list(client.storage.keys(f"jobs/{job_id}/")) == []
    path.write_text(f"image_uri,target\n{lines}")
    assert manifest(client, submit(client, job_id, [str(path)])) == uris(10)
    assert len(drain(redis)) == 3


@pytest.mark.parametrize("broken", [False, True])
def test_whoever_lost_an_id_to_another_producer_leaves_their_job_alone(
    client, redis, job_id, broken
):
    def slow():
        yield from items(5)
        part = keys.manifest_part(job_id, 0)
        wait_until(lambda: client.storage.exists(part), 10)
        redis.delete(f"camfleet:claim:{job_id}")  # as it is after a minute of silence
        with Client(client.settings) as other:
            submit(other, job_id, items(12, start=100))
        if broken:
            raise InvalidRequest("line 6 is broken")
        yield from items(20, start=5)

    with pytest.raises(InvalidRequest, match="line 6" if broken else "another producer has taken"):
        submit(client, job_id, slow(), keep_duplicates=True)  # which reads far ahead
    assert manifest(client, client.job(job_id)) == uris(12, start=100)
    assert len(drain(redis)) == 3


def test_a_record_that_somebody_wrote_meanwhile_is_not_written_over(client, job_id):
    def slow():
        yield from items(2)
        client.storage.put(keys.job(job_id), b"another's", "application/json")

    with pytest.raises(InvalidRequest, match=f"another producer wrote jobs/{job_id}/job.json"):
        submit(client, job_id, slow())
    assert client.storage.get(keys.job(job_id)).data == b"another's"


def test_redis_holds_as_much_for_many_images_as_for_few(client, redis, job_id):
    sizes = []
    for size in (1, 100):
        with Client(replace(client.settings, chunk_size=size)) as own:
            redis.flushdb()
            assert submit(own, f"{job_id}-{size:03d}", items(10 * size)).record().parts == 10
            sizes.append(sum(redis.memory_usage(key, samples=0) for key in redis.keys("*")))
    assert sizes[1] <= 1.02 * sizes[0] < 50_000


def test_what_sources_leave_out_is_that_of_the_submit_that_made_the_job(
    client, redis, job_id, tmp_path
):
    for name in ("a.jpg", "b.heic"):
        (tmp_path / name).write_bytes(b"")
    stale = LeftOut(kind=".pdf", files=9, why="of a submit that was cut off", examples=())
    write_source(client.storage, job_id, (stale,), "0" * 16)
    job = submit(client, job_id, tmp_path)
    assert [(kind.kind, kind.files) for kind in job.left_out()] == [(".heic", 1)]
    assert job.record().schema_version == 1
    assert len(drain(redis)) == 1, "in the queue that workers of 0.1.0 ask too"
    client.storage.delete([keys.source(job_id)])
    assert job.left_out() == (), "a job of 0.1.0"


def test_a_job_that_keeps_columns_waits_in_the_queue_of_its_form(client, redis, job_id):
    kept = [changed(item, label="rose") for item in items(2)]
    job = submit(client, job_id, kept)
    assert (job.record().schema_version, job.record().needs) == (2, "0.2.0")
    assert drain(redis) == []
    assert redis.llen("camfleet.bulk.2") == 1
    redis.delete("camfleet.bulk.2")
    assert job.warnings
    assert "no worker is alive" in job.warnings[0]
