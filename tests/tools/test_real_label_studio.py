"""Label Studio itself, with camfleet as its backend."""

import json
import os
import signal
import subprocess
import sys

import pytest

from camfleet.errors import ImageNotFound, SourceForbidden
from camfleet.label_studio.api import Api
from camfleet_worker.sources.label_studio import LabelStudioReader
from helpers.gateway import gateway
from helpers.label_studio import PROJECT, backend, prediction_of
from helpers.label_studio_recorder import form_of, recorder
from helpers.label_studio_standin import RECORDED
from helpers.samples import write_photos
from helpers.waiting import wait_until

pytestmark = pytest.mark.tools


def test_predictions_are_retrieved_of_images_wherever_they_lie(
    studio, web, model, token, stored, tmp_path
):
    project, _ = studio.project(PROJECT, [{"data": {"image": stored[0]}}])
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


def test_what_is_wrong_with_the_address_or_the_token_is_shown(studio, web, model, token, stored):
    project, _ = studio.project(PROJECT, [{"data": {"image": stored[0]}}])
    wrong = studio.connect(project, backend(web, model, "/shap=box"), token, status=400)
    assert "did you mean shape?" in str(wrong)
    none = backend(web, model).replace(model.id, "nobody")
    unknown = str(studio.connect(project, none, token, status=400))
    assert "Reason: 404 Client Error: no model 'nobody' is registered" in unknown
    lost = studio.connect(project, backend(web, model), "cf_lost", status=400)
    assert "authentication parameters were either not provided or are incorrect" in str(lost)
    bare = PROJECT.replace('name="heat"', 'name="other"')
    project, _ = studio.project(bare, [{"data": {"image": stored[0]}}])
    wrong = studio.connect(project, backend(web, model, "/heat=1"), token, status=400)
    assert "which heat needs" in str(wrong)


def test_one_failed_image_spoils_no_other_and_the_order_stays(
    studio, web, model, token, stored, client
):
    images = [stored[0], client.storage.uri("label-studio/gone.png"), stored[1], "/etc/passwd"]
    project, _ = studio.project(PROJECT, [{"data": {"image": image}} for image in images])
    studio.connect(project, backend(web, model), token)
    studio.retrieve(project)
    assert [len(task["predictions"]) for task in studio.tasks(project)] == [1, 0, 1, 0]
    before = [task["predictions"] for task in studio.tasks(project)]
    studio.retrieve(project)
    assert [task["predictions"] for task in studio.tasks(project)] == before


def test_a_selection_that_is_too_large_to_wait_for_is_written_back_once_whatever_dies(
    studio, worker_environ, folder, model, token, stored, client, worker
):
    """The session's worker is held before its first step, and another one dies after the first."""
    tasks = [{"data": {"image": stored[n % len(stored)]}} for n in range(230)]
    project, ids = studio.project(PROJECT, tasks)
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
            "label_config": PROJECT,
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

    project, _ = studio.project(PROJECT, [{"data": {"image": "s3://nowhere/none.jpg"}}])
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
    project, _ = studio.project(PROJECT, [{"data": {"image": image}}])
    storage = {"project": project, "path": str(photos), "use_blob_urls": True}
    studio.ask("POST", "/api/storages/localfiles", storage, status=201)
    studio.connect(project, backend(web, model), token)
    studio.retrieve(project)
    assert prediction_of(studio.tasks(project)[0])["score"] > 0.5


def test_label_studio_still_asks_and_answers_as_it_was_recorded(studio):
    asked = json.loads((RECORDED / "backend.json").read_text())
    with recorder() as (url, requests):
        project, _ = studio.project(PROJECT, [{"data": {"image": "s3://bucket/0.png"}}])
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
    api = Api(studio.url, studio.token)
    api.import_predictions(project, [{"task": number, "model_version": "one", "result": []}])
    asked = [list(api.tasks(project, **how)) for how in ({}, {"version": "one"})]
    told = [[one.predictions_model_versions for one in found] for found in asked]
    assert told[0] == ["", ""]  # versions are listed where one is asked for
    assert [sorted(text.split(",")) for text in told[1]] == [["one", "undefined"]]
