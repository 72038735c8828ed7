"""camfleet's detection function for CVAT, run by `cvat-cli` in an environment of its own.

A real worker explains the images. CVAT's server can't run here: a server of as much as the SDK asks
for gives it a task and keeps what it uploads, and the SDK's own driver judges what it's given.
"""

import os
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from camfleet import Client
from camfleet.local.stack import LocalStack
from helpers.cvat_server import CLEARED, CREATED, TASK, TOKEN, label, serving
from helpers.documents import ROOT
from helpers.mask_decoder import Decoder
from helpers.samples import write_card

pytestmark = pytest.mark.tools
HEIGHT, WIDTH = 60, 90
PATCH = (12, 40)  # row and column of its centre in the upright photographs
ORIENTATION = 0x0112  # of EXIF
LABELS = (label(7, "dark"), label(9, "bright"))  # in another order than the model's
BRIGHT = 9
MOST_PIXELS = 10_000
SEEN = ("upright.png", "turned.jpg", "press.jpg")


@pytest.fixture(scope="module")
def environ(tmp_path_factory):
    """Start a stack with a worker and a model; give the variables that lead to it."""
    data, small = tmp_path_factory.mktemp("stack"), {"CAMFLEET_MAX_IMAGE_PIXELS": str(MOST_PIXELS)}
    with LocalStack(data, overrides=small) as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environ.items():
            patch.setenv(name, value)
        with Client.from_environ() as client:
            card = write_card(tmp_path_factory.mktemp("card"), "cvat-patches")
            client.models.add(card, timeout=90)
        home = tmp_path_factory.mktemp("home")  # of the SDK's cache
        yield {**os.environ, "HOME": str(home), "CVAT_ACCESS_TOKEN": TOKEN}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Write photographs of a patch: upright, turned by its EXIF, of CMYK; and too large a one."""
    folder = tmp_path_factory.mktemp("frames")
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    row, column = PATCH
    pixels[row - 6 : row + 6, column - 6 : column + 6] = 255
    photograph, exif = Image.fromarray(pixels), Image.Exif()
    exif[ORIENTATION] = 6
    photograph.save(folder / "upright.png")
    turned = photograph.transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "turned.jpg", exif=exif, quality=95)
    photograph.convert("CMYK").save(folder / "press.jpg", quality=95)
    Image.new("RGB", (MOST_PIXELS, 2)).save(folder / "large.png")
    return [(name, folder / name) for name in (*SEEN, "large.png")]


def annotate(environ, server, *words, model="cvat-patches", **parameters):
    """Run cvat-cli with parameters of the function; return how it ended."""
    program = ROOT / ".tools" / "cvat" / "bin" / "cvat-cli"
    assert program.exists(), "make tools makes the environments"
    given = {**({"model": model} if model else {}), **parameters}
    command = [program, "--server-host", server.url, "task", "auto-annotate", str(TASK)]
    command += ["--function-module", "camfleet.cvat"]
    for name, value in given.items():
        command += ["-p", f"{name}={type(value).__name__}:{value}"]
    return subprocess.run(
        [*command, *words], env=environ, capture_output=True, text=True, check=False
    )


def annotated(environ, frames, *words, task=LABELS, **parameters):
    """Return what cvat-cli uploaded to a task of these labels, and what it said."""
    with serving(frames, task) as server:
        done = annotate(environ, server, *words, **parameters)
        assert done.returncode == 0, done.stderr
        assert server.unknown == []
        ((how, body),) = server.uploaded
    assert how == (CLEARED if "--clear-existing" in words else CREATED)
    assert {one["source"] for kind in ("tags", "shapes") for one in body[kind]} <= {"auto"}
    return body, done.stderr


def drawn(shape, decoder):
    """Return the pixels of a shape as CVAT has it, (60, 90) bool."""
    points = shape["points"]
    if shape["type"] == "mask":
        mask = decoder.decode(points, (HEIGHT, WIDTH))
    elif shape["type"] == "polygon":
        mask = coco.decode(coco.frPyObjects([points], HEIGHT, WIDTH))[..., 0]
    else:
        image = Image.new("1", (WIDTH, HEIGHT))
        left, top, right, bottom = points
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=1)
        mask = np.asarray(image)
    return np.asarray(mask, bool)


@pytest.fixture(scope="module")
def decoder():
    with Decoder("cvat") as started:
        yield started


@pytest.mark.parametrize("shape", ["rectangle", "polygon", "mask"])
def test_shapes_lie_over_what_is_bright_in_the_upright_photograph(environ, frames, decoder, shape):
    body, said = annotated(environ, frames, shape=shape, target="bright")
    assert body["tags"] == []
    assert {one["type"] for one in body["shapes"]} == {shape}
    assert {one["label_id"] for one in body["shapes"]} == {BRIGHT}
    for number, _ in enumerate(SEEN):
        masks = [drawn(one, decoder) for one in body["shapes"] if one["frame"] == number]
        assert np.any(masks, axis=0)[PATCH]
        assert not np.any(masks, axis=0)[-1].any()
    assert "large.png is left out: " in said


def test_a_mask_covers_the_pixels_of_the_polygon(environ, frames, decoder):
    masks, _ = annotated(environ, frames[:1], shape="mask", target="bright")
    polygons, _ = annotated(environ, frames[:1], shape="polygon", target="bright")
    pairs = zip(masks["shapes"], polygons["shapes"], strict=True)
    assert all(np.array_equal(drawn(one, decoder), drawn(two, decoder)) for one, two in pairs)


def test_masks_become_polygons_where_the_command_asks_for_them(environ, frames):
    words = ("--conv-mask-to-poly", "--clear-existing")
    body, _ = annotated(
        environ, frames[:1], *words, shape="mask", target="bright", precision="float32"
    )
    assert {one["type"] for one in body["shapes"]} == {"polygon"}


def test_classes_below_the_commands_threshold_are_left_out(environ, frames):
    options = {"shape": "none", "tag": True, "attributes": True, "target": "top:2"}
    labels = [label(3, "bright", attributes=("score", "rank", "heat"))]
    labels.append(label(4, "dark", attributes=("score", "rank", "heat")))
    body, _ = annotated(environ, frames[:1], task=labels, **options)
    scores = [float(one["attributes"][0]["value"]) for one in body["tags"]]
    assert len(scores) == 2
    assert scores[0] > scores[1]
    words = ("--conf-threshold", str(scores[0]))
    body, _ = annotated(environ, frames[:1], *words, task=labels, **options)
    assert [float(one["attributes"][0]["value"]) for one in body["tags"]] == scores[:1]


def test_attributes_are_texts_by_the_tasks_own_numbers(environ, frames):
    labels = [
        label(3, "bright", attributes=("heat", "rank", "score")),
        label(4, "dark", attributes=("score", "rank", "heat")),
    ]
    options = {"attributes": True, "tag": True, "target": "bright"}
    body, _ = annotated(environ, frames[:1], task=labels, **options)
    (tag,) = body["tags"]
    assert [one["spec_id"] for one in tag["attributes"]] == [302, 301]
    for shape in body["shapes"]:
        values = {one["spec_id"]: one["value"] for one in shape["attributes"]}
        assert values.keys() == {300, 301, 302}
        assert values[301] == "0"
        assert 0 < float(values[300]) <= 1


def test_a_photograph_without_evidence_has_a_tag_and_no_shape(environ, tmp_path):
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "black.png")
    frames = [("black.png", tmp_path / "black.png")]
    body, _ = annotated(environ, frames, tag=True, target="bright")
    assert (len(body["tags"]), body["shapes"]) == (1, [])


def test_labels_of_a_task_are_matched_by_name(environ, frames):
    with serving(frames[:1], LABELS[1:]) as server:
        done = annotate(environ, server)
        assert done.returncode == 1
        assert "label 'dark' is not in dataset" in done.stderr
        assert server.uploaded == []
    body, _ = annotated(
        environ, frames[:1], "--allow-unmatched-labels", task=LABELS[1:], target="bright"
    )
    assert {one["label_id"] for one in body["shapes"]} == {BRIGHT}


def test_classes_have_the_names_of_a_file_and_labels_a_type_of_their_own(environ, frames, tmp_path):
    (tmp_path / "names.toml").write_text('"bright" = "lamp"\n"dark" = false\n')
    body, _ = annotated(
        environ,
        frames[:1],
        task=[label(5, "lamp", "polygon")],
        labels=str(tmp_path / "names.toml"),
        shape="polygon",
        target="bright",
    )
    assert {one["label_id"] for one in body["shapes"]} == {5}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": ""}, "which model: say -p model=str:ID"),
        ({"model": 3}, "model is 3: say -p model=str:VALUE"),
        ({"model": "cvat-patchse"}, "cvat-patches"),
        ({"tag": "true"}, "tag is 'true': say -p tag=bool:VALUE"),
        ({"timeout": 0}, "give a number of seconds above 0"),
        ({"threshold": 7.0}, "threshold"),
        (
            {"shape": "none", "tag": True, "threshold": 0.5},
            "threshold and components are for shapes",
        ),
        ({"method": "grad"}, "method is one of gradcam"),
        ({"targte": "bright"}, "no parameter 'targte'; did you mean target?"),
        ({"precision": "int8"}, "precision is one of float32, bf16, not 'int8'"),
        ({"fuse": "sum"}, "fuse is one of"),
        ({"target": "nobody"}, "nobody"),
        ({"shape": "box"}, "shape 'box' is none of rectangle, polygon, mask, none"),
        ({"shape": "none"}, "shape none without tag leaves nothing"),
        ({"colour": "red"}, "no parameter 'colour'"),
        ({"target": "not:bright"}, "speaks against a class"),
        ({"labels": "nowhere.toml"}, "nowhere.toml can't be read"),
    ],
)
def test_parameters_that_cannot_be_meant_are_named(environ, frames, parameters, message):
    with serving(frames[:1], LABELS) as server:
        done = annotate(environ, server, **parameters)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]


def test_names_that_leave_out_every_class_are_refused(environ, frames, tmp_path):
    file = tmp_path / "none.toml"
    file.write_text("bright = false\ndark = false\n")
    with serving(frames[:1], LABELS) as server:
        done = annotate(environ, server, labels=str(file))
    assert done.returncode == 1
    assert "none.toml leaves out every class of cvat-patches" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"CAMFLEET_REDIS_URL": ""}, "CAMFLEET_REDIS_URL is not set"),
        ({"CAMFLEET_REDIS_URL": "redis://127.0.0.1:1/0"}, "127.0.0.1:1"),
        ({"CAMFLEET_S3_ENDPOINT": "http://127.0.0.1:1"}, "127.0.0.1:1"),
        ({"AWS_SECRET_ACCESS_KEY": "lost"}, "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_what_is_out_of_reach_is_named(environ, frames, changed, message):
    with serving(frames[:1], LABELS) as server:
        done = annotate({**environ, **changed}, server)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
