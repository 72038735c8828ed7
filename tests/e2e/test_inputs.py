"""What goes into a job: kept columns on their way to the results, files left out, doomed jobs."""

import json
import os
import time

import pytest

from camfleet.errors import InvalidRequest, LayerRefused
from camfleet.jobstore import keys
from helpers.samples import write_photos
from helpers.waiting import wait_until

pytestmark = pytest.mark.usefixtures("model")


@pytest.fixture
def alive(client):
    """Wait until the worker has told of itself."""
    wait_until(client.workers, 30)


@pytest.fixture
def nobody(worker_environ):
    """Return the environment of a fleet without workers."""
    url = worker_environ["CAMFLEET_REDIS_URL"]
    return {**worker_environ, "CAMFLEET_REDIS_URL": url.removesuffix("/1") + "/13"}


@pytest.fixture
def labelled(folder, photos):
    path = folder / "labelled.jsonl"
    rows = [
        {
            "image_uri": str(photo),
            "label": ("bright", "dark")[number % 2],
            "boxes": [[0, 0, 10, 20.5]],
            "group": number // 2,
            "split": "test" if number % 3 else "train",
            "weight": number / 2,
        }
        for number, photo in enumerate(photos)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_kept_columns_travel_into_the_results_and_select_rows(run, client, labelled):
    names = ("label", "boxes", "group", "split", "weight")
    words = [word for name in names for word in ("--keep-column", name)]
    said = run("submit", labelled, "--model", "patches", "--watch", "--json", *words)
    assert said.returncode == 0, said.stderr
    job = client.job(json.loads(said.stdout.splitlines()[0])["job_id"])
    record = job.record()
    assert (record.schema_version, record.needs, record.columns) == (2, "0.2.0", names)
    first = next(job.results())
    assert (first.label, first.boxes, first.group) == ("bright", "[[0.0,0.0,10.0,20.5]]", "0")
    assert json.loads(first.columns) == {"split": "train", "weight": 0.0}
    right = [row.label == row.class_name for row in job.results()]
    assert len(right) == 9
    assert any(right), "right and wrong are told without a join"
    table = run("results", job.id, "--format", "csv", "--column", "split", "--column", "group")
    assert table.stdout.splitlines()[:3] == ['"split","group"', '"train","0"', '"test","0"']
    words = ("--where", "split=train", "--where", "label=bright", "--json")
    rows = [json.loads(line) for line in run("results", job.id, *words).stdout.splitlines()]
    assert [row["image_uri"] for row in rows] == [
        row.image_uri for row in job.results(where={"split": "train", "label": ["bright"]})
    ]
    assert len(rows) == 2
    wrong = run("results", job.id, "--where", "splt=train")
    assert "kept no column 'splt'; it kept label, boxes, group, split, weight" in wrong.stderr
    assert job.verify().passed


def test_a_retry_keeps_what_was_kept(client, folder, photos):
    manifest = folder / "late.jsonl"
    late = folder / "photos" / "later.png"
    rows = [{"image_uri": str(path), "label": path.name} for path in (photos[0], late)]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    job = client.submit(manifest, models="patches", keep_columns=["label"])
    assert job.wait(timeout=180).failed == 1
    assert [row.label for row in job.results()] == [photos[0].name, late.name], "failed ones too"
    late.write_bytes(photos[1].read_bytes())
    client.retry(job.id)
    assert job.wait(timeout=180).ok == 2
    assert [row.label for row in job.results()] == [photos[0].name, late.name]
    late.unlink()


LATIN = os.fsdecode(b"caf\xe9.jpg")


@pytest.fixture
def mixed(folder):
    """Return a folder of two photographs and much that is none."""
    place = folder / "mixed"
    write_photos(place, 2)
    for name in ("a.heic", "b.HEIC", "c.pdf", "._d.jpg", ".git/e.jpg", LATIN):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(b"")
    return place


def test_what_a_folder_leaves_out_is_said_by_every_command_and_kept(run, client, mixed):
    said = run("submit", mixed, "--model", "patches", "--json", "--watch")
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout.splitlines()[0])
    counts = {kind["kind"]: kind["files"] for kind in found["left_out"]}
    assert counts == {".heic": 2, "hidden": 2, ".pdf": 1, "name not UTF-8": 1}
    assert found["images"] == 2
    job = client.job(found["job_id"])
    assert job.record().schema_version == 1, "workers of 0.1.0 run it"
    document = json.loads(client.storage.get(keys.source(job.id)).data)
    assert document["left_out"] == found["left_out"]
    verified = run("verify", job.id)
    assert verified.returncode == 0
    assert "left out: 2 .heic files (HEIC, which camfleet doesn't read" in verified.stderr
    assert json.loads(run("verify", job.id, "--json").stdout)["left_out"] == found["left_out"]
    dry = run("submit", mixed, "--model", "patches", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "left out: 2 hidden files (its name, or that of a folder" in dry.stderr
    assert "left out: 1 .pdf file (" in run("submit", mixed, "--model", "patches").stderr


@pytest.mark.parametrize("words", [("explain",), ("submit",), ("submit", "--dry-run")])
def test_an_image_whose_name_is_not_utf8_is_refused_with_a_way_out(run, mixed, words):
    done = run(*words, mixed / LATIN, "--model", "patches")
    assert done.returncode == 1
    assert done.stderr == f"camfleet: {mixed}/caf\\xe9.jpg: its name isn't UTF-8: rename it\n"


def test_the_help_says_how_folders_and_globs_are_read(run):
    said = " ".join(run("submit", "--help").stdout.split())
    for words in ("follow one rule", "Links to files and folders are followed", "begin with a dot"):
        assert words in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer", "nowhere"], "no layer 'nowhere'"),
        (["--target", "9"], "has no class 9: it has 2"),
        (["--target", "brihgt"], "no class 'brihgt'"),
        (["--callback", "https://example.org/done"], "CAMFLEET_WEBHOOK_SECRET"),
    ],
)
def test_a_job_that_cannot_succeed_is_refused_and_a_dry_run_says_why(
    run, client, photos, alive, words, message
):
    done = run("submit", photos[0], "--model", "patches", "--job-id", "doomed", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert list(client.storage.keys("jobs/doomed/")) == []
    dry = run("submit", photos[0], "--model", "patches", "--dry-run", *words)
    assert dry.returncode == 1
    assert message in dry.stderr


def test_a_folder_that_no_worker_may_read_is_refused_unless_it_is_forced(
    run, client, tmp_path, alive
):
    write_photos(tmp_path, 2)
    done = run("submit", tmp_path, "--model", "patches", "--job-id", "outside")
    assert done.returncode == 1
    assert "every image would fail" in done.stderr
    assert list(client.storage.keys("jobs/outside/")) == [], "no manifest is left"
    dry = run("submit", tmp_path, "--model", "patches", "--dry-run", "--json")
    assert "is in no folder that workers read from" in json.loads(dry.stdout)["doomed"][0]
    forced = run("submit", tmp_path, "--model", "patches", "--force", "--watch")
    assert forced.returncode == 3
    sent = run("submit", tmp_path, "--model", "patches", "--upload", "--watch")
    assert sent.returncode == 0, sent.stderr


def test_a_target_1_0_of_pandas_is_a_class_and_a_wrong_one_is_found(run, folder, photos, alive):
    manifest = folder / "pandas.csv"
    manifest.write_text(f"image_uri,target\n{photos[0]},1.0\n{photos[1]},\n")
    done = run("submit", manifest, "--model", "patches", "--watch")
    assert done.returncode == 0, done.stderr
    manifest.write_text(f"image_uri,target\n{photos[0]},7.0\n{photos[1]},\n")
    dry = run("submit", manifest, "--model", "patches", "--dry-run")
    assert dry.returncode == 1
    assert "1 of 2 images would fail: model patches has no class 7" in dry.stderr


def test_without_a_worker_a_dry_run_takes_seconds_and_a_submit_says_that_it_waits(
    run, photos, nobody
):
    start = time.monotonic()
    dry = run("submit", photos[0], "--model", "patches", "--dry-run", environ=nobody)
    assert dry.returncode == 0, dry.stderr
    assert "not checked: no worker is alive" in dry.stderr
    assert time.monotonic() - start < 15
    done = run("submit", photos[0], "--model", "patches", environ=nobody)
    assert done.returncode == 0
    assert "no worker is alive: the job waits until one starts" in done.stderr
    layer = ("--layer", "nowhere")
    assert run("submit", photos[0], "--model", "patches", *layer, environ=nobody).returncode == 1


def test_in_python_a_doomed_job_raises_what_is_wrong(client, photos, alive):
    with pytest.raises(LayerRefused, match="'nowhere'"):
        client.submit(photos[0], models="patches", layer="nowhere")
    with pytest.raises(InvalidRequest, match="CAMFLEET_WEBHOOK_SECRET"):
        client.submit(photos[0], models="patches", callback="https://example.org/done")
    job = client.submit(photos[0], models="patches")
    assert job.warnings == ()
    assert job.left_out() == ()
    found = client.dry_run(photos[0], models="patches", layer="nowhere", timeout=60)
    assert (found.passed, len(found.doomed)) == (False, 1)
