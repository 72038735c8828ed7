"""camfleet faithfulness: a real worker measures a sample of a real job."""

import json

import numpy as np
import pytest
from msgspec.structs import replace as changed
from PIL import Image

from camfleet.jobstore import keys, parquet
from helpers.samples import photo, write_card

COUNT = 30


@pytest.fixture(scope="module")
def photos(folder):
    """A bright patch each, in the outer part of the picture: nowhere near the centre."""
    place = folder / "faithful"
    place.mkdir()
    for number in range(COUNT):
        row, column = [(8, 10), (8, 66), (50, 12), (50, 68)][number % 4]
        pixels = photo(row + number % 5, column - number % 7)
        Image.fromarray(pixels).save(place / f"{number:02d}.png")
    return place


@pytest.fixture(scope="module")
def model(run, folder):
    card = write_card(folder / "faithful-card", "faithful-net")
    assert run("models", "add", card).returncode == 0
    return "faithful-net"


@pytest.fixture(scope="module")
def job(run, client, model, photos):
    words = ("--job-id", "faithful-1", "--target", "label:bright", "--picture", "none", "--watch")
    done = run("submit", photos, "--model", model, *words)
    assert done.returncode == 0, done.stderr
    return client.job("faithful-1")


def test_maps_that_matter_beat_both_controls_and_the_command_says_so(run, job):
    done = run("faithfulness", job.id, "--sample", 24)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert first == "faithful-net@1: faithful: the maps beat random order and the centre"
    assert second == "24 of 30 images that can be measured; intervals at 95 %"
    assert "gap to random" in done.stdout
    found = json.loads(run("faithfulness", job.id, "--sample", 24, "--json").stdout)
    (one,) = found["models"]
    for fill in ("mean", "blur"):
        own = one[fill]
        assert own["gap_random"]["low"] > 0
        assert own["gap_centre"]["low"] > 0
        assert own["deletion"]["value"] < own["insertion"]["value"]
    assert (one["measured"], one["faithful"]) == (24, "yes")
    assert one["again"] < 1e-3


def test_the_report_shows_what_was_measured(run, job, tmp_path):
    run("faithfulness", job.id, "--sample", 24)
    assert run("report", job.id, "--output", tmp_path, "--no-photographs").returncode == 0
    page = (tmp_path / "index.html").read_text()
    assert "Faithful: the maps beat random order and the centre." in page
    (model,) = json.loads((tmp_path / "report.json").read_bytes())["models"]
    one = model["faithfulness"]
    assert (one["measured"], one["faithful"]) == (24, "yes")
    text = f"{one['blur']['gap_random']['value']:.3f} ["
    assert text in page


def test_maps_that_mislead_are_found_out(run, client, job, model, photos):
    words = ("--job-id", "faithful-2", "--target", "label:bright", "--picture", "none", "--watch")
    run("submit", photos, "--model", model, *words)
    record = client.job("faithful-2").record()
    for ref in record.refs():
        key = keys.results_part(record, ref)
        rows = parquet.read_results(client.storage.get(key).data)
        turned = [
            changed(row, map=tuple((max(row.map) - np.array(row.map)).tolist())) for row in rows
        ]
        client.storage.put(key, parquet.write_results(turned, 0), "application/octet-stream")
    done = run("faithfulness", "faithful-2", "--sample", COUNT)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "not faithful: the maps don't beat random order" in done.stdout


def test_a_sample_too_small_is_undecided(run, job):
    done = run("faithfulness", job.id, "--sample", 5)
    assert done.returncode == 1
    assert "undecided: 5 independent images are fewer than 20" in done.stdout
    assert "bits, noise 0.010 (a usual value): too few images to tell" in done.stdout


def test_a_smaller_sample_says_that_the_larger_one_stays(run, job, tmp_path):
    run("faithfulness", job.id, "--sample", 24)
    done = run("faithfulness", job.id, "--sample", 5)
    assert "keep what a larger sample of 24 images found (faithful: the maps" in done.stderr
    assert run("report", job.id, "--output", tmp_path, "--no-photographs").returncode == 0
    (model,) = json.loads((tmp_path / "report.json").read_bytes())["models"]
    assert model["faithfulness"]["measured"] == 24


def test_a_model_or_job_that_is_not_there_is_named(run, job):
    done = run("faithfulness", job.id, "--model", "other")
    assert done.returncode == 1
    assert "has no model 'other'; it has faithful-net@1" in done.stderr
    assert run("faithfulness", "faithful-none").returncode == 1


def test_python_gives_the_same_findings(client, job):
    reporter = client.reporter()
    rows = []
    found = reporter.faithfulness(reporter.record(job.id), 24, on_row=rows.append)
    assert found.models[0].faithful == "yes"
    assert sum(rows) == 24
