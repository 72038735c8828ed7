"""Label Studio itself, with camfleet as its backend."""

import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from camfleet.errors import ImageNotFound, SourceForbidden
from camfleet.gateway.tokens import Tokens
from camfleet.label_studio.api import Api
from camfleet_worker.pictures.heat import normalise, stretch
from camfleet_worker.sources.label_studio import LabelStudioReader
from helpers.brushes import unpacked
from helpers.documents import ROOT
from helpers.gateway import gateway
from helpers.label_studio import PASSWORD, USER
from helpers.label_studio_recorder import form_of, recorder
from helpers.label_studio_standin import RECORDED
from helpers.samples import photo, write_photos
from helpers.waiting import wait_until

pytestmark = pytest.mark.tools

CONFIG = """<View>
  <Image name="photo" value="$image"/>
  <Choices name="kind" toName="photo"><Choice value="bright"/><Choice value="dark"/></Choices>
  <RectangleLabels name="looked" toName="photo"><Label value="bright"/><Label value="dark"/>
  </RectangleLabels>
  <BrushLabels name="heat" toName="photo"><Label value="heat"/></BrushLabels>
</View>"""


@pytest.fixture(scope="session")
def token(client):
    return Tokens(client.storage).create("ann", ("explain", "jobs:read", "jobs:write"), 1)[0]


@pytest.fixture(scope="session")
def web(worker_environ, folder, token):
    with gateway(worker_environ, folder, token) as started:
        yield started


@pytest.fixture(scope="session")
def stored(client, tmp_path_factory):
    """Give the URIs of photographs in the bucket."""
    paths = write_photos(tmp_path_factory.mktemp("stored"), 12)
    for path in paths:
        client.storage.put(f"label-studio/{path.name}", path.read_bytes(), "image/png")
    return [client.storage.uri(f"label-studio/{path.name}") for path in paths]


def backend(web, model, options=""):
    return f"http://127.0.0.1:{web.port}/integrations/label-studio/{model.id}{options}"


def test_predictions_are_retrieved_of_images_wherever_they_lie(
    studio, web, model, token, stored, tmp_path
):
    project, _ = studio.project(CONFIG, [{"data": {"image": stored[0]}}])
    studio.upload(project, write_photos(tmp_path, 1)[0])
    connected = studio.connect(project, backend(web, model, "/heat=1"), token)
    assert connected["state"] == "CO"
    assert connected["model_version"].startswith(f"{model.id}@{model.version} gradcam auto 0.5")
    studio.retrieve(project)
    first, second = studio.tasks(project)
    assert second["data"]["image"].startswith("/data/upload/")
    for task in (first, second):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == connected["model_version"]
        kinds = [one["type"] for one in prediction["result"]]
        assert kinds == ["choices", "rectanglelabels", "brushlabels"], prediction
        assert prediction["result"][0]["value"]["choices"] == ["bright"]
        # What is imported its LabelInterface validates, and refuses the whole where it finds fault.
        path = f"/api/projects/{project}/import/predictions"
        same = {"task": task["id"], "model_version": "again", "result": prediction["result"]}
        assert studio.ask("POST", path, [same]) == {"created": 1}
        same["result"][1]["value"]["rectanglelabels"] = ["lynx"]
        studio.ask("POST", path, [same], status=400)


def prediction_of(task):
    (prediction,) = task["predictions"]
    return prediction


IMAGE = '<Image name="photo" value="$image"/>'
KINDS = (
    '<Choices name="kind" toName="photo"><Choice value="bright"/><Choice value="dark"/></Choices>'
)
BOXES = (
    '<RectangleLabels name="looked" toName="photo"><Label value="bright" alias="b" hotkey="1"/>'
    '<Label value="dark" background="#000000"/></RectangleLabels>'
)
MASKS = (
    '<BrushLabels name="mask" toName="photo"><Label value="bright"/><Label value="dark"/>'
    '</BrushLabels><KeyPointLabels name="point" toName="photo"><Label value="bright"/>'
    "</KeyPointLabels>"
)
QUALITY = (
    '<Choices name="quality" toName="photo"><Choice value="sharp"/><Choice value="blurred"/>'
    '</Choices><Choices name="each" toName="photo" perRegion="true"><Choice value="bright"/>'
    '<Choice value="dark"/></Choices><TextArea name="note" toName="photo"/>'
)
SPREAD = (
    '<PolygonLabels name="p1" toName="photo"><Label value="dark"/></PolygonLabels>'
    '<PolygonLabels name="p2" toName="photo"><Label value="bright"/></PolygonLabels>'
)


