"""The command line against a real worker process: output, messages and exit codes."""

import json
import time

import pytest

from helpers.samples import write_card, write_photos

pytestmark = pytest.mark.usefixtures("model")


def test_explaining_prints_a_row_per_class_and_exits_zero(run, photos):
    done = run("explain", photos[0], "--model", "patches", "--target", "top:2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "no progress bar where there's no terminal"
    header, _, first, second = done.stdout.splitlines()
    assert header.split() == [
        "image", "model", "class", "probability", "layer", "status", "heatmap"
    ]  # fmt: skip
    assert " bright " in first
    assert " ok " in first
    assert " no_evidence " in second


def test_json_rows_carry_all_that_the_contract_says(run, photos):
    done = run("explain", photos[0], photos[1], "--model", "patches@1", "--json")
    rows = json.loads(done.stdout)
    assert [row["image_uri"] for row in rows] == [str(photos[0]), str(photos[1])]
    assert rows[0]["layer"] == "conv"
    assert rows[0]["map"] is None, "no pixels travel through Redis"


@pytest.mark.parametrize(
    ("image", "code", "message"),
    [
        ("broken.png", "image_unreadable", "broken.png"),
        ("bomb.png", "image_too_large", "CAMFLEET_MAX_IMAGE_PIXELS"),
        ("none.png", "image_not_found", "none.png"),
        ("/etc/hostname", "source_forbidden", "CAMFLEET_FILE_ROOTS"),
        ("s3://camfleet/none.png", "image_not_found", "s3://camfleet/none.png"),
        ("s3://camfleet-none/a.png", "source_forbidden", "CAMFLEET_S3_ROOTS"),
        ("s3://camfleet/registry/a/1.json", "source_forbidden", "camfleet's own records"),
        ("s3://camfleet/../other/a.png", "source_forbidden", "a part `.` or `..`"),
        ("s3:///a.png", "image_error", "s3://bucket/key"),
        ("http://nowhere.invalid/a.png", "source_unreachable", "nowhere.invalid"),
        ("http://127.0.0.1:9/a.png", "source_forbidden", "CAMFLEET_ALLOW_PRIVATE_HOSTS"),
        ("gopher://a/b", "source_forbidden", "gopher"),
    ],
)
def test_an_image_that_fails_is_named_with_the_way_out_and_exits_three(
    run, folder, photos, image, code, message
):
    (folder / "broken.png").write_bytes(photos[0].read_bytes()[:70])
    (folder / "bomb.png").write_bytes(bomb())
    name = folder / image if "/" not in image else image
    done = run("explain", name, photos[0], "--model", "patches")
    assert done.returncode == 3
    assert f"camfleet: {code}: " in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert " ok " in done.stdout, "the good image beside it is explained"


def bomb() -> bytes:
    """Return a small PNG whose header says 40,000 x 40,000 pixels."""
    import struct
    import zlib

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nothing"], "no model 'nothing' is registered; there are"),
        (["--model", "patches@7"], "has no version '7', only 1"),
        (["--model", "patches", "--target", "brihgt"], "no class 'brihgt'"),
        (["--model", "patches", "--target", "9"], "has no class 9: it has 2"),
        (["--model", "patches", "--layer", "nowhere"], "no layer 'nowhere'"),
    ],
)
def test_a_wrong_request_is_named_and_exits_one(run, photos, words, message):
    done = run("explain", photos[0], *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "words", [["explain"], ["explain", "a.png"], ["nonsense"], ["submit", "a", "--opacity", "x"]]
)
def test_wrong_usage_exits_two(run, words):
    assert run(*words).returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["up"],
        ["setup"],
        ["models"],
        ["models", "add"],
        ["models", "check"],
        ["models", "list"],
        ["models", "show"],
        ["explain"],
        ["submit"],
        ["status"],
        ["watch"],
        ["jobs"],
        ["cancel"],
        ["resume"],
        ["retry"],
        ["verify"],
        ["results"],
        ["workers"],
        ["health"],
        ["models", "convert"],
    ],
)
def test_every_command_has_help(run, words):
    done = run(*words, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


def test_what_to_write_is_said_by_picture(run, photos):
    words = ("explain", photos[0], "--model", "patches", "--json")
    (row,) = json.loads(run(*words, "--picture", "overlay", "--picture", "raw").stdout)
    assert (row["heatmap_uri"], bool(row["overlay_uri"]), bool(row["raw_uri"])) == (
        None,
        True,
        True,
    )
    (row,) = json.loads(run(*words, "--picture", "none").stdout)
    assert (row["heatmap_uri"], row["overlay_uri"], row["raw_uri"]) == (None, None, None)


@pytest.mark.parametrize("command", ["explain", "submit"])
def test_the_old_name_of_picture_goes_on_working_with_a_notice(run, photos, command):
    words = (command, photos[0], "--model", "patches", "--json")
    old = run(*words, "--output", "overlay", "--output", "none")
    assert old.returncode == 0
    assert "--output KIND has a new name here: --picture overlay --picture none\n" in old.stderr
    if command == "explain":
        (row,) = json.loads(old.stdout)
        (again,) = json.loads(run(*words, "--picture", "overlay").stdout)
        assert {**row, "timings": None} == {**again, "timings": None}
    assert "--output" not in run(command, "--help").stdout


def test_a_job_from_submit_to_results(run, photos):
    job = run("submit", photos[0].parent, "--model", "patches", "--target", "top:2").stdout.strip()
    watched = run("watch", job, "--timeout", "60")
    assert watched.returncode == 0, watched.stderr
    assert "9 of 9 done" in watched.stdout
    status = json.loads(run("status", job, "--json").stdout)
    assert (status["ok"], status["failed"], status["state"]) == (9, 0, "complete")
    rows = [json.loads(line) for line in run("results", job, "--json").stdout.splitlines()]
    assert [row["image_uri"] for row in rows[::2]] == [str(path) for path in photos]
    assert [row["rank"] for row in rows[:2]] == [0, 1]
    assert len(run("results", job, "--limit", "3").stdout.splitlines()) == 5


def test_a_job_with_failed_images_exits_three(run, folder, photos):
    manifest = folder / "some.jsonl"
    manifest.write_text(
        json.dumps({"image_uri": str(photos[0]), "id": "good"})
        + "\n"
        + json.dumps({"image_uri": "gone.png", "id": "bad"})
    )
    done = run("submit", manifest, "--model", "patches", "--watch", "--json")
    assert done.returncode == 3
    first, *_, last = map(json.loads, done.stdout.splitlines())
    assert first["images"] == 2
    assert (last["ok"], last["failed"], last["state"]) == (1, 1, "complete")
    assert run("status", first["job_id"]).returncode == 3
    assert run("results", first["job_id"]).returncode == 3


def test_two_identical_jobs_write_identical_objects(run, client, photos):
    written = []
    for _ in range(2):
        job = run("submit", photos[0].parent, "--model", "patches", "--watch").stdout.split()[0]
        rows = list(client.job(job).results())
        uris = [uri for row in rows for uri in (row.heatmap_uri, row.overlay_uri)]
        written.append(
            (
                {uri: client.storage.get(uri).data for uri in uris},
                [(row.map, row.logit, row.probability) for row in rows],
            )
        )
    assert len(written[0][0]) == 18
    assert written[0] == written[1]


def test_local_files_can_be_sent_along_for_workers_elsewhere(run, client, tmp_path):
    (path,) = write_photos(tmp_path, 1)
    refused = run("explain", path, "--model", "patches")
    assert refused.returncode == 3
    done = run("explain", path, "--model", "patches", "--upload", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["image_uri"].startswith(
        f"s3://{client.storage.bucket}/uploads/"
    )
    job = run("submit", path, "--model", "patches", "--upload", "--watch")
    assert job.returncode == 0, job.stderr


def test_an_unknown_job_is_named(run):
    for words in (["status", "nope"], ["watch", "nope"], ["results", "nope"]):
        done = run(*words)
        assert done.returncode == 1
        assert "nope" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_broken_manifest_starts_no_job(run, client, folder):
    manifest = folder / "broken.csv"
    manifest.write_text("image_uri,taget\na.png,top\n")
    done = run("submit", manifest, "--model", "patches", "--job-id", "never")
    assert done.returncode == 1
    assert "broken.csv, line 1" in done.stderr
    assert "`taget`" in done.stderr
    assert list(client.storage.keys("jobs/never/")) == []


@pytest.mark.parametrize(
    ("variable", "url", "message"),
    [
        ("CAMFLEET_REDIS_URL", "redis://127.0.0.1:9/0", "no Redis at 127.0.0.1:9"),
        ("CAMFLEET_S3_ENDPOINT", "http://127.0.0.1:9", "object store at 127.0.0.1:9"),
    ],
)
def test_a_server_that_is_not_running_is_named_at_once(
    run, worker_environ, photos, variable, url, message
):
    start = time.monotonic()
    done = run("submit", photos[0], "--model", "patches", environ={**worker_environ, variable: url})
    assert done.returncode == 1
    assert message in done.stderr
    assert variable in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - start < 30


def test_models_are_listed_shown_and_checked(run, folder):
    assert "patches" in [row["id"] for row in json.loads(run("models", "list", "--json").stdout)]
    assert "patches" in run("models", "list").stdout
    shown = json.loads(run("models", "show", "patches", "--json").stdout)
    assert shown["report"]["layer"] == "conv"
    assert shown["card"]["labels"] == ["bright", "dark"]
    assert "feature maps  2 of 32 x 48" in run("models", "show", "patches").stdout
    checked = run("models", "check", folder / "card" / "card.toml")
    assert checked.returncode == 0, checked.stderr
    assert "methods       gradcam, hirescam, layercam, xgradcam, gradcam++, cam" in checked.stdout


def test_a_typo_in_a_card_is_named(run, tmp_path):
    card = write_card(tmp_path, "typo")
    card.write_text(card.read_text().replace("resize", "resise"))
    for command in ("add", "check"):
        done = run("models", command, card)
        assert done.returncode == 1
        assert "unknown field 'input.resise'; did you mean 'resize'?" in done.stderr


def test_a_file_that_is_no_model_is_refused_with_the_way_out(run, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"x")
    done = run("models", "check", path)
    assert done.returncode == 1
    assert "ONNX" in done.stderr
    path = tmp_path / "net.keras"
    path.write_bytes(b"x")
    done = run("models", "check", path, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "unsupported_model_file"


def test_a_model_that_a_worker_refuses_is_not_registered(run, tmp_path):
    card = write_card(tmp_path, "refused", labels='["one"]')
    done = run("models", "add", card)
    assert done.returncode == 1
    assert "unit counts as two classes); labels of its card: 1" in done.stderr
    assert run("models", "show", "refused").returncode == 1
