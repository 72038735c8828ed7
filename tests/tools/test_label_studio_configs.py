"""Label configs of all kinds, as Label Studio itself takes them."""

import json

import pytest

from helpers.gateway import gateway
from helpers.label_studio import PROJECT, backend, prediction_of
from helpers.waiting import wait_until

pytestmark = pytest.mark.tools

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
    ("value", "name", "data"),
    [
        ("{folder}/$file", "part", {"file": "photo-{}.png"}),
        ("$at.image", "deeper", {"at": {"image": "{folder}/photo-{}.png"}}),
    ],
)
def test_tasks_may_have_a_part_of_an_address_or_have_it_deeper(
    studio, web, model, token, stored, client, run, value, name, data
):
    folder = stored[0].rsplit("/", 1)[0]

    def of(number):
        text = json.dumps(data).replace("{folder}", folder)
        return json.loads(text.replace("{}", f"{number:02}"))

    config = PROJECT.replace('value="$image"', f'value="{value.replace("{folder}", folder)}"')
    project, _ = studio.project(config, [{"data": of(0)}])
    studio.connect(project, backend(web, model), token)
    studio.retrieve(project)
    shown = prediction_of(studio.tasks(project)[0])["result"]
    assert [one["from_name"] for one in shown] == ["kind", "looked"]
    job = client.submit(
        stored[:2], models=model, shapes=["box"], threshold=0.4, job_id=f"ls-{name}"
    )
    wait_until(lambda: job.status().complete, 60)
    said = json.loads(run("push", "label-studio", job.id, "--project", project, "--json").stdout)
    assert (said["made"], said["written"]) == (1, 1)
    assert [len(task["predictions"]) for task in studio.tasks(project)] == [2, 1]
    made = studio.tasks(project)[1]["data"]
    assert made == of(1) | {"camfleet_item": made["camfleet_item"]}


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ('<Text name="photo" value="$text"/>', "but Text: camfleet explains images"),
        ('<Video name="photo" value="$video"/>', "but Video: camfleet explains images"),
        ('<Image name="photo" valueList="$pages"/>', "several pages"),
        ('<Image name="photo" value="s3://b/a.png"/>', "for all tasks: say $image"),
    ],
)
def test_projects_of_other_things_are_refused(studio, web, model, token, tags, said):
    data = {"text": "a", "video": "s3://b/a.mp4", "pages": ["s3://b/a.png"]}
    project, _ = studio.project(f"<View>{tags}{KINDS}</View>", [{"data": data}])
    assert said in str(studio.connect(project, backend(web, model), token, status=400))


def test_a_label_config_without_the_models_labels_is_refused_with_what_to_do(
    studio, web, model, token, stored
):
    config = PROJECT.replace('value="dark"', 'value="gloomy"')
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
    config = PROJECT.replace('value="bright"', 'value="sun &amp; moon"')
    project, _ = studio.project(config, [{"data": {"image": stored[0]}}])
    with gateway(worker_environ, folder, token, "--labels", f"{model.id}={file}") as web:
        studio.connect(project, backend(web, model), token)
        studio.retrieve(project)
    shown = prediction_of(studio.tasks(project)[0])["result"]
    assert shown[0]["value"]["choices"] == ["sun & moon"]
    assert shown[1]["value"]["rectanglelabels"] == ["sun & moon"]
