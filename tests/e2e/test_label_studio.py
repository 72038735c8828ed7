"""Label Studio's backend before a real worker, asked as Label Studio was recorded to ask."""

import base64
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from camfleet import Client
from camfleet.gateway.access.tokens import Tokens
from helpers.brushes import unpacked
from helpers.commands import command_line
from helpers.databases import environ_on
from helpers.gateway import gateway
from helpers.label_studio_standin import CONFIG, RECORDED, TOKEN, standin
from helpers.samples import write_card, write_photos
from helpers.waiting import wait_until
from helpers.working import working

ASKED = {one["path"]: one for one in json.loads((RECORDED / "backend.json").read_text())}


@pytest.fixture(scope="module")
def studio():
    with standin("/labels") as server:
        yield server


@pytest.fixture(scope="module")
def worker_environ(environ, folder, studio):
    """Give a worker and a database of its own: Label Studio's address is a setting of both."""
    return {
        **environ_on(environ, 5),
        "CAMFLEET_MODEL_DIR": str(folder / "models"),
        "CAMFLEET_LEASE_SECONDS": "5",
        "CAMFLEET_LABEL_STUDIO_URL": studio.url,
        "CAMFLEET_LABEL_STUDIO_TOKEN": TOKEN,
    }


@pytest.fixture(scope="module")
def worker(worker_environ, folder):
    log = folder / "labelling-worker.log"
    with working(worker_environ, log):
        yield log


@pytest.fixture(scope="module")
def client(worker, worker_environ):
    with Client.from_environ(worker_environ) as made:
        yield made


@pytest.fixture(scope="module")
def run(worker_environ):
    return command_line(worker_environ)


@pytest.fixture(scope="module")
def model(client, folder):
    return client.models.add(write_card(folder / "labelled", "ls-patches"), timeout=240)[0]


@pytest.fixture(scope="module")
def make(client):
    def create(*scopes):
        return Tokens(client.storage).create("ann", scopes, 1)[0]

    return create


@pytest.fixture(scope="module")
def web(worker_environ, folder, make):
    with gateway(worker_environ, folder, make("explain", "jobs:write")) as started:
        yield started


@pytest.fixture(scope="module")
def images(studio, tmp_path_factory):
    """Give what tasks name photographs by that Label Studio keeps."""
    found = []
    for path in write_photos(tmp_path_factory.mktemp("kept"), 6):
        studio.files[f"/data/upload/1/{path.name}"] = path.read_bytes()
        found.append(f"/labels/data/upload/1/{path.name}")
    return found


def ask(web, model, name, body=None, options="", password=..., method="POST"):
    """Ask as Label Studio does, with the token as a password."""
    secret = web.token if password is ... else password
    word = base64.b64encode(f"camfleet:{secret}".encode()).decode()
    path = f"/integrations/label-studio/{model.id}{options}/{name}"
    return web.ask(method, path, body, token=None, Authorization=f"Basic {word}")


def selection(images, first=1, **changed):
    """Return what Label Studio sends for tasks of these images."""
    recorded = ASKED["predict"]["body"]
    form = recorded["tasks"][0]
    tasks = [
        {**form, "id": first + number, "data": {"image": image}}
        for number, image in enumerate(images)
    ]
    return {**recorded, "tasks": tasks, **changed}


def test_health_and_setup_answer_what_was_recorded_and_name_the_version(web, model):
    assert ask(web, model, "health", method="GET").json == {
        "status": "UP",
        "model_class": "camfleet",
    }
    said = ask(web, model, "setup", ASKED["setup"]["body"])
    assert said.json == {"model_version": "ls-patches@1 gradcam auto 0.5 box"}
    heated = ask(web, model, "setup", ASKED["setup"]["body"], "/heat=1&target=top:2")
    assert heated.json == {"model_version": "ls-patches@1 gradcam auto 0.5 top:2 box heat"}
    hook = ASKED["webhook"]
    path = f"/integrations/label-studio/{model.id}/webhook"
    assert web.ask("POST", path, hook["body"], token=None).status == 200


def test_answers_come_in_order_and_failed_images_have_none(web, model, images, studio, folder):
    wanted = [images[0], "/labels/data/upload/1/gone.png", images[1], "/labels/api/users/"]
    said = ask(web, model, "predict", selection(wanted), "/heat=1")
    assert said.status == 200
    first, gone, second, forbidden = said.json["results"]
    assert gone == forbidden == []
    for one in (first, second):
        assert [part["type"] for part in one["result"]] == [
            "choices",
            "rectanglelabels",
            "brushlabels",
        ]
        assert one["model_version"] == "ls-patches@1 gradcam auto 0.5 box heat"
        assert one["score"] == one["result"][0]["score"]
    alphas = unpacked(first["result"][2]["value"]["rle"])
    assert len(alphas) == 60 * 80 * 4
    assert max(alphas) == 255
    (log,) = folder.glob(f"gateway-{web.port}.log")
    assert "task 2: Label Studio answers 404" in log.read_text()
    assert TOKEN not in log.read_text()
    assert web.token not in log.read_text()


