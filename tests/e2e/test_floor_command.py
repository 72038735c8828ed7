"""camfleet compare --floor: noise measured by workers, kept, and used by the next comparisons."""

import json

import numpy as np
import pytest
from PIL import Image

from camfleet.contract.codec import decode_json
from camfleet.contract.studies import COPIES, FloorRecord
from camfleet.jobstore import keys
from helpers.samples import write_card
from helpers.twins import headless, network, twin

PHOTOS = 40


@pytest.fixture(scope="module")
def pictures(folder):
    """Write smooth pictures of colours, and one file that's none."""
    rng = np.random.default_rng(0)
    place = folder / "floor-pictures"
    place.mkdir()
    for number in range(PHOTOS):
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        small.resize((96, 80), Image.Resampling.BICUBIC).save(place / f"picture-{number:02d}.png")
    return place


@pytest.fixture(scope="module")
def explained(client, folder, pictures):
    """Explain the pictures with a network under a name of its own; give the job's id."""

    def run(name, model):
        labels = '["a", "b", "c", "d"]'
        size = {"labels": labels}
        card = write_card(folder / name, name, model=model, **size)
        card.write_text(card.read_text().replace("height = 32", "height = 48"))
        client.models.add(card, timeout=240)
        job = client.submit(str(pictures), models=name, target="top:3", job_id=name, pictures=[])
        job.wait(timeout=120)
        return name

    return run


@pytest.fixture(scope="module")
def baseline(explained):
    return explained("floor-baseline", network())


@pytest.fixture
def compare(run, tmp_path):
    def command(one, other, *words):
        done = run("compare", one, other, "--output", tmp_path, "--no-photographs", *words)
        assert (tmp_path / "comparison.json").exists(), done.stderr
        return done, json.loads((tmp_path / "comparison.json").read_bytes())

    return command


def test_noise_is_measured_once_kept_and_found_again(client, baseline, compare, tmp_path):
    done, found = compare(baseline, baseline)
    assert (found["calibrated"], found["noise"]) == (False, None)
    done, found = compare(baseline, baseline, "--floor", "24")
    assert done.returncode == 0, done.stderr
    assert found["calibrated"]
    noise = found["noise"]
    assert (noise["images"], noise["copies"], noise["failures"]) == (24, 96, [])
    assert set(noise["medians"]) == set(COPIES)
    assert noise["same"]
    assert 0 < found["movement"]["floor"] <= found["movement"]["threshold"]
    assert found["movement"]["threshold"] >= 0.005
    assert "noise was measured on 96 copies of 24 images" in done.stdout
    assert "Noise was measured on 96 copies" in (tmp_path / "index.html").read_text()
    place = client.storage.get(keys.floor(baseline, 0))
    record = decode_json(place.data, FloorRecord)
    assert [len(record.distances[kind]) for kind in COPIES] == [24] * 4
    again = compare(baseline, baseline)[1]
    assert (again["calibrated"], again["noise"]) == (True, noise)
    compare(baseline, baseline, "--floor", "20")
    assert client.storage.get(keys.floor(baseline, 0)).etag == place.etag


def test_a_twin_passes_and_a_permuted_head_alarms(explained, baseline, compare):
    same = explained("floor-twin", twin())
    done, found = compare(baseline, same, "--floor", "24")
    assert (done.returncode, found["verdict"]) == (0, "pass"), done.stdout
    assert found["counts"]["other_class"] == 0
    done, found = compare(baseline, explained("floor-headless", headless()))
    assert (done.returncode, found["verdict"]) == (4, "moved"), done.stdout
    assert found["calibrated"]
