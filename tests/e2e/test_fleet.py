"""What an operator does beside watching: dry runs, repeats, retries, looking after workers."""

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

from camfleet.jobstore import keys
from helpers.waiting import wait_until


@pytest.fixture
def manifest(photos, folder):
    path = folder / "list.jsonl"
    rows = [{"image_uri": str(photo)} for photo in (*photos, photos[0], photos[1])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_dry_run_counts_checks_and_samples_and_leaves_no_job(run, model, manifest):
    before = run("jobs", "--json").stdout
    said = run("submit", manifest, "--model", "patches", "--dry-run", "--json")
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert (found["items"], found["duplicates"], found["broken"]) == (9, 2, 0)
    assert (found["images"], found["chunks"], found["sampled"]) == (9, 3, 9)
    assert found["unreadable"] == []
    assert run("jobs", "--json").stdout == before


def test_a_dry_run_says_what_the_job_takes_once_workers_have_measured_it(
    run, client, model, manifest
):
    client.submit(str(manifest), models=["patches"]).wait(timeout=180)
    name = f"{model.id}@{model.version}"
    wait_until(lambda: any(name in worker.measured.rates for worker in client.workers()), 20)
    found = json.loads(run("submit", manifest, "--model", "patches", "--dry-run", "--json").stdout)
    estimate = found["estimate"]
    assert estimate["images_per_second"] > 0
    assert estimate["writes"] == 9 * 2 + 2 * 3 + 2
    assert estimate["bytes_read"] > 1000
    assert estimate["bytes_written"] > 1000
    assert estimate["unknown"] == []
    said = run("submit", manifest, "--model", "patches", "--dry-run").stdout
    assert "images/s, on the workers that live" in said
    assert "reads, 26 writes" in said


def test_a_dry_run_names_broken_lines_and_images_that_a_worker_cannot_read(
    run, model, manifest, folder
):
    lines = manifest.read_text().splitlines()
    broken = folder / "broken.jsonl"
    gone = json.dumps({"image_uri": str(folder / "photos" / "gone.png")})
    broken.write_text("\n".join([*lines[:2], "{", gone, '{"image": 3}']) + "\n")
    said = run("submit", broken, "--model", "patches", "--dry-run")
    assert said.returncode == 1
    assert "broken.jsonl, line 3" in said.stderr
    assert "broken.jsonl, line 5" in said.stderr
    assert "image_not_found" in said.stderr
    assert "samples     3 tried, 1 unreadable" in said.stdout


def test_duplicates_are_explained_once_unless_they_are_kept(run, client, model, manifest):
    once = json.loads(run("submit", manifest, "--model", "patches", "--json").stdout)
    assert (once["images"], once["duplicates"]) == (9, 2)
    every = run("submit", manifest, "--model", "patches", "--json", "--keep-duplicates")
    assert json.loads(every.stdout)["images"] == 11
    assert client.job(json.loads(every.stdout)["job_id"]).wait(timeout=180).ok == 11


def test_the_same_job_id_is_never_submitted_twice(run, client, model, photos):
    words = ("submit", photos[0], "--model", "patches", "--job-id", "only-once", "--dry-run")
    assert json.loads(run(*words, "--json").stdout)["note"] is None
    first = run("submit", photos[0], "--model", "patches", "--job-id", "only-once")
    assert first.returncode == 0, first.stderr
    again = run("submit", photos[1], "--model", "patches", "--job-id", "only-once")
    assert again.returncode == 0
    assert again.stdout.strip() == "only-once"
    assert "was submitted before: nothing was done" in again.stderr
    dry = run(*words)
    assert dry.returncode == 0
    assert "job only-once was submitted before: a submit does nothing" in dry.stderr
    assert client.dry_run(photos[0], models="patches", job_id="only-once").note in dry.stderr


def test_a_dry_run_knows_what_is_left_of_a_job_with_that_id(run, client, model, photos):
    words = ("submit", photos[0], "--model", "patches", "--job-id", "half-there")
    job = client.submit(photos[0], models="patches", job_id="half-there")
    job.wait(timeout=180)
    client.delete("half-there", force=True)
    client.storage.put(f"{keys.results('half-there')}left", b"x", "text/plain")
    for more in ((), ("--dry-run",)):
        said = run(*words, *more)
        assert said.returncode == 1
        assert "camfleet delete half-there removes them" in said.stderr


def test_a_retry_runs_the_failed_images_again_and_keeps_the_old_rows(run, client, photos, folder):
    late = folder / "photos" / "late.png"
    listed = folder / "late.csv"
    listed.write_text(f"image_uri\n{photos[0]}\n{late}\n{folder / 'never.png'}\n")
    job = client.submit(str(listed), models=["patches"])
    assert job.wait(timeout=180).failures == {"image_not_found": 2}
    status = run("status", job.id)
    assert status.returncode == 3
    assert "2 image_not_found" in status.stdout
    late.write_bytes(photos[1].read_bytes())
    nothing = run("retry", job.id, "--code", "image_too_large")
    assert (nothing.returncode, "nothing was done" in nothing.stdout) == (0, True)
    again = run("retry", job.id, "--code", "image_not_found", "--json")
    assert json.loads(again.stdout)["images"] == 2
    progress = job.wait(timeout=180)
    assert (progress.ok, progress.failures, progress.retry) == (2, {"image_not_found": 1}, 1)
    assert [row.status for row in job.results()] == ["ok", "ok", "failed"]
    assert job.verify().passed
    assert any("history" in key for key in client.storage.keys(f"jobs/{job.id}/history/"))
    late.unlink()


def test_live_workers_tell_of_themselves(run, client, model, photos):
    assert client.explain(str(photos[0]), model="patches").result(timeout=60)
    listed = wait_until(lambda: json.loads(run("workers", "--json").stdout), 30)
    (worker,) = (state for state in listed if "patches@1" in state["models"])
    assert worker["device"] == "CPU"
    assert worker["trouble"] is None
    table = run("workers").stdout
    assert worker["name"] in table
    assert table.split()[:2] == ["worker", "version"]
    assert worker["version"] == version("camfleet")
    assert f" {worker['version']} " in table


def test_health_follows_whether_a_worker_gets_messages(run, worker, worker_environ, folder):
    well = run("health")
    assert well.returncode == 0, well.stderr
    nobody = run("health", "--host", "elsewhere")
    assert nobody.returncode == 1
    assert "no worker on elsewhere" in nobody.stderr
    away = {**worker_environ, "CAMFLEET_REDIS_URL": "redis://127.0.0.1:9/0"}
    lost = run("health", environ=away)
    assert lost.returncode == 1
    assert "127.0.0.1:9" in lost.stderr


def test_a_worker_that_hangs_is_unhealthy_soon(run, worker_environ, folder):
    own = {**worker_environ, "CAMFLEET_REDIS_URL": worker_environ["CAMFLEET_REDIS_URL"][:-1] + "3"}
    command = [sys.executable, "-m", "celery", "-A", "camfleet_worker", "worker"]
    with (folder / "hangs.log").open("wb") as log:
        process = subprocess.Popen(command, env=own, stdout=log, stderr=log)
    try:
        wait_until(lambda: run("health", environ=own).returncode == 0, 60)
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: run("health", environ=own).returncode == 1, 40)
    finally:
        process.kill()
        process.wait(20)
