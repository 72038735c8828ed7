"""What commands show in a terminal of 80 columns, and of others: a real pty."""

import json
import re
import signal
import subprocess
import time

import pytest

from helpers.commands import PLAIN
from helpers.terminals import Terminal, in_terminal
from helpers.waiting import wait_until

pytestmark = pytest.mark.usefixtures("model")

LONG = "deep/" * 58  # so that a URI has 300 characters


@pytest.fixture(scope="module")
def failures(client, folder, photos):
    """Run a job of 60 images of which most fail for different reasons; give its id."""
    rows = [{"image_uri": str(photos[0]), "id": f"good {number}"} for number in range(10)]
    sources = ("s3://camfleet/{}{}.png", "gopher://host/{}{}.png", "/etc/{}{}.png")
    rows += [
        {"image_uri": source.format(LONG, number), "id": f"bad {number} {place}"}
        for number in range(16)
        for place, source in enumerate(sources)
    ]
    manifest = folder / "failures.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = client.submit(str(manifest), models=["patches"], keep_duplicates=True)
    assert job.wait(timeout=120).failed == 48
    return job.id


@pytest.fixture
def waiting_job(client, worker_environ):
    """Submit a job to a queue that nobody reads; give its id and the environment."""
    from camfleet import Client

    url = worker_environ["CAMFLEET_REDIS_URL"][:-1] + "6"
    own = {**worker_environ, "CAMFLEET_REDIS_URL": url}
    with Client.from_environ(own) as alone:
        job = alone.submit("s3://nowhere/a.png", models=["patches"])
        yield job.id, own
        job.cancel()


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_tables_fit_the_terminal(worker_environ, failures, columns):
    columned = [word for name in ("image_uri", "status", "focus") for word in ("--column", name)]
    commands = (
        ["results", failures],
        ["results", failures, *columned],
        ["jobs"],
        ["models", "list"],
        ["workers"],
        ["models", "show", "patches"],
        ["results", "--list-columns"],
    )
    how = {"environ": worker_environ, "columns": columns}
    started = [Terminal(*words, **how) for words in commands]
    for words, terminal in zip(commands, started, strict=True):
        shown = terminal.shown()
        assert shown.returncode in (0, 3), shown.text
        card = words[:2] == ["models", "show"]  # is a file's text
        said = [line for line in shown.lines if not (card and '= "' in line) and line[:1] != "#"]
        assert max(map(len, said)) <= columns, words


def test_uris_are_shortened_in_a_terminal_and_whole_in_a_pipe(run, worker_environ, failures):
    shown = in_terminal("results", failures, environ=worker_environ)
    assert "…" in shown.text
    assert LONG not in shown.text
    assert LONG in run("results", failures).stdout
    assert LONG in run("results", failures, "--json").stdout


def test_explain_names_the_heatmap_whole_and_it_can_be_fetched(
    client, worker_environ, photos, tmp_path
):
    shown = in_terminal("explain", str(photos[0]), "--model", "patches", environ=worker_environ)
    (uri,) = re.findall(r"^s3://\S+\.heatmap\.png$", shown.raw.replace("\r", ""), re.MULTILINE)
    client.storage.download(uri, str(tmp_path / "heatmap.png"))
    assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")


def test_many_columns_become_lines_of_their_own(worker_environ, failures):
    names = ("item_id", "image_uri", "image_etag", "model_digest", "target", "error_message")
    words = [word for name in names for word in ("--column", name)]
    shown = in_terminal("results", failures, *words, "--limit", "2", environ=worker_environ)
    assert [line.split()[0] for line in shown.lines[:6]] == list(names)
    assert max(map(len, shown.lines)) <= 80


def test_status_gives_the_first_message_of_each_code(run, worker_environ, failures):
    done = run("status", failures)
    assert done.returncode == 3
    assert re.search(r"16 image_not_found: .*no object|16 image_not_found: \S+", done.stdout)
    assert re.search(r"32 source_forbidden: \S+", done.stdout)
    said = json.loads(run("status", failures, "--json").stdout)
    assert said["failures"].keys() == said["failure_messages"].keys()
    assert LONG in said["failure_messages"]["image_not_found"]
    shown = in_terminal("status", failures, environ=worker_environ)
    assert max(map(len, shown.lines)) <= 80
    assert "16 image_not_found: " in shown.text


def test_times_are_times(run, failures):
    iso = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z"
    assert re.search(f"^submitted +{iso}$", run("status", failures).stdout, re.MULTILINE)
    assert re.search(f"^complete +{iso}$", run("status", failures).stdout, re.MULTILINE)
    said = json.loads(run("status", failures, "--json").stdout)
    assert all(re.fullmatch(iso, said[f"{name}_at"]) for name in ("submitted", "started", "ended"))
    (model, *_) = json.loads(run("models", "list", "--json").stdout)
    assert re.fullmatch(iso, model["added"])
    assert isinstance(model["added_at"], float)
    assert re.fullmatch(iso, json.loads(run("workers", "--json").stdout)[0]["started"])


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_bar_of_a_job_with_many_failures_stays_in_its_line(
    client, run, worker_environ, columns
):
    run("cancel", "none")  # so that what commands need is loaded
    uris = [f"gopher://host/{LONG}{number}" for number in range(400)]
    job = client.submit(uris, models=["patches"], job_id=f"bar-{'x' * 80}-{columns}")
    shown = in_terminal("watch", job.id, environ=worker_environ, columns=columns)
    assert shown.returncode == 3
    drawn = [part for part in re.split(r"[\r\n]", shown.raw) if "%|" in part]
    assert drawn
    assert max(map(len, drawn)) <= columns
    assert f"job           {job.id}: complete" in shown.text
    assert "%|" not in shown.text, "the bar goes away"


