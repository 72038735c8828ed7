"""camfleet review: a frozen set, new versions of a model, verdicts, exit codes, workers."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from camfleet.errors import InvalidRequest
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import review_keys
from helpers.gateway import gateway
from helpers.samples import write_card
from helpers.twins import headless, network, twin
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
        ref, _ = client.models.add(card, model_id=model_id, version=version, timeout=240)
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
    assert (done.returncode, found["verdict"]) == (0, "pass"), found["reasons"]
    assert (found["model"]["version"], found["calibrated"]) == ("2", True)
    assert found["movement"]["high"] < 0.1
    assert "moved by 0.00 (0.00 to 0.00) from" in run("review", "show", reviewed).stdout
    assert "-0." not in run("review", "history", reviewed).stdout
    other = added("3", headless())
    done = run("review", "run", reviewed, "--wait", "--json")
    found = verdict_of(done)
    assert (done.returncode, found["verdict"]) == (4, "moved"), found
    assert client.storage.exists(found["page"])
    comparison = found["page"].replace("index.html", "comparison.json")
    lines = run("results", found["job_id"], "--json").stdout.splitlines()
    rows = list(map(json.loads, lines))
    answers = [(row["first_index"], row["first_name"]) for row in rows]
    assert {"abcd"[index] == name for index, name in answers} == {True}
    flips = sum(row["first_name"] != row["class_name"] for row in rows)
    assert flips > 0
    assert json.loads(client.storage.get(comparison).data)["flips"]["differ"] == flips
    again = run("review", "run", reviewed, "--wait", "--if-new", "--json")
    assert (again.returncode, verdict_of(again)) == (4, found)
    done = run("review", "run", reviewed, "--model", same, "--wait", "--if-new", "--json")
    assert (done.returncode, verdict_of(done)["model"]["version"]) == (0, "2")
    said = run("review", "history", reviewed).stdout
    assert [word in said for word in ("created", "moved", "pass", other)] == [True] * 4
    wait_until(lambda: client.job(found["job_id"]).status().followed, 60)
    assert client.job(found["job_id"]).status().review.state == "done"


def test_the_page_of_a_verdict_is_fetched_into_a_folder(run, client, reviewed, tmp_path):
    done = run("review", "page", reviewed, "--output", tmp_path / "page")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "page" / "index.html")
    latest = next(one for one in client.reviews.history(reviewed) if hasattr(one, "verdict"))
    found = json.loads((tmp_path / "page" / "comparison.json").read_text())
    assert found["other"]["model"] == f"{latest.model.id}@{latest.model.version}"
    done = run("review", "page", reviewed, "--output", tmp_path / "no", "--model", "nobody@1")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"camfleet review run {reviewed} --model nobody@1 --wait" in done.stderr


def test_what_changed_is_said_and_too_few_images_are_not_decided(
    run, client, pictures, baseline, folder, tmp_path
):
    place = pictures("changing")
    words = ("--baseline", baseline, "--floor", "8", "--json")
    assert run("review", "create", "changing", place, *words).returncode == 0
    client.storage.put("review-pictures/changing/00.png", picture(999), "image/png")
    done = run("review", "run", "changing", "--model", baseline, "--wait")
    assert done.returncode == 1, done.stderr
    assert "set_changed; 1 of 60 images have changed and are excluded" in done.stdout
    few = [f"{place}{number:02d}.png" for number in range(1, 10)]
    files = [at / "review-few.png" for at in (folder, tmp_path)]
    for file in files:
        file.write_bytes(picture(0))
    done = run("review", "create", "few", *few, *files, *words[:-1])
    assert "10 images are few: 200 or more" in done.stderr
    said = " ".join(done.stderr.split())
    assert "1 of 11 images would fail:" in said, "which no worker reads"
    assert "or upload the images (--upload)" in said
    assert "the baseline couldn't explain 1 image, which the set leaves out: camfleet res" in said
    assert "1 of the images are local files: each run needs them where they are" in said
    done = run("review", "run", "few", "--model", baseline, "--wait")
    assert done.returncode == 1
    assert "undecidable; only 10 pairs could be compared" in done.stdout
    assert re.search(
        r"10 images from s3://\S+, s3://\S+, s3://\S+, 8 more", run("review", "show", "few").stdout
    )
    done = run("review", "accept", "few")
    assert done.returncode == 1
    assert "is undecidable; only 10 pairs could be compared" in done.stderr
    assert "say why it's accepted all the same (--reason)" in done.stderr
    assert client.reviews.history("few")[0].verdict == "undecidable", "nothing was accepted"
    done = run("review", "accept", "few", "--reason", "looked at by hand")
    assert (done.returncode, client.reviews.history("few")[0].reason) == (0, "looked at by hand")


def test_images_that_were_away_for_a_while_are_explained_once_they_are_back(
    run, client, pictures, baseline
):
    place = pictures("away")
    words = ("--baseline", baseline, "--floor", "8", "--json")
    assert run("review", "create", "away", place, *words).returncode == 0
    gone = {f"review-pictures/away/{number:02d}.png": picture(number) for number in range(2)}
    client.storage.delete(list(gone))
    again = ("review", "run", "away", "--model", baseline, "--if-new", "--wait")
    done = run(*again)
    assert done.returncode == 1, done.stderr
    assert "set_changed; 2 of 60 images can't be read any more" in done.stdout
    for key, data in gone.items():
        client.storage.put(key, data, "image/png")
    done = run(*again)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "pass"), done.stdout
    done = run(*again, "--timeout", "1")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "pass"), "which counts"


@pytest.mark.parametrize(
    ("name", "value"),
    [("CAMFLEET_REDIS_URL", "redis://127.0.0.1:1/0"), ("CAMFLEET_BUCKET", "no-such-bucket")],
)
def test_what_is_away_never_passes(run, worker_environ, reviewed, name, value):
    away = {**worker_environ, name: value}
    done = run("review", "run", reviewed, "--if-new", "--wait", environ=away)
    assert (done.returncode, done.stdout) == (1, "")
    assert name in done.stderr


def test_a_worker_reviews_a_version_that_is_added(run, client, pictures, added):
    first = added("1", network(), "by-itself")
    client.reviews.create(
        "by-itself", pictures("alone"), baseline=first, floor=8, on_register=True, every="0 0 1 1 *"
    )
    added("2", headless(), "by-itself")

    def verdict():
        return client.reviews.show("by-itself").verdict

    wait_until(verdict, 90)
    found = verdict()
    assert (found.verdict, found.model.version) == ("moved", "2")
    (row,) = [
        one
        for one in json.loads(run("review", "list", "--json").stdout)
        if one["review"]["name"] == "by-itself"
    ]
    assert (row["verdict"]["verdict"], row["due"][4:]) == ("moved", "-01-01T00:00:00Z")
    wait_until(lambda: client.job(found.job_id).status().followed, 60)
    assert client.job(found.job_id).status().report_uri == found.report


def test_an_accepted_version_is_the_baseline_and_history_says_why(run, client, reviewed, added):
    words = ("--model", f"{ID}@3", "--reason", "looks at petals")
    done = run("review", "accept", reviewed, *words)
    assert done.returncode == 0, done.stderr
    assert f"the baseline is {ID}@3 now" in done.stdout
    change = client.reviews.history(reviewed)[0]
    assert (change.action, change.reason) == ("accepted", "looks at petals")
    assert change.movement > 0.3
    review = client.reviews.show(reviewed).review
    assert (review.baseline.model.version, review.first.model.version) == ("3", "1")
    found = client.reviews.run(reviewed, model=f"{ID}@3", if_new=True)
    assert found.movement.value < 0.05 < found.drift.value
    assert found.limit == pytest.approx(max(0.3, 1.5 * min(change.movement, 1)), abs=1e-6)
    done = run("delete", review.baseline.job_id)
    assert done.returncode == 1
    assert f"review {reviewed}" in done.stderr


def test_creating_goes_on_where_it_was_cut_off(client, pictures, baseline):
    place = pictures("cut-off")

    def stop(what, _done, _total):
        if what == "freezing the set":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.reviews.create("cut-off", place, baseline=baseline, floor=8, on_step=stop)
    with pytest.raises(InvalidRequest, match="isn't complete"):
        client.reviews.run("cut-off")
    made = client.reviews.create("cut-off", place, baseline=baseline, floor=8)
    assert [one.action for one in client.reviews.history("cut-off")] == ["created", "began"]
    assert made.set.items == PHOTOS
    with pytest.raises(InvalidRequest, match="there is a review 'cut-off' already"):
        client.reviews.create("cut-off", place, baseline=baseline)
    client.reviews.delete("cut-off")
    assert not [*client.storage.keys(review_keys.folder("cut-off"))]
    assert client.job(made.baseline.job_id).status().complete


def test_what_is_wrong_is_named(run, pictures, baseline):
    def error(*words):
        done = run("review", *words)
        assert done.returncode == 1
        return done.stderr

    create = ("create", "new", pictures("look"), "--baseline", baseline)
    assert "is no name of a review" in error("create", "a/b", *create[2:])
    assert "has 3 fields, not five" in error(*create, "--every", "1 2 3")
    assert "is no time zone" in error(*create, "--every", "0 6 * * *", "--timezone", "Mars")
    assert "is not of the form https" in error(*create, "--callback", "nowhere")
    assert "no model 'none'" in error("create", "new", "s3://b/c/", "--baseline", "none@1")
    assert "there is no review 'none'" in error("show", "none")
    assert "there is no review 'none'" in error("run", "none", "--wait")


def test_reviews_over_http_are_run_accepted_and_paused_by_whoever_the_token_says(
    client, worker_environ, folder, pictures, added
):
    first = added("1", network(), "by-http")
    client.reviews.create("by-http", pictures("http"), baseline=first, floor=8)
    added("2", twin(), "by-http")
    token, _ = Tokens(client.storage).create("root", ("admin",), 1)
    with gateway(worker_environ, folder, token) as web:
        place = "/v1/reviews/by-http"
        assert "by-http" in {
            one["review"]["name"] for one in web.ask("GET", "/v1/reviews").json["reviews"]
        }
        refused = web.ask("POST", f"{place}/accept", {"reason": "too early"})
        assert (refused.status, refused.json["code"]) == (422, "invalid_request")
        started = web.ask("POST", f"{place}/run", {})
        assert (started.status, started.json["model"]["version"]) == (202, "2"), started.body
        wait_until(lambda: web.ask("GET", place).json["verdict"], 90)
        verdict = web.ask("GET", place).json["verdict"]
        assert verdict["verdict"] == "pass"
        files = f"{place}/runs/{verdict['run']}"
        page = web.ask("GET", f"{files}/index.html")
        assert page.headers["content-security-policy"].startswith("sandbox;")
        assert web.ask("GET", f"{files}/comparison.json").json["verdict"] == "pass"
        for wrong in ("verdict.json", "first-verdict.json", "..%2F..%2Fstate.json"):
            assert web.ask("GET", f"{files}/{wrong}").status == 404
        body = {"reason": "as it should", "model": "by-http@2"}
        wait_until(lambda: web.ask("POST", f"{place}/accept", body).status != 503, 90)
        assert web.ask("GET", place).json["review"]["baseline"]["model"]["version"] == "2"
        web.ask("POST", f"{place}/pause", {"paused": True, "reason": "holiday"})
        assert web.ask("GET", place).json["review"]["paused"]
        changes = web.ask("GET", f"{place}/history").json["changes"]
        said = [(one["action"], one["user"], one["reason"]) for one in changes[:2]]
        assert said == [("paused", "root", "holiday"), ("accepted", "root", "as it should")]
