"""camfleet results against jobs that a real worker ran: formats, filters, files, exit codes."""

import csv
import io
import json
import re
import subprocess
import sys
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from camfleet.broker.redis import redis_client
from camfleet.errors import ObjectMissing
from camfleet.jobstore import keys, parquet

pytestmark = pytest.mark.usefixtures("model")


@pytest.fixture(scope="module")
def job(run, photos):
    """Run a job of nine photographs in three parts, two rows each; give its id."""
    words = ["--model", "patches", "--target", "top:2", "--watch"]
    return run("submit", photos[0].parent, *words).stdout.split()[0]


@pytest.fixture(scope="module")
def failed_job(run, folder, photos):
    """Run a job of one photograph and one that isn't there; give its id."""
    manifest = folder / "results.csv"
    manifest.write_text(f"image_uri,id\n{photos[0]},good\ngone.png,bad\n")
    return run("submit", manifest, "--model", "patches", "--watch").stdout.split()[0]


@pytest.fixture
def forgotten(client, failed_job):
    """Let Redis forget the job with the failed image, as it does after CAMFLEET_JOB_EXPIRES."""
    redis = redis_client(client.settings)
    redis.delete(*redis.keys(f"camfleet:job:{{{failed_job}}}*"))
    redis.close()
    yield failed_job
    client.resume(failed_job)


def objects(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_csv_json_and_parquet_hold_the_same_rows(run, job, tmp_path):
    rows = objects(run("results", job, "--format", "json", "--maps"))
    assert len(rows) == 18
    assert list(rows[0]) == parquet.RESULTS.names
    path = tmp_path / "rows.parquet"
    done = run("results", job, "--output", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    written = pq.read_table(path)
    assert written.schema == parquet.RESULTS
    assert written.to_pylist() == rows
    text = run("results", job, "--format", "csv", "--maps").stdout
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [line["heatmap_uri"] for line in lines] == [row["heatmap_uri"] for row in rows]
    assert [float(line["probability"]) for line in lines] == [row["probability"] for row in rows]
    for name in ("map", "geometry", "timings"):
        assert [json.loads(line[name]) for line in lines] == [row[name] for row in rows]


def test_maps_are_given_on_request_only(run, job):
    (row,) = objects(run("results", job, "--json", "--limit", "1"))
    assert not {*parquet.MAPS} & {*row}
    (row,) = objects(run("results", job, "--json", "--limit", "1", "--column", "map"))
    assert list(row) == ["map"]
    (row,) = objects(run("results", job, "--json", "--limit", "1", "--column", "rank", "--maps"))
    assert list(row) == ["rank", *parquet.MAPS]
    assert len(row["map"]) == 32 * 48
    header = run("results", job, "--format", "csv").stdout.splitlines()[0]
    assert header.replace('"', "").split(",") == [
        name for name in parquet.RESULTS.names if name not in parquet.MAPS
    ]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--status", "ok"], 9),
        (["--status", "ok", "--status", "no_evidence"], 18),
        (["--status", "failed"], 0),
        (["--rank", "1"], 9),
        (["--class", "dark"], 9),
        (["--class", "0", "--class", "label:dark"], 18),
        (["--model", "patches@1", "--min-probability", "0.5"], 9),
        (["--max-probability", "0.5", "--image", "photo-03"], 1),
        (["--rank", "0", "--limit", "6"], 6),
    ],
)
def test_rows_are_filtered(run, job, words, count):
    rows = objects(run("results", job, "--json", *words, "--column", "item_id"))
    assert len(rows) == count
    assert all(list(row) == ["item_id"] for row in rows)