@pytest.mark.parametrize(
    ("tags", "address", "names"),
    [
        (f"{QUALITY}{IMAGE}<View><View>{KINDS}</View></View>{BOXES}", "", ["kind", "looked"]),
        (f"{IMAGE}{QUALITY}{MASKS}{BOXES}", "/shape=rle", ["mask"]),
        (f"{IMAGE}{QUALITY}{SPREAD}", "", ["p2"]),
        (f'<Image name="logo" value="$logo"/>{IMAGE}{KINDS}', "", ["kind"]),
        (
            f'{IMAGE}<Image name="two" value="$logo"/>' + BOXES.replace('"photo"', '"photo,two"'),
            "",
            ["looked"],
        ),
    ],
    ids=["nested", "masks", "spread", "two", "shared"],
)
def test_controls_of_all_kinds_are_told_apart(
    studio, web, model, token, stored, tags, address, names
):
    data = {"image": stored[0], "logo": stored[1]}
    project, _ = studio.project(f"<View>{tags}</View>", [{"data": data}])
    studio.connect(project, backend(web, model, address), token)
    studio.retrieve(project)
    (task,) = studio.tasks(project)
    sent = prediction_of(task)["result"]
    assert [one["from_name"] for one in sent] == names
    assert {one["to_name"] for one in sent} == {"photo"}
    path = f"/api/projects/{project}/import/predictions"
    again = {"task": task["id"], "model_version": "again", "result": sent}
    assert studio.ask("POST", path, [again]) == {"created": 1}  # it validates these


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ('<Text name="photo" value="$text"/>', "but Text: camfleet explains images"),
        ('<Video name="photo" value="$video"/>', "but Video: camfleet explains images"),
        ('<Image name="photo" valueList="$pages"/>', "several pages"),
    ],
)
def test_projects_of_other_things_are_refused(studio, web, model, token, tags, said):
    data = {"text": "a", "video": "s3://b/a.mp4", "pages": ["s3://b/a.png"]}
    project, _ = studio.project(f"<View>{tags}{KINDS}</View>", [{"data": data}])
    assert said in str(studio.connect(project, backend(web, model), token, status=400))


def test_a_label_config_without_the_models_labels_is_refused_with_what_to_do(
    studio, web, model, token, stored
):
    config = CONFIG.replace('value="dark"', 'value="gloomy"')
    project, _ = studio.project(config, [{"data": {"image": stored[0]}}])
    refused = studio.connect(project, backend(web, model), token, status=400)
    assert "lacks 1 of 2 labels of patches: 'dark'" in str(refused)
    assert f"--labels {model.id}=FILE" in str(refused)
    studio.connect(project, backend(web, model, "/labels=known"), token)
    studio.retrieve(project)
    assert prediction_of(studio.tasks(project)[0])["result"][0]["value"]["choices"] == ["bright"]


def test_names_of_a_file_are_those_of_the_label_config(
    studio, worker_environ, folder, model, token, stored
):
    file = folder / "names.toml"
    file.write_text('bright = "sun & moon"\ndark = false\n')
    config = CONFIG.replace('value="bright"', 'value="sun &amp; moon"')
    project, _ = studio.project(config, [{"data": {"image": stored[0]}}])
    with gateway(worker_environ, folder, token, "--labels", f"{model.id}={file}") as web:
        studio.connect(project, backend(web, model), token)
        studio.retrieve(project)
    shown = prediction_of(studio.tasks(project)[0])["result"]
    assert shown[0]["value"]["choices"] == ["sun & moon"]
    assert shown[1]["value"]["rectanglelabels"] == ["sun & moon"]


