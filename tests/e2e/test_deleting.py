"""camfleet delete and prune beside a real worker, and a whole installation restored from a copy."""

import json
import re
from contextlib import closing

import pytest

from camfleet import Client, InvalidRequest
from camfleet.broker.redis import redis_client
from camfleet.jobstore import keys
from camfleet.settings import Settings
from helpers.databases import environ_on
from helpers.producers import drain
from helpers.samples import write_card, write_photos
from helpers.worker_services import services

MODEL = "deleting"


@pytest.fixture(scope="module")
def images(client, folder):
    client.models.add(write_card(folder / "deleting-card", MODEL), timeout=240)
    return write_photos(folder / "deleted photos", 24)


def pictures(client, job):
    """Return the pictures that a job's rows name, all of which are there."""
    rows = [row for row in job.results() if row.status != "failed"]
    return {uri: client.storage.get(uri).data for row in rows for uri in (row.overlay_uri,)}


def test_a_job_is_deleted_while_another_explains_the_same_images(client, images, run):
    one = client.submit(images, models=MODEL, upload=True)
    assert one.wait(timeout=180).ok == len(images)
    before = pictures(client, one)
    again = [image for _ in range(20) for image in images]
    running = client.submit(again, models=MODEL, upload=True, keep_duplicates=True)
    with pytest.raises(InvalidRequest, match=f"camfleet cancel {running.id}"):
        client.delete(running.id)
    done = run("delete", one.id, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["deleted"] == [one.id]
    assert said["kept"] == []
    assert said["bytes"] == sum(amount["bytes"] for amount in said["freed"].values()) > 0
    assert list(client.storage.keys(keys.folder(one.id))) == []
    assert running.wait(timeout=180).ok == len(again)
    assert running.verify().passed
    assert pictures(client, running) == before
    status = run("status", one.id)
    assert status.returncode == 1
    assert f"no job '{one.id}'" in status.stderr


def test_what_is_said_of_a_prune(client, images, run):
    job = client.submit(images[:2], models=MODEL)
    assert job.wait(timeout=180).ok == 2
    would = run("prune", "--older-than", "90d", "--dry-run")
    assert would.returncode == 0, would.stderr
    assert "0 jobs would be deleted; would free 0 objects" in would.stdout
    wrong = run("prune", "--older-than", "soon")
    assert wrong.returncode == 2
    assert "'soon' is no age: a number and m, h, d or w, such as 90d" in wrong.stderr
    assert run("delete", "no-such-job").returncode == 1
    client.storage.put(keys.manifest_part("deleting-cut-off", 0), b"", "")
    listed = json.loads(run("jobs", "--json").stdout)
    states = {each["job_id"]: each["state"] for each in listed}
    assert (states[job.id], states["deleting-cut-off"]) == ("complete", "unfinished")
    listed = json.loads(run("jobs", "--json", "--redis-only").stdout)
    assert "deleting-cut-off" not in [each["job_id"] for each in listed]
    assert "unfinished" in run("jobs").stdout
    assert run("delete", "deleting-cut-off").returncode == 0
    table = run("delete", job.id, "--dry-run").stdout
    assert table.splitlines()[0].split() == ["kind", "objects", "size"]
    assert "1 job would be deleted; would free" in table
    assert job.verify().passed
    assert "1 job deleted; freed" in run("delete", job.id).stdout


def copy(storage, source, target):
    """Do what `aws s3 sync` does with a whole bucket."""
    for each in storage.objects(f"s3://{source}/"):
        storage.put(f"s3://{target}/{each.key}", storage.get(f"s3://{source}/{each.key}").data, "")


@pytest.fixture
def own(worker_environ):
    """Give an installation of its own, with no worker, and a bucket for its backup."""
    environ = {**environ_on(worker_environ, 12), "CAMFLEET_BUCKET": "restored"}
    for bucket in ("restored-backup", "restored"):
        with Client.from_environ({**environ, "CAMFLEET_BUCKET": bucket}) as client:
            client.storage.set_up()
    with Client.from_environ(environ) as client:
        yield client


def test_an_installation_is_restored_from_a_copy_of_its_bucket(own, worker_environ, folder, run):
    photos = write_photos(folder / "restored photos", 8)
    settings = Settings.from_environ(
        {
            **worker_environ,
            "CAMFLEET_BUCKET": own.settings.bucket,
            "CAMFLEET_REDIS_URL": own.settings.redis_url,
        }
    )
    with (
        closing(redis_client(own.settings)) as redis,
        closing(services(settings)) as worker,
    ):
        redis.flushdb()
        own.models._check = lambda digest, _timeout: worker.check(digest)
        ref, _ = own.models.add(write_card(folder / "restored-card", "restored"))
        done = own.submit(photos, models="restored", force=True)
        for chunk in drain(redis):
            worker.chunks.run(chunk)
        before, made = list(done.results()), pictures(own, done)
        live = own.submit(photos, models="restored", method="gradcam++", force=True)
        first, *_ = drain(redis)
        worker.chunks.run(first)

        copy(own.storage, "restored", "restored-backup")
        redis.flushdb()
        assert {job.job_id: job.state for job in own.forgotten_jobs()} == {
            done.id: "stored",
            live.id: "stored",
        }
        own.storage.delete(list(own.storage.keys("")))
        assert list(own.storage.keys("")) == []
        copy(own.storage, "restored-backup", "restored")

        assert own.models.find("restored") == ref
        own.resume(done.id)
        assert done.verify().passed
        assert list(done.results()) == before
        assert pictures(own, done) == made
        assert own.resume(live.id).status().done == 4
        for chunk in drain(redis):
            worker.chunks.run(chunk)
        assert live.verify().passed
        assert live.status().ok == 8

        environ = {**worker_environ, "CAMFLEET_BUCKET": "restored"}
        environ["CAMFLEET_REDIS_URL"] = own.settings.redis_url
        for job in (done, live):
            own.storage.put(f"{keys.report_folder(job.id)}index.html", b"page", "")
        for job in (done, live):
            page = f"{keys.report_folder(job.id)}index.html"
            own.storage.put(page, b"<!doctype html>", "text/html")
        pruned = run("prune", "--older-than", "0m", "--keep-report", environ=environ)
        assert pruned.returncode == 0, pruned.stderr
        assert "0 jobs deleted; the results of 2 jobs deleted; freed" in pruned.stdout
        said = run("status", done.id, environ=environ).stdout
        assert re.search(r"pruned +\S+ \S+: its results were deleted, its report was kept", said)
        assert "8 ok, 0 no evidence, 0 failed" in said
        refused = run("results", done.id, "--json", environ=environ)
        assert refused.returncode == 1
        assert json.loads(refused.stdout)["error"]["code"] == "results_pruned"
        redis.flushdb()