def test_ctrl_c_in_watch_says_that_the_job_goes_on(waiting_job):
    job, environ = waiting_job
    shown = in_terminal("watch", job, environ=environ, press="\x03", after="0/1 images")
    assert shown.returncode == 130
    for text in (
        f"job {job} goes on",
        f"to come back to it: camfleet watch {job}",
        f"to stop it: camfleet cancel {job}",
    ):
        assert f"camfleet: {text}" in shown.text
    assert "Traceback" not in shown.text


def test_ctrl_c_ends_any_command_plainly(waiting_job, photos):
    _, environ = waiting_job
    words = ["explain", photos[0], "--model", "patches"]
    shown = in_terminal(*words, environ=environ, press="\x03", after="explaining")
    assert shown.returncode == 130
    assert "camfleet: stopped by Ctrl-C" in shown.text
    assert "Traceback" not in shown.text


def test_watch_without_a_terminal_prints_a_line_now_and_then(waiting_job, tmp_path):
    job, environ = waiting_job
    said = tmp_path / "said"
    with said.open("wb") as file:
        process = subprocess.Popen([*PLAIN, "watch", job], env=environ, stdout=file, stderr=file)
    try:
        line = rf"^\d{{4}}-\d\d-\d\d \S+Z {job} is queued: 0 of 1 images$"
        wait_until(lambda: re.search(line, said.read_text(), re.MULTILINE), 30)
        time.sleep(1)
        assert len(said.read_text().splitlines()) == 1, "not at every poll"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert f"camfleet cancel {job}" in said.read_text()
    finally:
        process.kill()
        process.wait(20)


def test_adding_a_model_shows_what_is_happening(run, worker_environ, folder):
    from helpers.samples import write_card

    card = write_card(folder / "shown", "shown")
    done = run("models", "add", card)
    assert (done.returncode, done.stderr) == (0, f"camfleet: adding {card}\n")
    shown = in_terminal("models", "add", card, environ=worker_environ, columns=200)
    for step in (
        "adding",
        "uploading shown version 1",
        "a worker loads and checks shown version 1",
    ):
        assert step in shown.raw
    said = "shown version 1 is registered; shown means version 1"
    assert shown.lines[0] == said, "the line goes away"


def test_an_uploaded_file_keeps_its_own_name_in_the_rows(run, client, tmp_path):
    from helpers.samples import write_photos

    (path,) = write_photos(tmp_path, 1)
    (row,) = json.loads(run("explain", path, "--model", "patches", "--upload", "--json").stdout)
    assert row["item_id"] == str(path)
    assert row["image_uri"].startswith(f"s3://{client.storage.bucket}/uploads/")
    assert str(path) in run("explain", path, "--model", "patches", "--upload").stdout
    job = run("submit", path, "--model", "patches", "--upload", "--watch").stdout.split()[0]
    (row,) = map(json.loads, run("results", job, "--json").stdout.splitlines())
    assert row["item_id"] == str(path)
    assert str(path) in run("results", job).stdout


COMMANDS = [
    ["status", "nope"],
    ["watch", "nope"],
    ["results", "nope"],
    ["cancel", "nope"],
    ["resume", "nope"],
    ["retry", "nope"],
    ["verify", "nope"],
    ["models", "show", "nope"],
    ["models", "add", "none.toml"],
    ["models", "check", "none.toml"],
    ["explain", "a.png", "--model", "nope"],
    ["submit", "a.png", "--model", "nope"],
    ["submit", "a.png", "--model", "nope", "--dry-run"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_error_with_json_is_json_on_stdout(run, words):
    done, plain = run(*words, "--json"), run(*words)
    assert (done.returncode, plain.returncode) == (1, 1)
    *_, last = done.stdout.splitlines()
    error = json.loads(last)["error"]
    assert error.keys() == {"code", "message"}
    assert error["message"] in plain.stderr
    assert "Traceback" not in done.stderr + plain.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["nonsense"],
        ["results", "job", "--status", "done"],
        ["submit", "a.png", "--model", "m", "--opacity", "x"],
        ["results", "job", "--limit", "0"],
        ["explain", "a.png", "--modle", "patches"],
    ],
    ids=" ".join,
)
def test_wrong_usage_with_json_is_json_on_stdout(run, words):
    done = run(*words, "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "invalid_request"
    assert error["message"]


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("CAMFLEET_REDIS_URL", "redis://127.0.0.1:9/0", "broker_unavailable"),
        ("CAMFLEET_S3_ENDPOINT", "http://127.0.0.1:9", "storage_unavailable"),
        ("CAMFLEET_BATCH_SIZE", "many", "configuration"),
    ],
)
@pytest.mark.parametrize(
    "words", [["setup"], ["submit", "a.png", "--model", "patches"]], ids=" ".join
)
def test_a_server_that_is_away_is_json_too(run, worker_environ, words, variable, value, code):
    done = run(*words, "--json", environ={**worker_environ, variable: value})
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == code


def test_a_misspelt_command_is_put_right(run):
    assert "Did you mean 'status'?" in run("staus").stderr