def test_what_is_wrong_with_the_address_or_the_token_is_shown(studio, web, model, token, stored):
    project, _ = studio.project(CONFIG, [{"data": {"image": stored[0]}}])
    wrong = studio.connect(project, backend(web, model, "/shap=box"), token, status=400)
    assert "did you mean shape?" in str(wrong)
    none = backend(web, model).replace(model.id, "nobody")
    assert "nobody" in str(studio.connect(project, none, token, status=400))
    lost = studio.connect(project, backend(web, model), "cf_lost", status=400)
    assert "authentication parameters were either not provided or are incorrect" in str(lost)
    bare = CONFIG.replace('name="heat"', 'name="other"')
    project, _ = studio.project(bare, [{"data": {"image": stored[0]}}])
    wrong = studio.connect(project, backend(web, model, "/heat=1"), token, status=400)
    assert "which heat needs" in str(wrong)


def test_one_failed_image_spoils_no_other_and_the_order_stays(
    studio, web, model, token, stored, client
):
    images = [stored[0], client.storage.uri("label-studio/gone.png"), stored[1], "/etc/passwd"]
    project, _ = studio.project(CONFIG, [{"data": {"image": image}} for image in images])
    studio.connect(project, backend(web, model), token)
    studio.retrieve(project)
    assert [len(task["predictions"]) for task in studio.tasks(project)] == [1, 0, 1, 0]
    before = [task["predictions"] for task in studio.tasks(project)]
    studio.retrieve(project)
    assert [task["predictions"] for task in studio.tasks(project)] == before


def looked_at(studio, project, task, picture):
    """Return what the editor shows of a task, in Chromium."""
    python = ROOT / ".tools" / "playwright" / "bin" / "python"
    assert python.exists(), "make tools makes the environments"
    script = ROOT / "tests" / "tools" / "look_label_studio.py"
    words = [python, "-P", script, studio.url, USER, PASSWORD, str(project), str(task), picture]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def turned(pixels, orientation):
    """Return a JPEG that is upright only once it's turned."""
    sink, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(sink, "JPEG", quality=95, exif=exif)
    return sink.getvalue()


@pytest.mark.parametrize(("orientation", "turns"), [(6, 1), (8, -1)])  # 6: turn it clockwise
def test_the_editor_shows_class_box_and_heat_where_they_are_to_the_pixel(
    studio, web, model, token, client, tmp_path, orientation, turns
):
    upright = photo(70, 30, (120, 60))
    data = turned(np.rot90(upright, turns), orientation)
    file = tmp_path / "turned.jpg"
    file.write_bytes(data)
    project, _ = studio.project(CONFIG, [{"data": {"image": "s3://nowhere/none.jpg"}}])
    studio.upload(project, file)
    task = studio.tasks(project)[1]
    studio.connect(project, backend(web, model, "/heat=1&target=bright"), token)
    studio.retrieve(project, [task["id"]])
    sent = prediction_of(studio.tasks(project)[1])["result"]
    found = looked_at(studio, project, task["id"], tmp_path / "seen.png")
    assert found["shown"][0] == {"from": "kind", "type": "choices", "value": ["bright"]}
    (box,) = found["boxes"]
    assert box["label"] == "bright"
    assert box["place"] == {name: sent[1]["value"][name] for name in box["place"]}
    brush, *others = found["brushes"]
    assert others == [], [(one["width"], len(one["runs"])) for one in found["brushes"]]
    assert (brush["width"], brush["height"]) == (60, 120)
    values, lengths = zip(*brush["runs"], strict=True)
    alphas = np.repeat(values, lengths).reshape(120, 60)
    assert np.array_equal(
        alphas, np.reshape(unpacked(sent[2]["value"]["rle"]), (120, 60, 4))[..., 3]
    )
    client.storage.put("label-studio/turned.jpg", data, "image/jpeg")
    uri = client.storage.uri("label-studio/turned.jpg")
    (row,) = client.explain(uri, model=model, target="bright", pictures=["raw"]).result()
    raw = np.load(io.BytesIO(client.storage.get(row.raw_uri).data))
    _, down = stretch(len(raw), 0, 120, 120)
    _, across = stretch(len(raw[0]), 0, 60, 60)
    expected = down @ normalise(raw) @ across.T
    assert np.abs(alphas - expected * 255).max() <= 255 / 14 + 0.5
    ys, xs = np.nonzero(alphas == 255)
    assert abs(ys.mean() - 70) < 8
    assert abs(xs.mean() - 30) < 8


