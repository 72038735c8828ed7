"""camfleet export of a real job: photographs that are turned, cropped, padded, and one broken."""

import asyncio
import json

import numpy as np
import pytest
from PIL import Image, ImageOps
from pycocotools.coco import COCO

from camfleet import AsyncClient, InvalidRequest, ObjectMissing
from camfleet.jobstore import keys
from helpers.brushes import unpacked
from helpers.samples import write_card

STORED = {  # how a photograph is stored that each EXIF orientation turns upright
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
TURNS = tuple(STORED)
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
        way = STORED[turn]
        stored = photograph if way is None else photograph.transpose(way)
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        path = place / f"turn-{turn}.jpg"
        stored.save(path, exif=exif, quality=95)
        with Image.open(path) as again:
            assert np.asarray(ImageOps.exif_transpose(again))[PATCH].min() > 200
        paths.append(path)
    return paths


@pytest.fixture(scope="module", params=["crop", "pad", "stretch"])
def job(request, client, folder, turned):
    """Give a job of a model that sees photographs this way, with shapes and a broken image."""
    name = f"exported-{request.param}"
    card = write_card(folder / name, name)
    card.write_text(card.read_text().replace('"stretch"', f'"{request.param}"'))
    client.models.add(card, timeout=240)
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


def test_paths_on_disk_that_label_studio_cannot_open_are_told(job, run, tmp_path):
    def said(form, *words):
        output = tmp_path / f"{form}-{len(words)}"
        words = ("--format", form, "--image", "turn-", "--output", output, *words)
        done = run("export", job.id, *words)
        assert done.returncode == 0, done.stderr
        return done.stderr

    told = f"Label Studio can't open {len(TURNS)} images by a path on disk: if it serves"
    assert told in said("label-studio")
    served = ("--root", "/", "--prefix", "/data/local-files/?d=")
    assert "by a path on disk" not in said("label-studio", *served)
    assert "by a path on disk" not in said("coco")


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


def everything(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_client_writes_what_the_command_does_again_and_again(
    job, run, client, worker_environ, tmp_path
):
    names = tmp_path / "names.toml"
    names.write_text('"bright" = "lamp"\n')
    words = ["--shape", "rle", "--heat", "--rank", "0", "--labels", names, "--per-file", "3"]
    run("export", job.id, "--format", "label-studio", "--output", tmp_path / "cli", *words)
    parts = []
    options = {"shape": "rle", "heat": True, "rank": 0, "per_file": 3}
    done = client.export(
        job.id,
        "label-studio",
        tmp_path / "python",
        labels={"bright": "lamp"},
        on_progress=parts.append,
        **options,
    )
    assert parts == list(range(1, job.record().parts + 1))
    assert (done.count.images, done.count.failed, done.shape) == (len(TURNS), 1, "rle")
    assert done.coverage.whole
    assert done.coverage.failed
    assert everything(tmp_path / "python") == everything(tmp_path / "cli")

    async def export():
        async with AsyncClient.from_environ(worker_environ) as awaited:
            return await awaited.export(
                job.id, "label-studio", str(tmp_path / "async"), labels=str(names), **options
            )

    assert asyncio.run(export()).count == done.count
    assert everything(tmp_path / "async") == everything(tmp_path / "cli")


def test_what_is_interrupted_leaves_nothing_and_can_be_repeated(job, client, tmp_path):
    def interrupt(_count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.export(job.id, "yolo", tmp_path / "yolo", on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    assert client.export(job.id, "yolo", tmp_path / "yolo").count.images == len(TURNS)


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("coc", {}, "no format 'coc'; the formats are coco, "),
        ("coco", {"per_file": 0}, "--per-file 0 is not a number of images"),
        ("coco", {"labels": {"brigt": "x"}}, "labels: .*no class 'brigt'; did you mean 'bright'"),
        ("coco", {"labels": 3}, "labels is neither a dict"),
        ("coco", {"colour": "red"}, "no filter 'colour'"),
        ("coco", {"class_": "brigt"}, "did you mean 'bright'"),
        ("voc", {"shape": "rle"}, "--format voc takes --shape box"),
    ],
)
def test_options_that_cannot_be_meant_are_named(job, client, tmp_path, form, options, message):
    with pytest.raises(InvalidRequest, match=message):
        client.export(job.id, form, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def of_two(client, folder, turned):
    """Give a job of two models, with several targets of each image and packed pictures."""
    models = ["exported-one", "exported-two"]
    for name in models:
        client.models.add(write_card(folder / name, name), timeout=240)
    made = client.submit(
        turned, models=models, target="top:2", shapes=["box"], pictures=["heatmap"], pack=True
    )
    assert made.wait(timeout=120).ok == 2 * len(TURNS)
    return made


def test_of_several_models_one_is_exported_with_all_of_its_targets(of_two, client, tmp_path):
    with pytest.raises(InvalidRequest, match="choose one of exported-one@1, exported-two@1"):
        client.export(of_two.id, "coco", tmp_path / "out")
    done = client.export(of_two.id, "coco", tmp_path / "out", model="exported-two")
    data = json.loads((tmp_path / "out" / "annotations-00001.json").read_text())
    assert done.count.images == len(TURNS)
    assert {len(image["camfleet_classes"]) for image in data["images"]} == {2}
    ranks = {(one["image_id"], one["attributes"]["rank"]) for one in data["annotations"]}
    assert len(ranks) == 2 * len(TURNS) - done.count.without_evidence
    assert data["info"]["model"].startswith("exported-two@1")


def test_results_that_are_gone_are_named_and_the_others_are_there(of_two, client, tmp_path):
    record = of_two.record()
    ref = next(ref for ref in record.refs() if ref.model == 1)
    key = keys.results_part(record, ref)
    data = client.storage.get(key).data
    client.storage.delete([key])
    try:
        with pytest.raises(ObjectMissing, match="results parts are missing"):
            client.export(of_two.id, "coco", tmp_path / "out", model="exported-two")
    finally:
        client.storage.put(key, data, "application/x-parquet")
    data = json.loads((tmp_path / "out" / "annotations-00001.json").read_text())
    assert 0 < len(data["images"]) < len(TURNS)
