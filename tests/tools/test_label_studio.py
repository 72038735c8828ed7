"""Label Studio itself, with camfleet as its backend."""

import pytest

from camfleet.gateway.tokens import Tokens
from helpers.gateway import gateway
from helpers.samples import write_photos

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


def prediction_of(task):
    (prediction,) = task["predictions"]
    return prediction


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
