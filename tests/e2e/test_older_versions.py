"""Jobs that version 0.1.0 submitted: read, proved, finished and run again by this one.

tests/fixtures/v0.1.0 holds what that version wrote: its bucket, its keys in Redis, and messages as
they lay in its queues.
"""

import json
from base64 import b64decode
from contextlib import closing
from pathlib import Path

import pytest

from camfleet.broker.redis import redis_client
from camfleet.errors import UnknownJob

OLD = Path(__file__).parents[1] / "fixtures" / "v0.1.0"
BUCKET = OLD / "bucket"
MISSING = "uploads/missing.png"


@pytest.fixture(scope="module")
def bucket(client, model):
    """Put the jobs and images of the old version into the bucket; give its storage.

    But for its entry of `patches`, which is the name of the other tests' model, too.
    """
    for path in sorted(BUCKET.rglob("*")):
        here = path.relative_to(BUCKET)
        if path.is_file() and here != Path("registry/patches/1.json"):
            client.storage.put(str(path.relative_to(BUCKET)), path.read_bytes(), "")
    return client.storage


@pytest.fixture
def redis(client):
    with closing(redis_client(client.settings)) as made:
        yield made


@pytest.fixture
def remembered(bucket, redis):
    """Put the keys of the old version into Redis."""
    for key, held in json.loads((OLD / "redis.json").read_text()).items():
        redis.delete(key)
        if held["type"] == "hash":
            redis.hset(key, mapping=held["value"])
        elif held["type"] == "stream":
            for stamp, fields in held["value"]:
                redis.xadd(key, fields, id=stamp)
        else:
            redis.set(key, b64decode(held["base64"]).decode("latin-1").encode("latin-1"))


def test_its_totals_in_redis_are_read(client, remembered):
    progress = client.job("shapes").status()
    assert (progress.state, progress.ok, progress.failed, progress.retry) == ("complete", 6, 0, 1)
    progress = client.job("two-models").status()
    assert (progress.ok, progress.failed) == (6, 2)
    assert progress.failures == {"image_not_found": 2}


def test_its_rows_are_read_without_redis(client, bucket, run):
    rows = [row for row in client.job("shapes").results() if row.rank == 0]
    assert [row.status for row in rows] == ["ok"] * 6
    assert all(row.regions and row.regions[0].rle for row in rows)
    rows = list(client.job("fused").results())
    assert [layer.layer for layer in rows[0].layer_maps] == ["conv1", "conv2"]
    done = run("results", "shapes", "--json", "--rank", "0")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 6), done.stderr


def test_its_results_are_reported_and_exported(bucket, run, tmp_path):
    done = run("report", "shapes", "--no-photographs", "--output", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "shapes" in (tmp_path / "report" / "index.html").read_text()
    done = run(
        "export", "shapes", "--format", "coco", "--shape", "rle", "--output", tmp_path / "coco"
    )
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "coco").rglob("*.json")
    coco = json.loads(written.read_text())
    assert len(coco["images"]) == 6
    assert {each["image_id"] for each in coco["annotations"]} == {
        each["id"] for each in coco["images"]
    }


def test_a_job_that_redis_forgot_is_rebuilt_and_proved(client, bucket, run):
    with pytest.raises(UnknownJob, match="camfleet resume"):
        client.job("fused").status()
    assert run("resume", "fused").returncode == 0
    assert client.job("fused").status().complete
    done = run("verify", "fused")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_job_that_was_cut_off_is_finished(client, bucket, run):
    before = bucket.get("jobs/cut-off/results/patches-0/part-00000.parquet").data
    assert run("resume", "cut-off").returncode == 0
    assert client.job("cut-off").wait(timeout=180).complete
    assert client.job("cut-off").verify().faults == ()
    assert bucket.get("jobs/cut-off/results/patches-0/part-00000.parquet").data == before
    assert [row.status for row in client.job("cut-off").results()] == ["ok"] * 6


def test_its_failed_images_run_again(client, remembered, bucket, run):
    photo = next(BUCKET.glob("uploads/*.png"))
    bucket.put(MISSING, photo.read_bytes(), "image/png")
    try:
        done = run("retry", "two-models", "--json")
        assert json.loads(done.stdout)["images"] == 2
        assert client.job("two-models").wait(timeout=180).failed == 0
    finally:
        bucket.delete([MISSING])
    assert client.job("two-models").verify().faults == ()
    assert {row.model_id for row in client.job("two-models").results()} == {"layered", "patches"}


def test_a_message_that_waited_through_the_upgrade_is_run(client, bucket, redis):
    client.resume("queued")  # so that Redis knows the job, as it did before the upgrade
    assert client.job("queued").wait(timeout=180).complete
    redis.delete("camfleet:job:{queued}:done")
    bucket.delete(["jobs/queued/results/patches-0/part-00000.parquet"])
    redis.hset("camfleet:job:{queued}", mapping={"ok": 0, "chunks_done": 0})
    redis.hdel("camfleet:job:{queued}", "finished_at")
    redis.lpush("camfleet.bulk", (OLD / "message.bulk.json").read_text())
    assert client.job("queued").wait(timeout=180).complete
    assert client.job("queued").verify().faults == ()


def test_a_request_that_waited_through_the_upgrade_is_answered(bucket, redis):
    message = json.loads((OLD / "message.interactive.json").read_text())
    redis.lpush("camfleet.interactive", json.dumps(message))
    key = f"celery-task-meta-{message['headers']['id']}"
    from helpers.waiting import wait_until

    wait_until(lambda: redis.get(key), 30)
    reply = json.loads(redis.get(key))["result"]
    assert reply["error"] is None
    assert {name for row in reply["results"] for name in row} == set(
        json.loads((OLD / "reply.json").read_text())["results"][0]
    )
