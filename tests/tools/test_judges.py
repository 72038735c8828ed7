"""What camfleet exports, read by the tools it's for: each in an environment of its own.

`make tools` makes these below `.tools`. CVAT's server, which has a machine of its own, isn't among
them; test_fiftyone.py has FiftyOne, and test_decoders.py the codes of masks.
"""

import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from helpers.exported import CLASSES, PHOTOS, ROWS, written
from helpers.tool_pythons import run_script

pytestmark = pytest.mark.tools
NAMES = "abcd"


def exported(monkeypatch, path, form, shape, **options):
    from camfleet.exports.images import Places

    places = Places("/photos/")
    return written(monkeypatch, path, PHOTOS, form, shape=shape, places=places, **options)


def judged(config, tasks):
    """Return what Label Studio's SDK says of tasks."""
    return run_script("label-studio-sdk", "read_label_studio.py", config, tasks)


def write_photographs(folder):
    folder.mkdir(parents=True)
    for name in NAMES:
        Image.new("RGB", (100, 40)).save(folder / f"{name}.jpg")


def expected(kind, *, masks=False):
    """Return the regions of all rows as Datumaro's script prints them, by image."""
    found = {name: [] for name in NAMES}
    for row in ROWS:
        for region in row.regions:
            box = [region.left, region.top, region.width, region.height]
            area = region.area if masks else None
            score = str(row.probability)
            found[row.item_id].append([kind, row.class_name, box, area, score])
    return in_order(found)


def in_order(found):
    return {name: sorted(shapes, key=str) for name, shapes in found.items()}


def of_kind(found, kind):
    return in_order(
        {name: [one for one in shapes if one[0] == kind] for name, shapes in found.items()}
    )


@pytest.mark.parametrize(
    ("shape", "kind"), [("polygon", "Polygon"), ("rle", "RleMask"), ("box", "Bbox")]
)
def test_datumaro_reads_cocos_shapes(tmp_path, monkeypatch, shape, kind):
    exported(monkeypatch, tmp_path / "out", "coco", shape)
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    write_photographs(tmp_path / "coco" / "images" / "train")
    shutil.copy(
        tmp_path / "out" / "annotations-00001.json",
        tmp_path / "coco" / "annotations" / "instances_train.json",
    )
    found = run_script("datumaro", "read_datumaro.py", tmp_path / "coco", "coco_instances")
    assert of_kind(found, kind) == expected(kind, masks=shape == "rle")


@pytest.mark.parametrize(
    ("shape", "kind"), [("polygon", "Polygon"), ("rle", "Mask"), ("box", "Bbox")]
)
def test_datumaro_reads_cvats_tags_and_shapes(tmp_path, monkeypatch, shape, kind):
    exported(monkeypatch, tmp_path / "out", "cvat", shape)
    write_photographs(tmp_path / "cvat" / "images")
    shutil.copy(tmp_path / "out" / "annotations-00001.xml", tmp_path / "cvat" / "annotations.xml")
    found = run_script("datumaro", "read_datumaro.py", tmp_path / "cvat", "cvat")
    assert of_kind(found, kind) == expected(kind, masks=shape == "rle")
    tags = {name: [one[1] for one in shapes if one[0] == "Label"] for name, shapes in found.items()}
    assert tags == {"a": ["cat", "dog"], "b": [CLASSES[2]], "c": [CLASSES[2]], "d": ["cat"]}


def test_datumaro_reads_vocs_corners(tmp_path, monkeypatch):
    exported(monkeypatch, tmp_path / "out", "voc", "box")
    write_photographs(tmp_path / "out" / "JPEGImages")
    found = run_script("datumaro", "read_datumaro.py", tmp_path / "out", "voc_detection")
    for shapes in found.values():
        for one in shapes:  # it takes the first and last pixel, counted from 1, for edges
            left, top, width, height = one[2]
            one[2] = [int(side) for side in (left - 1, top - 1, width + 1, height + 1)]
    assert in_order(found) == expected("Bbox")


def test_datumaro_reads_yolos_boxes(tmp_path, monkeypatch):
    exported(monkeypatch, tmp_path / "out", "yolo", "box")
    write_photographs(tmp_path / "out" / "images")
    found = run_script("datumaro", "read_datumaro.py", tmp_path / "out", "yolo")
    for shapes in found.values():
        for one in shapes:
            one[2] = [round(side, 3) for side in one[2]]
            assert one[4] is None
    boxes = {name: [one[:4] for one in shapes] for name, shapes in expected("Bbox").items()}
    assert in_order({name: [one[:4] for one in shapes] for name, shapes in found.items()}) == boxes


@pytest.mark.parametrize("shape", ["box", "polygon", "rle"])
def test_label_studios_own_validator_finds_no_error(tmp_path, monkeypatch, shape):
    out = tmp_path / "out"
    exported(monkeypatch, out, "label-studio", shape, heat=True)
    found = run_script(
        "label-studio-sdk",
        "read_label_studio.py",
        out / "label-config.xml",
        out / "tasks-00001.json",
    )
    assert found["errors"] == []
    assert [("heat" in one) for one in found["brushes"]] == [True, False, True, True]


def test_label_studios_own_validator_finds_a_label_that_a_config_lacks(tmp_path, monkeypatch):
    out = tmp_path / "out"
    exported(monkeypatch, out, "label-studio", "box")
    config = out / "label-config.xml"
    config.write_text(config.read_text().replace('"cat"', '"lynx"'))
    assert judged(config, out / "tasks-00001.json")["errors"] != []


def test_label_studios_own_decoder_finds_the_regions_pixel_by_pixel(tmp_path, monkeypatch):
    out = tmp_path / "out"
    exported(monkeypatch, out, "label-studio", "rle")
    found = run_script(
        "label-studio-sdk",
        "read_label_studio.py",
        out / "label-config.xml",
        out / "tasks-00001.json",
    )
    for name, brushes in zip(NAMES, found["brushes"], strict=True):
        masks = {
            f"{row.rank}-{number}": coco.decode({"size": [40, 100], "counts": region.rle})
            for row in ROWS
            for number, region in enumerate(row.regions)
            if row.item_id == name
        }
        assert brushes.keys() == masks.keys()
        for key, runs in brushes.items():
            values, lengths = zip(*runs, strict=True)
            alphas = np.repeat(values, lengths).reshape(40, 100)
            assert np.array_equal(alphas, masks[key] * 255)