def test_a_selection_that_is_too_large_to_wait_for_is_written_back_once_whatever_dies(
    studio, worker_environ, folder, model, token, stored, client, worker
):
    """The session's worker is held before its first step, and another one dies after the first."""
    tasks = [{"data": {"image": stored[n % len(stored)]}} for n in range(230)]
    project, ids = studio.project(CONFIG, tasks)
    own, others = folder / "own-faults", folder / "faults"
    own.mkdir()
    others.mkdir(exist_ok=True)
    (others / "follow-up-taken").touch()
    (own / "label-studio-sent").touch()
    before = {progress.job_id for progress in client.jobs()}
    environ = {**worker_environ, "CAMFLEET_FAULT_DIR": str(own)}
    words = [sys.executable, "-m", "celery", "-A", "camfleet_worker", "worker", "-n", "dies@x"]
    with (folder / "dies.log").open("wb") as log:
        victim = subprocess.Popen(
            words, env=environ, stdout=log, stderr=log, start_new_session=True
        )
    try:
        with gateway(worker_environ, folder, token) as first:
            studio.connect(project, backend(first, model), token)
            studio.retrieve(project)
        wait_until(lambda: any(own.glob("label-studio-sent.*")), 120)
    finally:
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait(30)
    with gateway(worker_environ, folder, token) as second:
        body = {
            "tasks": [{"id": task["id"], "data": task["data"]} for task in studio.tasks(project)],
            "project": f"{project}.1",
            "label_config": CONFIG,
        }
        path = f"/integrations/label-studio/{model.id}/predict"
        assert second.ask("POST", path, body).json == {"results": [[]] * len(ids)}
    (job_id,) = {progress.job_id for progress in client.jobs()} - before
    (others / "follow-up-taken").unlink()
    wait_until(lambda: client.job(job_id).status().followed, 120)
    told = client.job(job_id).status().label_studio
    assert told.state == "done", told
    assert told.uri == f"{studio.url}/projects/{project}/data"
    found = studio.tasks(project)
    assert [len(task["predictions"]) for task in found] == [1] * len(ids)
    assert all(prediction_of(task)["result"][0]["value"]["choices"] for task in found)


def test_workers_read_what_label_studio_keeps_as_its_user_and_nobody_else(
    studio, web, model, token, tmp_path
):
    class Elsewhere:
        def read(self, uri, _limit):
            raise SourceForbidden(f"{uri} is elsewhere")

    project, _ = studio.project(CONFIG, [{"data": {"image": "s3://nowhere/none.jpg"}}])
    (path,) = write_photos(tmp_path, 1)
    studio.upload(project, path)
    place = studio.url + studio.tasks(project)[1]["data"]["image"]
    personal = studio.ask("POST", "/api/token/", status=201)["token"]
    for secret in (studio.token, personal):
        reader = LabelStudioReader(Api(studio.url, secret), Elsewhere(), 20)
        assert reader.read(place, 2**20)[0] == path.read_bytes()
    with pytest.raises(ImageNotFound, match="LOCAL_FILES_SERVING_ENABLED"):
        reader.read(f"{studio.url}/data/local-files/?d=none.png", 2**20)
    for secret in ("f" * 40, "eyJ.none.of.ours", ""):
        reader = LabelStudioReader(Api(studio.url, secret), Elsewhere(), 20)
        with pytest.raises(SourceForbidden, match="CAMFLEET_LABEL_STUDIO_TOKEN") as caught:
            reader.read(place, 2**20)
        assert not secret or secret not in str(caught.value)
    with pytest.raises(SourceForbidden, match=r"elsewhere.*set CAMFLEET_LABEL_STUDIO_URL"):
        LabelStudioReader(Api("", ""), Elsewhere(), 20).read(place, 2**20)


