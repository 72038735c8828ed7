"""Failed images run again, and nothing else: through a worker's real parts, exact at every step."""

import itertools
from contextlib import closing

import pytest

from camfleet import Client
from camfleet.broker.keys import attempts
from camfleet.broker.ledger import Ledger
from camfleet.contract.records import ChunkRef
from camfleet.errors import InvalidRequest
from camfleet.jobstore import keys, parquet
from helpers.databases import on_database
from helpers.producers import drain
from helpers.samples import write_card, write_photos
from helpers.worker_services import services

LOST, BROKEN = "image_not_found", "image_unreadable"
numbers = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("retried")


@pytest.fixture(scope="module")
def own(settings, folder):
    return on_database(
        settings,
        8,
        file_roots=(folder,),
        model_dir=folder / "models",
        chunk_size=4,
        batch_size=4,
        io_threads=4,
    )


@pytest.fixture(scope="module")
def worker(own):
    with closing(services(own)) as made:
        yield made


@pytest.fixture(scope="module")
def client(own, worker, folder):
    with Client(own) as made:
        made.models._check = lambda digest, _timeout: worker.check(digest)
        made.models.add(write_card(folder / "card", "retried"))
        yield made


@pytest.fixture
def run(worker, redis):
    """Give a function that does what the messages say, and returns how many images that were."""

    def run(refs=None):
        before = worker.metrics.explained
        for ref in drain(redis) if refs is None else refs:
            worker.chunks.run(ref)
        return worker.metrics.explained - before

    return run


@pytest.fixture
def photos(folder):
    """Give six photographs in a folder of their own, of which three can't be read yet."""
    made = write_photos(folder / f"photos-{next(numbers)}", 6)
    whole = [path.read_bytes() for path in made]
    made[1].unlink()
    made[3].write_bytes(whole[3][:60])
    made[5].unlink()
    return made, whole


@pytest.fixture
def submit(client, photos):
    """Give a function that submits the six photographs, in two chunks."""

    def submit(**options):
        path = photos[0][0].parent / "m.csv"
        path.write_text(
            "image_uri,id\n" + "".join(f"{photo},{photo.stem[-1]}\n" for photo in photos[0])
        )
        return client.submit([str(path)], models=["retried"], **options)

    return submit


def said(job):
    """Return the totals, after a proof that they and the parts agree."""
    assert job.verify().passed
    progress = job.status()
    assert progress.complete
    return progress.ok, progress.failures, progress.retry


def ends(rows):
    return [row.error_code or str(row.status) for row in rows]


def history(client, job, retry, part):
    ref = ChunkRef(job_id=job.id, model=0, part=part, retry=retry)
    return client.storage.get(keys.history_part(job.record(), ref)).data


def test_only_the_failed_images_of_the_wanted_codes_run_again(client, redis, run, photos, submit):
    paths, whole = photos
    job = submit()
    assert run() == 6
    assert said(job) == (3, {LOST: 2, BROKEN: 1}, 0)
    for place in (1, 3, 5):
        paths[place].write_bytes(whole[place])

    _, images = client.retry(job.id, [LOST])
    assert (images, job.status().state, job.status().done) == (2, "queued", 6)
    assert run() == 2
    assert said(job) == (5, {BROKEN: 1}, 1)
    assert not redis.exists(attempts(job.id)), "nothing is kept of chunks that are counted"
    assert [row.image_uri for row in job.results()] == [str(path) for path in paths]
    assert ends(job.results()) == ["ok", "ok", "ok", BROKEN, "ok", "ok"]
    assert ends(parquet.read_results(history(client, job, 1, 0))) == ["ok", LOST, "ok", BROKEN]
    assert ends(parquet.read_results(history(client, job, 1, 1))) == ["ok", LOST]

    _, images = client.retry(job.id)
    assert (images, job.status().retry) == (1, 2), "a second retry numbers on"
    assert run() == 1
    assert said(job) == (6, {}, 2)
    assert ends(parquet.read_results(history(client, job, 2, 0))) == ["ok", "ok", "ok", BROKEN]


