"""camfleet export of a real job: photographs that are turned, cropped, padded, and one broken."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps
from pycocotools.coco import COCO

from helpers.brushes import unpacked
from helpers.samples import write_card

TURNS = (1, 3, 6, 8)
ORIENTATION = 0x0112  # of EXIF
PATCH = (12, 40)  # row and column of its centre in the upright photographs
SIZE = (60, 90)


@pytest.fixture(scope="module")
def turned(folder):
    """Write upright photographs with a bright patch, stored turned; return the paths."""
    place = folder / "turned"
    place.mkdir()
    pixels = np.zeros((*SIZE, 3), np.uint8)
    row, column = PATCH
    pixels[row - 6 : row + 6, column - 6 : column + 6] = 255
    paths = []
    for turn in TURNS:
        photograph = Image.fromarray(pixels)
        stored = {
            1: photograph,
            3: photograph.transpose(Image.Transpose.ROTATE_180),
            6: photograph.transpose(Image.Transpose.ROTATE_90),
            8: photograph.transpose(Image.Transpose.ROTATE_270),
        }[turn]
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        path = place / f"turn-{turn}.jpg"
        stored.save(path, exif=exif, quality=95)
        with Image.open(path) as again:
            assert ImageOps.exif_transpose(again).size == (SIZE[1], SIZE[0])
        paths.append(path)
    return paths


@pytest.fixture(scope="module", params=["crop", "pad", "stretch"])
def job(request, client, folder, turned):
    """Give a job of a model that sees photographs this way, with shapes and a broken image."""
    name = f"exported-{request.param}"
    card = write_card(folder / name, name)
    card.write_text(card.read_text().replace('"stretch"', f'"{request.param}"'))
    client.models.add(card, timeout=60)
    broken = turned[0].with_name("broken.jpg")
    broken.write_bytes(b"no picture")
    made = client.submit(
        [*turned, broken],
        models=[name],
        target="bright",
        shapes=["polygon", "rle"],
        components="all",
        pictures=[],
    )
    assert made.wait(timeout=120).ok == len(TURNS)
    return made


def test_coco_has_upright_sizes_and_masks_over_what_is_bright(job, run, tmp_path):
    done = run("export", job.id, "--format", "coco", "--output", tmp_path / "coco")
    assert done.returncode == 3, done.stderr
    assert "not outlines of objects" in done.stderr
    assert "1 image failed" in done.stderr
    data = COCO(tmp_path / "coco" / "annotations-00001.json")
    images = data.loadImgs(data.getImgIds())
    assert [(image["height"], image["width"]) for image in images] == [SIZE] * len(TURNS)
    for image in images:
        found = data.loadAnns(data.getAnnIds(image["id"]))
        assert any(data.annToMask(one)[PATCH] for one in found)
        assert not any(data.annToMask(one)[-1].any() for one in found)
    (failed,) = (tmp_path / "coco" / "failed.jsonl").read_text().splitlines()
    assert json.loads(failed)["error_code"] == "image_unreadable"


def test_the_brush_and_the_heat_of_label_studio_lie_over_what_is_bright(job, run, tmp_path):
    out = tmp_path / "tasks"
    words = ["--format", "label-studio", "--shape", "rle", "--heat", "--output", out, "--json"]
    done = run("export", job.id, *words)
    assert done.returncode == 3, done.stderr
    said = json.loads(done.stdout)
    assert (said["images"], said["failed"], said["shape"]) == (len(TURNS), 1, "rle")
    for task in json.loads((out / "tasks-00001.json").read_text()):
        choice, *brushes = task["predictions"][0]["result"]
        assert choice["value"]["choices"] == ["bright"]
        assert [one["from_name"] for one in brushes][-1] == "heat"
        alphas = [np.reshape(unpacked(one["value"]["rle"]), (*SIZE, 4)) for one in brushes]
        assert any(one[PATCH][3] == 255 for one in alphas[:-1])
        assert alphas[-1][PATCH][3] >= 128
        assert alphas[-1][-1].max() < 128


@pytest.mark.parametrize("form", ["voc", "yolo", "cvat", "fiftyone", "coco-results"])
def test_every_other_format_is_written_with_the_filters_of_results(job, run, tmp_path, form):
    words = ["--format", form, "--output", tmp_path / form, "--image", "turn-6.jpg", "--json"]
    said = json.loads(run("export", job.id, *words).stdout)
    assert (said["images"], said["failed"]) == (1, 0)
    assert said["annotations"] >= 1


def test_a_misspelt_class_a_used_folder_and_a_missing_shape_are_refused(job, run, tmp_path):
    def refused(*words):
        done = run("export", job.id, "--format", "coco", "--output", tmp_path / "out", *words)
        assert done.returncode == 1
        return done.stderr

    assert "did you mean 'bright'" in refused("--class", "brigt")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    assert "is there already" in refused()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
