"""What is left of shapes that went through a tool into another format, and through a second one."""

import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from camfleet.exports.images import Places
from helpers.exported import CLASSES, PHOTOS, ROWS, written
from helpers.tool_pythons import run_script

pytestmark = pytest.mark.tools
HEIGHT, WIDTH = 40, 100
NAMES = "abcd"


def exported(monkeypatch, path, form, shape):
    return written(monkeypatch, path, PHOTOS, form, shape=shape, places=Places("/photos/"))


def photographs(folder):
    folder.mkdir(parents=True)
    for name in NAMES:
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{name}.jpg")


def masks_of(path):
    """Return the masks of a COCO file by image and label, in order, as pycocotools has them."""
    data = COCO(path)
    found = {}
    for one in data.dataset["annotations"]:
        (image,), (category,) = data.loadImgs(one["image_id"]), data.loadCats(one["category_id"])
        name = image["file_name"].rsplit(".")[0], category["name"]
        found.setdefault(name, []).append(data.annToMask(one).tobytes())
    return {name: sorted(some) for name, some in found.items()}


@pytest.fixture
def through_datumaro(tmp_path):
    """Return what gives the folder of a format that Datumaro made of a COCO file."""

    def turn(path, form, *more):
        coco = tmp_path / "coco"
        (coco / "annotations").mkdir(parents=True)
        photographs(coco / "images" / "train")
        shutil.copy(path, coco / "annotations" / "instances_train.json")
        words = coco, "coco_instances", tmp_path / form, form, *more
        run_script("datumaro", "turn_datumaro.py", *words)
        return tmp_path / form

    return turn


@pytest.mark.parametrize("shape", ["polygon", "rle"])
def test_masks_stay_to_the_pixel_through_datumaro_and_pycocotools(
    tmp_path, monkeypatch, through_datumaro, shape
):
    exported(monkeypatch, tmp_path / "out", "coco", shape)
    own = tmp_path / "out" / "annotations-00001.json"
    more = ["masks"] if shape == "rle" else []
    (again,) = (through_datumaro(own, "coco_instances", *more) / "annotations").iterdir()
    assert masks_of(again) == masks_of(own)
    assert sum(map(len, masks_of(own).values())) == sum(len(row.regions) for row in ROWS)


@pytest.mark.parametrize(("shape", "tag"), [("polygon", "polygon"), ("rle", "mask")])
def test_datumaro_makes_of_coco_the_shapes_for_cvat_that_camfleet_makes(
    tmp_path, monkeypatch, through_datumaro, shape, tag
):
    exported(monkeypatch, tmp_path / "out", "coco", shape)
    exported(monkeypatch, tmp_path / "own", "cvat", shape)
    (path,) = through_datumaro(tmp_path / "out" / "annotations-00001.json", "cvat").glob("*.xml")
    own = cvat_masks(tmp_path / "own" / "annotations-00001.xml", tag)
    assert cvat_masks(path, tag) == own
    assert sum(map(len, own.values())) >= sum(len(row.regions) for row in ROWS)


def cvat_masks(path, tag):
    """Return the shapes of an XML file of CVAT by image and label: masks, or corners in order."""
    found = {}
    for image in ET.parse(path).getroot().iter("image"):
        for shape in image.iter(tag):
            name = image.get("name").rsplit(".")[0], shape.get("label")
            found.setdefault(name, []).append(corners(shape) if tag == "polygon" else mask(shape))
    return {name: sorted(some) for name, some in found.items()}


def corners(shape):
    return sorted(tuple(map(float, one.split(","))) for one in shape.get("points").split(";"))


def mask(shape):
    left, top, width, height = (int(shape.get(n)) for n in ("left", "top", "width", "height"))
    counts = list(map(int, shape.get("rle").split(",")))
    inner = np.repeat(np.arange(len(counts)) % 2, counts).reshape(height, width)
    whole = np.zeros((HEIGHT, WIDTH), np.uint8)
    whole[top : top + height, left : left + width] = inner
    return whole.tobytes()


def test_datumaro_makes_of_coco_the_boxes_for_yolo_that_camfleet_makes(
    tmp_path, monkeypatch, through_datumaro
):
    exported(monkeypatch, tmp_path / "out", "coco", "box")
    exported(monkeypatch, tmp_path / "own", "yolo", "box")
    made = through_datumaro(tmp_path / "out" / "annotations-00001.json", "yolo")
    for name in NAMES:
        (path,) = made.rglob(f"{name}.txt")
        assert yolo_lines(path) == yolo_lines(tmp_path / "own" / "labels" / f"{name}.txt")


def yolo_lines(path):
    lines = (line.split() for line in path.read_text().splitlines())
    return sorted(
        (int(number), *(round(float(side), 4) for side in sides)) for number, *sides in lines
    )


@pytest.fixture
def by_fiftyone(tmp_path):
    """Return what reads a folder of photographs with FiftyOne, whose database lies elsewhere."""
    home = tmp_path / "home"
    home.mkdir()

    def read(folder, kind):
        photographs(folder / "images")
        return run_script("fiftyone", "see_fiftyone.py", folder, kind, home=home)

    return read


@pytest.mark.parametrize("shape", ["polygon", "rle"])
def test_masks_stay_to_the_pixel_through_datumaro_and_fiftyone(
    tmp_path, monkeypatch, through_datumaro, by_fiftyone, shape
):
    exported(monkeypatch, tmp_path / "out", "coco", shape)
    own = tmp_path / "out" / "annotations-00001.json"
    more = ["masks"] if shape == "rle" else []
    (again,) = (through_datumaro(own, "coco_instances", *more) / "annotations").iterdir()
    (tmp_path / "read").mkdir()
    shutil.copy(again, tmp_path / "read" / "annotations-00001.json")
    found = {}
    for file, shapes in by_fiftyone(tmp_path / "read", "coco").items():
        for label, box, inner in shapes:
            left, top, width, height = np.rint(np.multiply(box, [WIDTH, HEIGHT] * 2)).astype(int)
            whole = np.zeros((HEIGHT, WIDTH), np.uint8)
            whole[top : top + height, left : left + width] = inner
            found.setdefault((file.rsplit(".")[0], label), []).append(whole.tobytes())
    assert {name: sorted(some) for name, some in found.items()} == masks_of(own)


def test_fiftyone_reads_yolos_boxes_and_outlines(tmp_path, monkeypatch, by_fiftyone):
    for kind, shape in (("boxes", "box"), ("outlines", "polygon")):
        exported(monkeypatch, tmp_path / kind, "yolo", shape)
    boxes, outlines = (by_fiftyone(tmp_path / kind, kind) for kind in ("boxes", "outlines"))
    for name in NAMES:
        regions = [
            (row.class_name, region)
            for row in ROWS
            if row.item_id == name
            for region in row.regions
        ]
        found = [
            (label, *np.multiply(box, [WIDTH, HEIGHT] * 2).round(3).tolist())
            for label, box, _ in boxes[f"{name}.jpg"]
        ]
        assert sorted(found) == sorted(
            (label, one.left, one.top, one.width, one.height) for label, one in regions
        )
        found = [
            (label, np.multiply(points, [WIDTH, HEIGHT]).round(3).ravel().tolist())
            for label, (points,) in outlines[f"{name}.jpg"]
        ]
        assert sorted(found) == sorted(
            (label, list(outline)) for label, one in regions for outline in one.polygon
        )
    assert {label for shapes in boxes.values() for label, *_ in shapes} == {*CLASSES}
