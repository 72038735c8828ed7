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