def test_a_value_that_has_a_part_of_the_address_shows_what_the_editor_shows(web, model, images):
    folder, name = images[0].rsplit("/", 1)
    config = CONFIG.replace('value="$image"', f'value="{folder}/$meta.file"')
    assert "$meta.file" in config
    parts = [{"meta": {"file": name}}, {"meta": name}, {"meta": {"file": "../1/" + name}}]
    sent = selection(images[:3], label_config=config)
    sent["tasks"] = [
        {**task, "data": data} for task, data in zip(sent["tasks"], parts, strict=True)
    ]
    found, *none = ask(web, model, "predict", sent).json["results"]
    assert none == [[], []]
    assert [found] == ask(web, model, "predict", selection(images[:1])).json["results"]
    lacking = ask(web, model, "predict", {**sent, "tasks": sent["tasks"][1:2]})
    assert (lacking.status, lacking.json["detail"]) == (
        422, "the task's data has no 'meta.file', which the label config shows"
    )  # fmt: skip


def test_an_answer_is_given_again_for_a_minute(web, model, images, studio):
    first = ask(web, model, "predict", selection(images[2:4])).json
    studio.asked.clear()
    assert ask(web, model, "predict", selection(images[2:4])).json == first
    assert studio.asked == []


def test_if_every_image_fails_the_reason_stands_in_the_first_line(web, model):
    path = f"http://127.0.0.1:{web.port}/integrations/label-studio/{model.id}/predict"
    body = json.dumps(selection(["https://elsewhere.example/a.png?token=secret"]))
    words = ["curl", "-si", "-u", f"camfleet:{web.token}", "-H", "Content-Type: application/json"]
    said = subprocess.run(
        [*words, "-d", body, path], capture_output=True, text=True, check=True
    ).stdout
    first = said.splitlines()[0]
    assert first.startswith("HTTP/1.1 422 https://elsewhere.example/a.png?token=** is of a server")
    assert "CAMFLEET_LABEL_STUDIO_ORIGINS" in first
    assert "camfleet-reason" not in said
    assert "secret" not in said


def test_a_wrong_label_config_or_address_is_told_at_setup(web, model):
    config = CONFIG.replace('value="dark"', 'value="gloomy"')
    body = {**ASKED["setup"]["body"], "schema": config}
    said = ask(web, model, "setup", body)
    assert (said.status, said.json["code"]) == (422, "invalid_request")
    assert "lacks 1 of 2 labels" in said.json["detail"]
    assert ask(web, model, "setup", body, "/labels=known").status == 200
    assert "did you mean heat" in ask(web, model, "setup", body, "/heta=1").json["detail"]


def test_health_of_an_unknown_model_or_option_says_what_setup_will_refuse(web, model):
    for name, options, said in (
        ("ls-patchs", "", "no model 'ls-patchs'"),
        (model.id, "/heta=1", "did you mean heat"),
    ):
        known = SimpleNamespace(id=name)
        told = ask(web, known, "health", options=options, method="GET")
        assert (told.status, told.json["status"]) == (200, "DOWN")
        assert said in told.json["error"]
        refused = ask(web, known, "setup", ASKED["setup"]["body"], options)
        assert refused.json["detail"] == told.json["error"]


def test_who_has_no_token_or_not_its_scope_gets_nothing(web, model, make):
    for secret in ("", "cf_0123456789abcdef_" + "a" * 43, make("jobs:read")):
        said = ask(web, model, "setup", ASKED["setup"]["body"], password=secret)
        assert said.status == (403 if secret.startswith("cf_") and secret[3:5] != "01" else 401)
    asked = ask(web, model, "health", method="GET", password="")
    assert asked.status == 401
    basic = base64.b64encode(f"camfleet:{web.token}".encode()).decode()
    other = web.ask("GET", "/v1/models", token=None, Authorization=f"Basic {basic}")
    assert other.status == 401  # browsers would send a password for any page


