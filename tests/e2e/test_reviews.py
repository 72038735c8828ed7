"""camfleet review: a frozen set, new versions of a model, verdicts, exit codes, workers."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from tests.e2e.test_floor import headless, network, twin

from helpers.samples import write_card
from helpers.waiting import wait_until

PHOTOS = 60
ID = "reviewed"


def picture(seed):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    file = io.BytesIO()
    small.resize((96, 80), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures(client):
    """Put smooth pictures of colours into the bucket below prefixes; give that."""

    def put(name):
        for number in range(PHOTOS):
            key = f"review-pictures/{name}/{number:02d}.png"
            client.storage.put(key, picture(number), "image/png")
        return client.storage.uri(f"review-pictures/{name}/")

    return put


@pytest.fixture(scope="module")
def added(client, folder):
    """Register a network as a version of the model; give its name."""

    def add(version, model, model_id=ID):
        name = f"{model_id}-{version}"
        card = write_card(folder / name, model_id, model=model, labels='["a", "b", "c", "d"]')
        card.write_text(card.read_text().replace("height = 32", "height = 48"))
        ref, _ = client.models.add(card, model_id=model_id, version=version, timeout=60)
        return f"{ref.id}@{ref.version}"

    return add


@pytest.fixture(scope="module")
def baseline(added):
    return added("1", network())


@pytest.fixture(scope="module")
def reviewed(run, pictures, baseline):
    """Create a review by the command; give its name."""
    words = ("--baseline", baseline, "--floor", "24", "--json")
    done = run("review", "create", "weekly-look", pictures("look"), *words)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["set"]["items"], made["set"]["left_out"], made["set"]["unwatched"]) == (60, 0, 0)
    return "weekly-look"


def verdict_of(done):
    assert done.stdout.startswith("{"), done.stderr
    return json.loads(done.stdout)


def test_a_twin_passes_a_permuted_head_alarms_and_both_are_kept(run, client, added, reviewed):
    same = added("2", twin())
    done = run("review", "run", reviewed, "--wait", "--json")
    found = verdict_of(done)
    assert (done.returncode, found["verdict"]) == (0, "pass"), found
    assert (found["model"]["version"], found["calibrated"]) == ("2", True)
    assert found["movement"]["high"] < 0.1
    other = added("3", headless())
    done = run("review", "run", reviewed, "--wait", "--json")
    found = verdict_of(done)
    assert (done.returncode, found["verdict"]) == (4, "moved"), found
    assert client.storage.exists(found["page"])
    again = run("review", "run", reviewed, "--wait", "--if-new", "--json")
    assert (again.returncode, verdict_of(again)) == (4, found)
    done = run("review", "run", reviewed, "--model", same, "--wait", "--if-new", "--json")
    assert (done.returncode, verdict_of(done)["model"]["version"]) == (0, "2")
    said = run("review", "history", reviewed).stdout
    assert [word in said for word in ("created", "moved", "pass", other)] == [True] * 4
    wait_until(lambda: client.job(found["job_id"]).status().followed, 60)
    assert client.job(found["job_id"]).status().review.state == "done"