def test_a_table_shows_the_columns_asked_for(run, job, photos):
    words = ["--column", "item_id", "--column", "focus", "--item", photos[2], "--rank", "0"]
    header, _, line = run("results", job, *words).stdout.splitlines()
    assert header.split() == ["item_id", "focus"]
    item, focus = line.split(maxsplit=1)
    assert item == str(photos[2])
    assert json.loads(focus)["peak_x"] > 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--column", "prob"], 1, "no column 'prob'; the columns are item_id, image_uri"),
        (["--model", "cats"], 1, "has no model 'cats'; it was run with patches@1"),
        (["--class", "top:2"], 2, "'top:2' is neither a class index nor a label"),
        (
            ["--class", "brihgt"],
            1,
            "no model of the job has a class 'brihgt'; did you mean 'bright",
        ),
        (["--class", "2"], 1, "no model of the job has a class '2'; there are 2, such as"),
        (["--code", "image_notfound"], 2, "has the code 'image_notfound'; did you mean 'image_not"),
        (
            ["--min-probability", "0.9", "--max-probability", "0.1"],
            2,
            "--min-probability 0.9 is more than --max-probability, 0.1",
        ),
        (["--status", "done"], 2, "'done' is not one of"),
        (["--min-probability", "2"], 2, "2.0 is not in the range"),
        (["--output", "rows.txt"], 2, "say --format csv, json or parquet"),
        (["--output", "rows.csv", "--format", "table"], 2, "say --format csv, json or parquet"),
        (["--output", "/none/rows.csv"], 1, "/none/rows.csv can't be written"),
    ],
)
def test_a_wrong_question_is_named(run, job, words, code, message):
    done = run("results", job, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_failed_rows_are_found_and_exit_three(run, failed_job):
    done = run("results", failed_job, "--code", "image_not_found")
    assert done.returncode == 3
    assert "camfleet: image_not_found: " in done.stderr
    assert len(done.stdout.splitlines()) == 3
    done = run("results", failed_job, "--json", "--code", "image_too_large")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


def test_parquet_goes_through_a_pipe(client, job, worker_environ):
    words = ["results", job, "--format", "parquet", "--column", "item_id"]
    command = [sys.executable, "-c", "from camfleet.cli import main; main()", *words]
    done = subprocess.run(command, env=worker_environ, capture_output=True, check=True)
    found = pq.read_table(pa.BufferReader(done.stdout)).to_pydict()
    assert found == {"item_id": [row.item_id for row in client.job(job).results()]}


@pytest.mark.parametrize("form", ["json", "csv", "parquet", "table"])
def test_a_reader_that_has_seen_enough_ends_it_quietly(job, worker_environ, form):
    words = ["results", job, "--format", form]
    command = [sys.executable, "-c", "from camfleet.cli import main; main()", *words]
    with subprocess.Popen(
        command, env=worker_environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_an_export_that_breaks_leaves_no_file(run, client, job, tmp_path):
    record = client.job(job).record()
    key = keys.results_part(record, list(record.refs())[-1])
    kept = client.storage.get(key).data
    client.storage.put(key, b"broken", "application/vnd.apache.parquet")
    try:
        done = run("results", job, "--output", tmp_path / "rows.csv")
    finally:
        client.storage.put(key, kept, "application/vnd.apache.parquet")
    assert done.returncode == 1
    assert f"{key} is damaged (Result table is not Parquet" in done.stderr
    assert f"camfleet resume {job} runs its images again" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_redis_forgot_is_read_from_object_storage(run, forgotten):
    done = run("results", forgotten, "--json", "--status", "ok")
    assert done.returncode == 3, "an image failed, though its row wasn't asked for"
    assert len(done.stdout.splitlines()) == 1
    assert "read from object storage alone: Redis no longer knows it" in done.stderr


@contextmanager
def changed(client, job, data=None):
    """Give the key of a job's last results part, which is missing or holds other bytes."""
    record = client.job(job).record()
    *_, ref = record.refs()
    key = keys.results_part(record, ref)
    kept = client.storage.get(key).data
    client.storage.delete([key])
    if data is not None:
        client.storage.put(key, data(kept), "application/vnd.apache.parquet")
    try:
        yield key
    finally:
        client.storage.put(key, kept, "application/vnd.apache.parquet")


def test_a_part_that_is_gone_is_named_and_exits_one_whatever_is_asked(run, client, job, tmp_path):
    with changed(client, job) as key:
        for words in ([], ["--json"], ["--output", tmp_path / "rows.csv"], ["--class", "dark"]):
            done = run("results", job, *words)
            assert done.returncode == 1, words
            assert f"1 of 3 results parts are missing: {key}; camfleet resume {job}" in done.stderr
        said = run("results", job, "--json").stdout.splitlines()
        assert len(said) == 17, "the rows of two parts, and the error"
        assert json.loads(said[-1])["error"]["code"] == "object_missing"
        assert key in run("verify", job).stderr
        with pytest.raises(ObjectMissing, match=key):
            list(client.job(job).results())


def flip(data):
    """Return a part with some bits of its first column changed."""
    return data[:40] + bytes(byte ^ 0xFF for byte in data[40:400]) + data[400:]


@pytest.mark.parametrize(
    ("damage", "way"),
    [
        (lambda _: b"", "resume"),
        (lambda _: b"broken", "retry"),
        (lambda data: data[: len(data) // 2], "retry"),
        (flip, "resume"),
    ],
    ids=["empty", "other", "cut", "flipped"],
)
def test_a_damaged_part_is_named_and_resume_and_retry_get_past_it(run, client, photos, damage, way):
    job = run("submit", *photos[:6], "--model", "patches", "--watch").stdout.split()[0]
    rows = [row.item_id for row in client.job(job).results()]
    record = client.job(job).record()
    *_, ref = record.refs()
    key = keys.results_part(record, ref)
    client.storage.put(key, damage(client.storage.get(key).data), "x/y")
    for words in (["results", job], ["verify", job]):
        done = run(*words)
        assert done.returncode == 1, words
        assert f"{key} is damaged (" in done.stderr
        assert "Traceback" not in done.stderr
    assert run(way, job).returncode == 0
    assert run("watch", job, "--timeout", "60").returncode == 0
    verified = run("verify", job)
    assert verified.returncode == 0, verified.stderr
    assert [row.item_id for row in client.job(job).results()] == rows
    assert client.job(job).status().ok == 6


def test_a_file_that_holds_all_rows_exits_zero_though_images_failed(run, failed_job, tmp_path):
    path = tmp_path / "rows.csv"
    done = run("results", failed_job, "--output", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(path.read_text().splitlines()) == 3


def test_the_columns_are_listed_without_a_job(run):
    done = run("results", "--list-columns")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^grid_width +int32 +columns of the map$", done.stdout, re.MULTILINE)
    listed = json.loads(run("results", "--list-columns", "--json").stdout)
    assert {*parquet.RESULTS.names} <= {column["name"] for column in listed}
    assert all(column["meaning"] for column in listed)
    assert run("results").returncode == 2


def test_missing_parts_of_a_forgotten_job_are_counted(run, client, forgotten):
    record = client.job(forgotten).record()
    (ref,) = record.refs()
    key = keys.results_part(record, ref)
    kept = client.storage.get(key).data
    client.storage.delete([key])
    try:
        done = run("results", forgotten, "--json")
    finally:
        client.storage.put(key, kept, "application/vnd.apache.parquet")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "object_missing", "there are no rows"
    assert f"1 of 1 results parts are missing: {key}; camfleet resume {forgotten}" in done.stderr


def test_rows_are_there_while_redis_does_not_answer(run, job, worker_environ):
    environ = {**worker_environ, "CAMFLEET_REDIS_URL": "redis://127.0.0.1:9/0"}
    done = run("results", job, "--json", environ=environ)
    assert len(objects(done)) == 18
    assert "from object storage alone: no Redis at 127.0.0.1:9" in done.stderr