def test_a_large_selection_is_a_job_whose_predictions_are_written_back_once(
    web, model, images, studio, client, worker_environ, folder
):
    ids = studio.add(*[images[number % 6] for number in range(210)])
    studio.files["/data/upload/1/gone.png"] = None
    studio.tasks[ids[7]] = {"image": "/labels/data/upload/1/gone.png"}
    wanted = selection([studio.tasks[number]["image"] for number in ids], ids[0])
    before = {progress.job_id for progress in client.jobs()}
    studio.cut_off = 1
    assert ask(web, model, "predict", wanted).json == {"results": [[]] * 210}
    with gateway(worker_environ, folder, web.token) as other:
        assert ask(other, model, "predict", wanted).json == {"results": [[]] * 210}
    (job_id,) = {progress.job_id for progress in client.jobs()} - before
    record = client.job(job_id).record()
    assert (record.owner, record.follow_ups.label_studio.project) == ("ann", 1)
    assert TOKEN not in client.storage.get(f"jobs/{job_id}/job.json").data.decode()
    wait_until(lambda: client.job(job_id).status().followed, 120)
    told = client.job(job_id).status()
    assert told.label_studio.state == "done", told.label_studio
    assert told.label_studio.note.endswith("1 failed")
    version = ["ls-patches@1 gradcam auto 0.5 box"]
    counts = [studio.versions(number) for number in ids]
    assert counts[7] == []
    assert counts[:7] + counts[8:] == [version] * 209
    assert ask(web, model, "predict", wanted).status == 200  # it's asked for anew
    wait_until(lambda: client.job(f"{job_id[:-1]}2").status().followed, 120)
    assert [studio.versions(number) for number in ids] == counts


def test_a_backend_that_is_killed_in_the_midst_of_a_selection_answers_once_it_is_back(
    web, model, images, studio, worker_environ, folder
):
    names = [f"/data/upload/2/{number}.png" for number in range(60)]
    kept = [studio.files[image.removeprefix("/labels")] for image in images]
    studio.files |= {name: kept[number % 6] for number, name in enumerate(names)}
    wanted = selection([f"/labels{name}" for name in names])
    with gateway(worker_environ, folder, web.token) as first, ThreadPoolExecutor() as pool:
        lost = pool.submit(ask, first, model, "predict", wanted)
        wait_until(lambda: any("/data/upload/2/" in path for _, path in list(studio.asked)), 60)
        first.process.kill()
        with pytest.raises(ConnectionError):
            lost.result(60)
    with gateway(worker_environ, folder, web.token) as second:
        found = ask(second, model, "predict", wanted).json["results"]
    assert [one["model_version"] for one in found] == ["ls-patches@1 gradcam auto 0.5 box"] * 60


def test_push_writes_what_a_worker_could_not(
    web, model, images, studio, client, run, worker_environ
):
    ids = studio.add(*[images[number % 6] for number in range(201)])
    wanted = selection([studio.tasks[number]["image"] for number in ids], ids[0])
    before = {progress.job_id for progress in client.jobs()}
    config = wanted["label_config"].replace("dark", "bleak")
    refused = {**wanted, "label_config": config}
    assert ask(web, model, "predict", refused).status == 422
    ask(web, model, "predict", wanted, "/shape=none")
    (job_id,) = {progress.job_id for progress in client.jobs()} - before
    wait_until(lambda: client.job(job_id).status().followed, 120)
    studio.predictions = []
    done = run("push", "label-studio", job_id, "--project", "1", "--json")
    assert json.loads(done.stdout)["written"] == 201, done.stderr
    assert run("push", "label-studio", job_id, "--project", "2").returncode == 1
    wrong = run("push", "label-studio", job_id, "--project", "1", "--heat")
    assert "says what is shown" in wrong.stderr
    status = run("status", job_id).stdout
    assert f"label studio  {studio.url}/projects/1/data" in status


def test_without_an_address_a_large_selection_says_what_to_set(
    worker_environ, folder, model, make, client
):
    environ = {**worker_environ, "CAMFLEET_LABEL_STUDIO_URL": ""}
    uris = [client.storage.uri(f"label-studio/{number}.png") for number in range(201)]
    with gateway(environ, folder, make("explain", "jobs:write")) as bare:
        said = ask(bare, model, "predict", selection(uris))
        assert said.status == 422
        assert "set CAMFLEET_LABEL_STUDIO_URL" in said.json["detail"]
        alone = ask(bare, model, "predict", selection(["/data/upload/1/a.png"]))
        assert "set CAMFLEET_LABEL_STUDIO_URL" in alone.json["detail"]
    with gateway(worker_environ, folder, make("explain")) as less:
        said = ask(less, model, "predict", selection(uris))
        assert (said.status, said.json["code"]) == (403, "forbidden")
