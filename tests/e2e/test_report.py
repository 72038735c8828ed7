"""camfleet report, as an auditor uses it."""

import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace as forged

from helpers.rows import MODEL, blob, job, row

NASTY = '<script>alert("1")</script>&\u202e'
VOID = {"meta", "img", "br", "rect"}


class Page(HTMLParser):
    """Collects the elements of a page, and fails where they don't nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.links = [], set(), []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def audited(run, client, model, folder, photos):
    """Give a job of images and a broken one, and the folder with its report."""
    broken = folder / "broken.png"
    broken.write_bytes(b"no picture")
    manifest = folder / "audited.csv"
    lines = [f"{path.stem},{path},bright" for path in photos] + [f"broken,{broken},dark"]
    manifest.write_text("\n".join(["id,image_uri,label", *lines]) + "\n")
    made = client.submit(
        str(manifest), models=["patches"], target="top:2", keep_columns=["label"], force=True
    )
    made.wait(timeout=180)
    done = run("report", made.id, "--output", folder / "report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "report" / "index.html")
    figures, found = done.stderr.splitlines()
    assert re.match(
        rf"camfleet: images: {len(photos) + 1} .*; failed: 1 .*; suspicious pl", figures
    )
    assert re.match(r"camfleet: .* 1 of \d+ images failed\.", found), found
    return made, folder / "report"


def test_its_totals_are_those_of_status_and_verify(audited):
    made, folder = audited
    (model,) = json.loads((folder / "report.json").read_bytes())["models"]
    counted, status, verified = model["accounting"], made.status(), made.verify()
    assert counted["images"] == status.total == verified.images == 10
    for name in ("ok", "no_evidence", "failed"):
        assert counted[name] == getattr(status, name) == getattr(verified, name)
    (failed,) = counted["failures"]
    assert (failed["code"], failed["images"]) == ("image_unreadable", 1)
    assert failed["image_uri"].endswith("broken.png")
    assert sum(card["rows"] for group in model["groups"] for card in group["classes"]) <= 18
    assert model["labels"]["images"] == 9


def test_its_page_opens_without_a_network_and_shows_photographs(audited):
    text = (audited[1] / "index.html").read_text()
    page = Page(text)
    assert not page.seen & {"script", "link", "iframe", "form"}
    assert all(link.startswith("data:image/") for link in page.links)
    assert text.count("data:image/jpeg") > 5
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert len(text) < 3e6


def test_the_same_job_gives_the_same_bytes(run, audited, tmp_path):
    made, folder = audited
    run("report", made.id, "--output", tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_its_worst_cases_can_be_submitted_again(client, model, audited):
    rows = pq.read_table(audited[1] / "worst.parquet")
    assert rows.num_rows > 0
    again = client.submit(str(audited[1] / "worst.parquet"), models=["patches"])
    assert again.wait(timeout=180).failed == 0


def test_it_can_be_written_to_the_bucket(run, client, audited):
    uri = f"s3://{client.settings.bucket}/reports/one"
    done = run("report", audited[0].id, "--output", uri, "--json")
    assert json.loads(done.stdout) == {
        "job_id": audited[0].id,
        "page": f"{uri}/index.html",
        "missing": 0,
    }
    assert client.storage.get(f"{uri}/index.html").data.startswith(b"<!doctype html>")


def test_photographs_that_are_gone_or_changed_are_named(client, model, folder, photos):
    path = folder / "soon-gone.png"
    path.write_bytes(photos[0].read_bytes())
    made = client.submit([str(path)], models=["patches"])
    made.wait(timeout=180)
    reporter = client.reporter()
    report = reporter.make(reporter.record(made.id))
    path.write_bytes(photos[1].read_bytes())
    assert set(reporter.photographs(report).values()) == {"image unreadable"}
    path.unlink()
    assert set(reporter.photographs(report).values()) == {"image not found"}


def test_what_others_wrote_stays_text(client, tmp_path):
    rng = np.random.default_rng(0)
    made = [
        row(f"{NASTY}{number}", blob(rng, (7, 7)), 0, class_name=NASTY, label=NASTY)
        for number in range(30)
    ]
    made.append(row("failed", error_code="image_not_found", error_message=NASTY))
    record = job(client.storage, "nasty", [made], 31)
    reporter = client.reporter()
    reporter.write(reporter.make(record), {}, str(tmp_path))
    text = (tmp_path / "index.html").read_text()
    assert "script" not in Page(text).seen
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("known", [0, 3])
def test_labels_that_are_no_class_of_the_model_are_said_and_no_confusions(
    client, model, tmp_path, known
):
    labels = ["bright"] * known + ["hexagon"] * 25 + [f"odd {n}" for n in range(30)]
    made = [
        row(number, np.eye(7), 0, class_name="bright", label=label)
        for number, label in enumerate(labels)
    ]
    models = (client.models.find("patches"),)
    record = job(client.storage, f"strange-labels-{known}", [made], len(made), models)
    reporter = client.reporter()
    report = reporter.make(record)
    found = report.models[0].labels
    assert (found.images, found.right, found.confusions) == (known, known, ())
    assert found.unknown_labels[0] == ("hexagon", 25)
    assert (found.images_with_unknown_label, len(found.unknown_labels)) == (55, 20)
    reporter.write(report, {}, str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    Page(page)
    assert "55 more have a label that is no class of the model" in page
    assert "<bdi>hexagon</bdi> (25), " in page
    assert ", and others." in page
    assert ("labelled images are answered right" in page) == bool(known)


def test_missing_results_are_said_and_exit_one(run, client, tmp_path):
    rng = np.random.default_rng(0)
    made = [row(number, blob(rng, (7, 7)), number % 3) for number in range(40)]
    job(client.storage, "gappy", [made, None], 40)
    done = run("report", "gappy", "--output", tmp_path, "--no-photographs")
    assert done.returncode == 1
    assert "the results of 40 images are missing: camfleet resume gappy" in done.stderr
    page = html.unescape((tmp_path / "index.html").read_text())
    assert "This report isn't whole: the results of 40 of 80 images are missing." in page


def test_models_of_a_job_stand_side_by_side_and_thousands_of_classes_fit(client, tmp_path):
    rng = np.random.default_rng(0)
    models = (MODEL, type(MODEL)(id="net", version="2", digest="1" * 64))
    parts = [
        [row(number, blob(rng, (7, 7)), number % 1500) for number in range(3000)] for _ in models
    ]
    record = job(client.storage, "wide", parts, 3000, models)
    reporter = client.reporter()
    report = reporter.make(record)
    assert [len(model.groups[0].classes) for model in report.models] == [1500, 1500]
    reporter.write(report, {}, str(tmp_path))
    assert (tmp_path / "index.html").stat().st_size < 3e6


def test_an_unknown_job_and_a_folder_that_cant_be_written_are_named(run, audited, tmp_path):
    assert run("report", "no-such-job").returncode == 1
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "x"):
        done = run("report", audited[0].id, "--no-photographs", "--output", place)
        assert done.returncode == 1
        said = f"{place} can't be written: {tmp_path / 'file'} is a file, not a folder"
        assert said in " ".join(done.stderr.split())


def test_where_hardly_any_image_has_evidence_that_is_what_the_page_begins_with(client, tmp_path):
    quiet = [
        row(number, -np.ones((7, 7)), 7, status="no_evidence", label="class 7")
        for number in range(40)
    ]
    record = job(client.storage, "quiet", [quiet], 40)
    reporter = client.reporter()
    report = reporter.make(record)
    (card,) = report.models[0].groups[0].classes
    assert (card.class_index, card.rows, card.rows_without_map) == (7, 0, 40)
    reporter.write(report, {}, str(tmp_path))
    assert "In 40 of 40 images nothing speaks" in (tmp_path / "index.html").read_text()


def test_rows_against_a_class_stay_so_when_they_are_submitted_again(client, tmp_path):
    rng = np.random.default_rng(0)
    made = [row(n, blob(rng, (7, 7), (6, 0)), 1, target="not:class 1") for n in range(40)]
    record = job(client.storage, "against", [made], 40)
    reporter = client.reporter()
    report = reporter.make(record)
    assert report.models[0].worst == ()
    reporter.write(report, {}, str(tmp_path))
    targets = pq.read_table(tmp_path / "suspicious.parquet")["target"].to_pylist()
    assert set(targets) == {"not:1"}
    assert len(targets) > 0


@pytest.mark.parametrize(
    "changed",
    [
        {"class_index": 2**31 - 1},
        {"status": "\x1b[31mok"},
        {"grid_height": 2**31 - 1, "grid_width": 2**31 - 1, "map": (1.0,)},
        {"grid_height": 0, "grid_width": 0, "map": ()},
        {"map": (1.0,)},
    ],
    ids=str,
)
def test_rows_that_nobody_wrote_so_end_in_one_line_or_are_left_out(run, client, tmp_path, changed):
    rng = np.random.default_rng(0)
    made = [row(number, blob(rng, (7, 7)), number % 3) for number in range(30)]
    made.append(forged(row("odd", blob(rng, (7, 7)), 1), **changed))
    job(client.storage, "odd", [made], 31)
    for words in (("report", "odd"), ("compare", "odd", "odd")):
        done = run(*words, "--no-photographs", "--output", tmp_path)
        assert done.returncode in (0, 1)
        assert "Traceback" not in done.stderr
        assert "Warning" not in done.stderr
