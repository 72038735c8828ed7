"""Strangers' text in a real terminal: it steers nothing, and URLs show no secrets."""

import json
import os

import pytest

from camfleet.broker.heartbeats import Heartbeats
from helpers.samples import write_card
from helpers.terminals import in_terminal

pytestmark = pytest.mark.usefixtures("model")

EVIL = "a\x1b[2J\x1b]0;owned\x07\x9b31m\rFAKE\b\x7f\u202eb\u2066\u200b\u2028\ufeffz\nFAKE: line"
PATH = EVIL.replace("/", "")
SECRET = "geheim"
SIGNED = f"https://me:{SECRET}@127.0.0.1:9/a.png?v=1&X-Amz-Signature={SECRET}&token={SECRET}"


@pytest.fixture(scope="module")
def hostile(client, folder):
    """Register a model with labels that steer, its only layer's name too; give its id."""
    labels = json.dumps([f"bright {EVIL}", f"dark {EVIL}"])
    card = write_card(folder / "hostile", "hostile", labels=labels)
    ref, _ = client.models.add(card, timeout=240)
    return ref.id


@pytest.fixture(scope="module")
def evil_job(client, folder, photos, hostile):
    """Run a job whose manifest holds everything that steers; give its id."""
    uris = [str(photos[0]), f"/nowhere/{PATH}.png", f"s3://camfleet-none/{EVIL}", SIGNED]
    uris += [f"{EVIL}://host/a", f"gopher://me:{SECRET}@host/a?sig={SECRET}"]
    rows = [
        {"image_uri": uri, "id": f"{number} {EVIL}", "label": EVIL, "note": EVIL}
        for number, uri in enumerate(uris)
    ]
    rows[0]["target"] = "top:2"
    manifest = folder / "evil.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = client.submit(str(manifest), models=[hostile], keep_columns=["label", "note"])
    assert job.wait(timeout=120).failed == 5
    return job.id


@pytest.fixture
def evil_worker(client):
    """Publish the heartbeat of a worker whose every word steers."""
    beats = Heartbeats(client.settings)
    state = replace_words(client.workers()[0])
    beats.publish(state, "evil")
    yield
    beats.forget(state.name, "evil")
    beats.close()


def replace_words(worker):
    from msgspec.structs import replace as changed

    words = dict.fromkeys(("device", "trouble", "version", "waits_for"), f"{EVIL} {SIGNED}")
    return changed(worker, name=f"evil{EVIL}@host:1", models=(EVIL,), **words)


def words_of(job):
    columns = ("item_id", "image_uri", "class_name", "label", "columns", "error_message")
    chosen = [word for name in columns for word in ("--column", name)]
    return [
        ["results", job],
        ["results", job, *chosen],
        ["results", job, "--format", "csv"],
        ["results", job, "--json"],
        ["results", job, "--class", EVIL],
        ["results", job, "--column", EVIL],
        ["status", job],
        ["status", job, "--json"],
        ["watch", job],
        ["watch", job, "--json"],
        ["jobs"],
        ["verify", job],
        ["retry", job, "--code", EVIL],
        ["status", EVIL],
    ]


def check(shown):
    assert shown.steering == set()
    assert "\rFAKE" not in shown.raw
    assert "Traceback" not in shown.raw


def shown_by(words, environ, columns=100):
    return in_terminal(*words, environ=environ, columns=columns)


@pytest.mark.parametrize("number", range(len(words_of(""))))
def test_no_command_about_a_job_is_steered(worker_environ, evil_job, number):
    words = words_of(evil_job)[number]
    shown = shown_by(words, worker_environ, 60)
    check(shown)
    if "csv" not in words:
        assert not [line for line in shown.lines if line.startswith("FAKE")]


@pytest.mark.parametrize(
    "words",
    [
        ["models", "show", "hostile"],
        ["models", "list"],
        ["models", "show", EVIL],
        ["explain", f"/nowhere/{PATH}.png", "--model", "hostile"],
        ["explain", SIGNED, "--model", "hostile", "--timeout", "30"],
        ["explain", "PHOTO", "--model", "hostile"],
        ["explain", "PHOTO", "--model", "hostile", "--json"],
        ["explain", "PHOTO", "--model", "hostile", "--target", EVIL],
        ["submit", "EVIL.jsonl", "--model", "hostile", "--dry-run"],
        ["submit", f"/nowhere/{PATH}.png", "--model", "hostile"],
        ["models", "add", f"{PATH}.toml"],
        [EVIL],
        ["status", f"--{EVIL}"],
    ],
    ids=lambda words: " ".join(words)[:24].encode("unicode_escape").decode(),
)
def test_no_other_command_is_steered(worker_environ, evil_job, folder, photos, words):
    paths = {"PHOTO": photos[0], "EVIL.jsonl": folder / "evil.jsonl"}
    check(shown_by([paths.get(word, word) for word in words], worker_environ))


@pytest.mark.usefixtures("evil_worker")
@pytest.mark.parametrize(
    "words", [["workers"], ["workers", "--json"], ["health", "--host", f"b{EVIL}@host"], ["health"]]
)
def test_no_worker_steers(worker_environ, words):
    shown = shown_by(words, worker_environ, 200)
    check(shown)
    assert SECRET not in shown.raw or "--json" in words


def test_a_card_that_steers_is_refused_in_words_that_do_not(worker_environ, folder):
    place = folder / f"cards {PATH}"
    place.mkdir()
    for number, text in enumerate(
        (f"id = {json.dumps(EVIL)}", f"{EVIL} = 1", 'artifact = "\\u009b"')
    ):
        card = place / f"{number}.toml"
        card.write_text(text)
        for command in ("add", "check"):
            check(shown_by(["models", command, card], worker_environ))


def test_left_out_files_do_not_steer(worker_environ, folder, hostile):
    place = folder / "left"
    place.mkdir()
    (place / f"{PATH}.exe").write_bytes(b"")
    (place / f"a.{PATH}").write_bytes(b"")
    os.mkfifo(place / f"pipe{PATH}")
    check(shown_by(["submit", place, "--model", hostile], worker_environ))


def test_secrets_of_urls_are_in_rows_and_nowhere_else(run, worker, worker_environ, evil_job):
    for words in [["status", evil_job], ["watch", evil_job], ["results", evil_job]]:
        done = run(*words)
        assert SECRET not in done.stdout + done.stderr
    rows = [json.loads(line) for line in run("results", evil_job, "--json").stdout.splitlines()]
    assert SIGNED in [row["image_uri"] for row in rows], "the manifest's rows can be joined"
    assert SECRET not in json.dumps([row["error_message"] for row in rows])
    messages = json.loads(run("status", evil_job, "--json").stdout)["failure_messages"]
    assert SECRET not in json.dumps(messages)
    assert SECRET not in worker.read_text()


def test_rows_for_programs_hold_the_text_as_it_is(run, evil_job):
    rows = [json.loads(line) for line in run("results", evil_job, "--json").stdout.splitlines()]
    assert rows[0]["label"] == EVIL
    assert EVIL in rows[0]["class_name"]
    assert json.loads(rows[0]["columns"]) == {"note": EVIL}