def test_a_folder_that_label_studio_serves_is_read_by_way_of_it(
    studio, web, model, token, tmp_path
):
    photos = studio.folder / "files" / "photos"
    (path,) = write_photos(photos, 1)
    image = f"/data/local-files/?d=photos/{path.name}"
    project, _ = studio.project(CONFIG, [{"data": {"image": image}}])
    storage = {"project": project, "path": str(photos), "use_blob_urls": True}
    studio.ask("POST", "/api/storages/localfiles", storage, status=201)
    studio.connect(project, backend(web, model), token)
    studio.retrieve(project)
    assert prediction_of(studio.tasks(project)[0])["score"] > 0.5


def test_a_push_makes_tasks_once_and_gives_those_that_are_there_a_prediction(
    studio, model, client, stored, run, worker_environ
):
    project, ids = studio.project(CONFIG, [{"data": {"image": uri}} for uri in stored[:3]])
    job = client.submit(stored, models=model, shapes=["box"], pictures=[], job_id="ls-push")
    wait_until(lambda: job.status().complete, 60)
    first = run("push", "label-studio", job.id, "--project", project, "--heat", "--json")
    assert first.returncode == 0, first.stderr
    made, written = len(stored) - 3, 3
    said = json.loads(first.stdout)
    kinds = ("project", "made", "written", "there", "doubled", "failed")
    assert [said[kind] for kind in kinds] == [project, made, written, 0, 0, 0]
    found = studio.tasks(project)
    assert [task["data"]["image"] for task in found] == stored
    again = run("push", "label-studio", job.id, "--project", project, "--heat", "--json")
    assert json.loads(again.stdout)["there"] == len(stored)
    assert [task["predictions"] for task in studio.tasks(project)] == [
        task["predictions"] for task in found
    ]
    studio.ask("DELETE", f"/api/tasks/{ids[1]}")
    third = run("push", "label-studio", job.id, "--project", project, "--heat", "--json")
    assert (json.loads(third.stdout)["made"], json.loads(third.stdout)["there"]) == (1, 11)
    lost = {**worker_environ, "SECRET": "0" * 40}
    words = ("push", "label-studio", job.id, "--project", project, "--token-from-env", "SECRET")
    refused = run(*words, environ=lost)
    assert refused.returncode == 1
    assert "set SECRET to an access token" in refused.stderr
    nowhere = run("push", "label-studio", job.id, "--project", 999_999)
    assert "no such project" in nowhere.stderr


def test_label_studio_still_asks_and_answers_as_it_was_recorded(studio):
    asked = json.loads((RECORDED / "backend.json").read_text())
    with recorder() as (url, requests):
        project, _ = studio.project(CONFIG, [{"data": {"image": "s3://bucket/0.png"}}])
        studio.connect(project, url, "cf_secret")
        studio.retrieve(project)
        studio.ask("POST", f"/api/projects/{project}/import", [{"data": {"image": "s3://b/1.png"}}])
        wait_until(lambda: any(one["path"] == "webhook" for one in requests), 20)
    for name in ("health", "setup", "predict"):
        before, now = (
            next(one for one in all_ if one["path"] == name) for all_ in (asked, requests)
        )
        assert form_of(now) == form_of(before), name
        assert (now["method"], now["authorization"]) == (before["method"], before["authorization"])
    api = json.loads((RECORDED / "api.json").read_text())
    number = studio.tasks(project)[0]["id"]
    words = "page=1&page_size=500&resolve_uri=false"
    listed = studio.ask("GET", f"/api/tasks?project={project}&{words}")
    before = api["tasks"]["body"]
    assert form_of(listed).keys() == form_of(before).keys()
    assert listed["tasks"][0].keys() == before["tasks"][0].keys()
    path = f"/api/projects/{project}/import/predictions"
    unknown = studio.ask("POST", path, [{"task": 999_999, "result": []}], status=400)
    assert (
        unknown["validation_errors"]
        == (api["import_predictions_unknown_task"]["body"]["validation_errors"])
    )
    assert studio.ask("POST", path, [{"task": number, "result": []}]) == {"created": 1}
    assert studio.ask("GET", f"/api/predictions?task={number}")[0].keys() == (
        api["predictions"]["body"][0].keys()
    )
