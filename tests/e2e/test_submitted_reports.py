"""submit --report, as an auditor uses it: nobody waits at a terminal for the report."""

import json

import pytest
from msgspec.structs import replace as changed

from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.records import Pruned
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.jobstore import keys
from helpers.waiting import wait_until


@pytest.fixture(scope="module")
def reported(client, model, photos):
    """Give a job whose report is written."""
    made = client.submit([str(path) for path in photos], models=["patches"], report=True)
    wait_until(lambda: made.status().followed, 60)
    return made


def test_its_report_lies_in_the_jobs_own_folder_and_status_says_so(client, run, reported):
    uri = f"s3://{client.settings.bucket}/jobs/{reported.id}/report/index.html"
    progress = reported.status()
    assert (progress.report.state, progress.report_uri) == ("done", uri), progress.report
    page = client.storage.get(uri).data.decode()
    assert page.startswith("<!doctype html>")
    assert page.count("data:image/jpeg") > 5, "with photographs that this worker made"
    shown = run("status", reported.id).stdout
    assert f"report        {uri}" in shown
    assert progress.report.note in shown
    said = json.loads(run("status", reported.id, "--json").stdout)
    assert said["report"] == {"state": "done", "uri": uri, "note": progress.report.note}
    assert said["faithfulness"] is None


def test_its_numbers_can_be_read_in_python(reported):
    (model,) = reported.report().models
    assert model.accounting.images == reported.status().total == 9


def test_it_is_the_report_that_the_command_writes(run, reported, client, tmp_path):
    assert run("report", reported.id, "--output", tmp_path).returncode == 0
    folder = f"jobs/{reported.id}/report/"
    for path in tmp_path.iterdir():
        assert client.storage.get(f"{folder}{path.name}").data == path.read_bytes(), path.name


def test_it_is_fetched_by_a_command_also_where_the_results_are_gone(
    run, reported, client, tmp_path
):
    folder = tmp_path / "stored"
    done = run("report", reported.id, "--stored", "--output", folder)
    assert (done.returncode, done.stdout.strip()) == (0, str(folder / "index.html")), done.stderr
    names = {"index.html", "report.json", "classes.parquet", "suspicious.parquet", "worst.parquet"}
    assert {path.name for path in folder.iterdir()} == names
    for name in names:
        stored = client.storage.get(f"jobs/{reported.id}/report/{name}").data
        assert (folder / name).read_bytes() == stored
    key = keys.job("report-of-a-pruned-job")
    record = changed(
        reported.record(),
        job_id="report-of-a-pruned-job",
        pruned=Pruned(pruned_at=1.7e9, ended_at=1.7e9, state="complete", ok=9, no_evidence=0,
                      failed=0, failures={}, retry=0),
    )  # fmt: skip
    client.storage.put(key, encode_json(sealed(record, 2)), "")
    words = ("report", record.job_id, "--stored", "--output", tmp_path / "pruned")
    none = run(*words)
    assert none.returncode == 1
    assert "no report of job report-of-a-pruned-job lies in s3://" in none.stderr
    assert not (tmp_path / "pruned").exists()
    place = keys.report_folder(record.job_id)
    client.storage.put(f"{place}index.html", b"page", "")
    refused = run("report", record.job_id)
    assert "camfleet report report-of-a-pruned-job --stored" in " ".join(refused.stderr.split())
    assert run(*words).returncode == 0
    assert [path.name for path in (tmp_path / "pruned").iterdir()] == ["index.html"]


def test_the_command_submits_it_and_watch_ends_with_the_last_image(run, client, photos):
    done = run("submit", photos[0], "--model", "patches", "--report", "--watch")
    assert done.returncode == 0, done.stderr
    job = client.job(done.stdout.split()[0])
    wait_until(lambda: job.status().followed, 60)
    assert job.status().report.state == "done"
    assert "\nreport     " in done.stdout


def test_a_retry_says_that_the_report_is_written_anew(run, client, folder, photos):
    path = folder / "comes-later.png"
    path.write_bytes(b"no picture yet")
    job = client.submit([str(path)], models=["patches"], report=True, force=True)
    wait_until(lambda: job.status().followed, 60)
    assert job.status().report.note == "Nothing can be said: all 1 images failed."
    path.write_bytes(photos[0].read_bytes())
    done = run("retry", job.id)
    assert "its report is written anew after that, to the same place" in done.stdout
    wait_until(lambda: job.status().followed, 60)
    assert (job.status().retry, job.report().models[0].accounting.ok) == (1, 1)


def test_a_place_that_no_worker_writes_to_is_refused_before_the_job(run, client, photos):
    words = ("submit", photos[0], "--model", "patches", "--report-to", "s3://elsewhere/weekly")
    done = run(*words)
    assert done.returncode == 1
    assert "add elsewhere or a prefix of it to their CAMFLEET_REPORT_ROOTS" in done.stderr
    dry = run(*words, "--dry-run", "--json")
    assert dry.returncode == 1
    assert "CAMFLEET_REPORT_ROOTS" in json.loads(dry.stdout)["doomed"][0]
    job = client.submit(
        [str(photos[0])], models=["patches"], report="s3://elsewhere/weekly", force=True
    )
    wait_until(lambda: job.status().followed, 60)
    assert job.status().report.state == "failed"
    assert f"failed: {job.status().report.note[:20]}" in run("status", job.id).stdout


def test_a_cancelled_job_has_none(run, client, folder):
    lost = [f"http://127.0.0.1:9/{number}.jpg" for number in range(50)]
    job = client.submit(lost, models=["patches"], report=True, force=True)
    job.cancel()
    found = job.status()
    if found.state == "cancelled":
        assert found.report == FollowUp(state="dropped", note="the job was cancelled")
        assert "report        none: the job was cancelled" in run("status", job.id).stdout
    with pytest.raises(ObjectMissing):
        job.report()


def test_what_lies_in_the_place_of_a_report_is_named(client, model, photos):
    job = client.submit([str(photos[0])], models=["patches"])
    client.storage.put(f"jobs/{job.id}/report/report.json", b'{"models": 1}', "application/json")
    with pytest.raises(InvalidRequest, match=f"jobs/{job.id}/report/report.json: Report: "):
        job.report()


def test_faithfulness_is_measured_before_the_report(run, client, folder, photos):
    words = ("submit", folder / "photos", "--model", "patches", "--faithfulness", 6, "--report")
    done = run(*words)
    assert done.returncode == 0, done.stderr
    job = client.job(done.stdout.split()[0])
    wait_until(lambda: job.status().followed, 90)
    progress = job.status()
    assert (progress.faithfulness.state, progress.report.state) == ("done", "done"), progress
    assert progress.faithfulness.note.startswith(("undecided", "faithful", "not faithful"))
    found = json.loads(client.storage.get(progress.faithfulness.uri).data)
    assert (found["sample"], found["models"][0]["measured"]) == (6, 6)
    assert f"faithfulness  {progress.faithfulness.uri}" in run("status", job.id).stdout