def test_rows_that_do_not_run_again_stay_as_they_are(client, run, photos, submit):
    paths, whole = photos
    job = submit(target="top:2")
    run()
    before = {(row.item_id, row.rank): row for row in job.results()}
    paths[1].write_bytes(whole[1])
    client.retry(job.id)
    assert run() == 3
    rows = list(job.results())
    pairs = [("0", 0), ("0", 1), ("1", 0), ("1", 1), ("2", 0), ("2", 1), ("3", 0)]
    assert [(row.item_id, row.rank) for row in rows] == [*pairs, ("4", 0), ("4", 1), ("5", 0)]
    assert [row.error_code for row in rows if row.item_id == "1"] == [None, None]
    kept = [row for row in rows if row.item_id in ("0", "2", "4")]
    assert kept == [before[row.item_id, row.rank] for row in kept]
    assert said(job) == (4, {LOST: 1, BROKEN: 1}, 1)


def test_what_fails_otherwise_than_before_is_counted_as_it_fails_now(client, run, photos, submit):
    job = submit()
    run()
    photos[0][1].write_bytes(b"no image")
    client.retry(job.id, [LOST])
    run()
    assert said(job) == (3, {LOST: 1, BROKEN: 2}, 1)


def test_items_of_the_same_id_are_told_apart_by_their_place(client, run, photos, folder):
    paths, whole = photos
    source = folder / "same.csv"
    source.write_text("image_uri,id\n" + "".join(f"{path},same\n" for path in paths[:4]))
    job = client.submit([str(source)], models=["retried"])
    run()
    paths[3].write_bytes(whole[3])
    client.retry(job.id)
    assert run() == 2
    assert ends(job.results()) == ["ok", LOST, "ok", "ok"]
    assert said(job) == (3, {LOST: 1}, 1)


def test_nothing_to_retry_leaves_the_job_alone(client, redis, run, submit):
    job = submit()
    run()
    before = job.status()
    _, images = client.retry(job.id, ["nonfinite"])
    assert images == 0
    assert job.status() == before
    assert drain(redis) == []
    assert list(client.storage.keys(keys.retries(job.id))) == []


def test_a_job_that_runs_or_is_cancelled_can_not_be_retried(client, redis, run, submit):
    job = submit()
    first, second = drain(redis)
    run([first])
    with pytest.raises(InvalidRequest, match=f"job {job.id} is running"):
        client.retry(job.id)
    job.cancel()
    with pytest.raises(InvalidRequest, match=f"job {job.id} is cancelled.* camfleet resume"):
        client.retry(job.id)
    client.resume(job.id)
    assert run() == 2
    run([second])
    client.retry(job.id)
    with pytest.raises(InvalidRequest, match=f"job {job.id} is queued"):
        client.retry(job.id)


def test_a_retry_that_loses_redis_half_way_goes_on_from_storage(client, redis, run, photos, submit):
    paths, whole = photos
    job = submit()
    run()
    for place in (1, 5):
        paths[place].write_bytes(whole[place])
    client.retry(job.id)
    first, second = drain(redis)
    run([first])
    redis.flushdb()
    client.resume(job.id)
    progress = job.status()
    assert (progress.ok, progress.failures, progress.chunks_done) == (4, {LOST: 1, BROKEN: 1}, 1)
    messages = drain(redis)
    assert messages == [second]
    assert run(messages) == 1
    assert said(job) == (5, {BROKEN: 1}, 1)


def test_a_chunk_that_was_stored_but_not_counted_is_counted_without_running_again(
    client, own, run, submit
):
    job = submit()
    run()
    before = said(job)
    with closing(Ledger(own)) as ledger:
        ledger.open(job.record())  # as it was before anything was counted
    assert job.status().done == 0
    assert run(list(job.record().refs())) == 0
    assert said(job) == before


def test_a_retry_of_a_job_that_redis_forgot_begins_from_storage(client, redis, run, photos, submit):
    job = submit()
    run()
    redis.flushdb()
    photos[0][1].write_bytes(photos[1][1])
    _, images = client.retry(job.id)
    assert images == 3
    assert run() == 3
    assert said(job) == (4, {LOST: 1, BROKEN: 1}, 1)
