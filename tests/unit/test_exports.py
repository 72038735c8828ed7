"""A job's results in the formats of annotation tools, read by what is written apart from it."""

import json
from pathlib import PurePosixPath
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from camfleet.contract.geometry import Region
from camfleet.contract.records import ModelRef
from camfleet.contract.results import Status
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.exports import export as exports
from camfleet.exports.files import split_name
from camfleet.exports.images import Places
from camfleet.exports.writer import NOTICE
from camfleet_worker.pictures.heat import normalise, stretch
from helpers import rows
from helpers.brushes import unpacked
from helpers.exported import CLASSES, CROPPED, PADDED, STRETCHED, record, seen, written

LEFT = [[1, 0], [1, 0]]  # heat in the left column of a grid
CORNERS = [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
COLD = [[-1, -2], [-1, 0]]
GONE = rows.row("gone")
EVERY_FORMAT = pytest.mark.parametrize("form", exports.FORMATS)
PHOTOS = [  # a job of an image with two targets, one without evidence, one that failed
    [
        seen("a", LEFT, probability=0.75, target="top:2"),
        seen("a", CORNERS, class_index=1, rank=1, probability=0.25, target="top:2"),
        seen("b", COLD, class_index=2, target="top:2"),
        GONE,
    ]
]


@given(st.lists(st.text(".ab é"), min_size=1, max_size=3))
def test_names_are_split_as_paths_are(parts):
    name = "/".join(f"x{part}" for part in parts)
    path = PurePosixPath(name)
    assert split_name(name) == (str(path.parent), str(path.with_suffix("")))


def everything(folder):
    """Return the names and texts of a folder's files."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(found)}


def coco_file(folder, number=1):
    return json.loads((folder / f"annotations-{number:05}.json").read_text())


def tasks(folder):
    return json.loads((folder / "tasks-00001.json").read_text())


def mask_of(row, region):
    geometry = row.geometry
    size = [geometry.image_height, geometry.image_width]
    return coco.decode({"size": size, "counts": region.rle})


@pytest.mark.parametrize("geometry", [CROPPED, PADDED, STRETCHED], ids=["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", ["box", "polygon", "rle"])
def test_coco_has_the_pixels_of_the_upright_photograph(tmp_path, monkeypatch, geometry, shape):
    row = seen("a", LEFT, geometry)
    found = written(monkeypatch, tmp_path / "out", [[row]], "coco", shape=shape)
    data = COCO(tmp_path / "out" / "annotations-00001.json")
    assert found.annotations == len(row.regions) == 1
    (image,) = data.loadImgs(data.getImgIds())
    assert (image["width"], image["height"]) == (100, 40)
    (one,) = data.loadAnns(data.getAnnIds())
    expected = mask_of(row, row.regions[0])
    ys, xs = np.nonzero(expected)
    assert one["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    assert one["area"] == expected.sum()
    if shape == "box":
        assert one["segmentation"] == []
    else:
        assert np.array_equal(data.annToMask(one), expected)


def test_heat_that_lies_in_a_crop_is_not_stretched_over_the_photograph(tmp_path, monkeypatch):
    written(monkeypatch, tmp_path / "out", [[seen("a", LEFT)]], "coco", shape="box")
    left, top, width, height = coco_file(tmp_path / "out")["annotations"][0]["bbox"]
    assert (left, top, height) == (30, 0, 40)
    assert left + width <= 50


def test_several_targets_are_several_annotations_of_one_image(tmp_path, monkeypatch):
    found = written(monkeypatch, tmp_path / "out", PHOTOS, "coco")
    data = coco_file(tmp_path / "out")
    assert [image["id"] for image in data["images"]] == [1, 2]
    assert [(one["image_id"], one["category_id"]) for one in data["annotations"]] == [
        (1, 1),
        (1, 2),
        (1, 2),
    ]
    assert [one["score"] for one in data["annotations"]] == [0.75, 0.25, 0.25]
    assert [one["name"] for one in data["categories"]] == CLASSES
    assert (found.images, found.failed, found.without_evidence) == (2, 1, 1)


@EVERY_FORMAT
def test_what_has_no_evidence_and_what_failed_has_no_shape(tmp_path, monkeypatch, form):
    found = written(monkeypatch, tmp_path / "out", [PHOTOS[0][2:]], form)
    assert (found.annotations, found.images, found.failed) == (0, 1, 1)
    failed = json.loads((tmp_path / "out" / "failed.jsonl").read_text())
    assert (failed["item_id"], failed["error_code"]) == ("gone", "image_not_found")


@EVERY_FORMAT
def test_what_speaks_against_a_class_is_left_out_and_counted(tmp_path, monkeypatch, form):
    row = seen("a", LEFT, target="not:cat")
    found = written(monkeypatch, tmp_path / "out", [[row]], form)
    assert (found.annotations, found.counter, found.images) == (0, 1, 1)
    assert "1 rows of what speaks against" in (tmp_path / "out" / "README.txt").read_text()


@EVERY_FORMAT
def test_every_folder_says_that_a_box_is_no_outline_of_an_object(tmp_path, monkeypatch, form):
    written(monkeypatch, tmp_path / "out", PHOTOS, form)
    said = [text for text in everything(tmp_path / "out").values() if "not outlines" in text]
    assert any(text.startswith(NOTICE) for text in said)
    assert len(said) > 1 or form == "coco-results"  # which is a bare list


@EVERY_FORMAT
def test_labels_have_other_names_share_one_or_have_none(tmp_path, monkeypatch, form):
    labels = {"cat": "pet", "dog": "pet", "Zwerg & Söhne": False}
    row = seen("c", LEFT, class_index=2)
    found = written(monkeypatch, tmp_path / "out", [*PHOTOS, [row]], form, labels=labels)
    assert found.unlabelled == 2
    assert found.annotations == 3
    texts = everything(tmp_path / "out")
    del texts["failed.jsonl"], texts["README.txt"]
    assert "Zwerg" not in "".join(texts.values())
    if form == "coco":
        assert {one["category_id"] for one in coco_file(tmp_path / "out")["annotations"]} == {1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"catt" = "x"', "no class 'catt'; did you mean 'cat'"),
        ('"cat" = 1', "label of 'cat' is neither"),
        ('"cat" = " "', "label of 'cat' is neither"),
        ("cat = ", "is not TOML"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(tmp_path, monkeypatch, text, message):
    path = tmp_path / "names.toml"
    path.write_text(text)
    monkeypatch.setattr(exports, "classes_of", lambda *_: CLASSES)
    with pytest.raises(InvalidRequest, match=message):
        exports.Export(record(), None, exports.Options("coco", labels=path), {})


@EVERY_FORMAT
def test_the_file_of_labels_has_to_be_there(tmp_path, monkeypatch, form):
    monkeypatch.setattr(exports, "classes_of", lambda *_: CLASSES)
    options = exports.Options(form, labels=tmp_path / "none.toml")
    with pytest.raises(InvalidRequest, match=r"none.toml can't be read"):
        exports.Export(record(), None, options, {})


def test_files_are_split_and_ids_run_through_them(tmp_path, monkeypatch):
    found = [[seen(f"{number}", LEFT) for number in range(5)]]
    count = written(monkeypatch, tmp_path / "out", found, "coco", per_file=2)
    files = [coco_file(tmp_path / "out", number) for number in (1, 2, 3)]
    assert count.files == [f"annotations-0000{number}.json" for number in (1, 2, 3)]
    for key in ("images", "annotations"):
        assert [one["id"] for file in files for one in file[key]] == [1, 2, 3, 4, 5]
    assert files[0]["categories"] == files[2]["categories"]
    count = written(monkeypatch, tmp_path / "cvat", found, "cvat", per_file=2)
    ids = [
        int(image.get("id"))
        for name in count.files
        for image in ET.parse(tmp_path / "cvat" / name).getroot().iter("image")
    ]
    assert ids == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("form", ["coco", "coco-results", "label-studio", "cvat"])
def test_a_job_without_rows_gives_a_whole_file(tmp_path, monkeypatch, form):
    count = written(monkeypatch, tmp_path / "out", [], form)
    assert len(count.files) == 1
    text = (tmp_path / "out" / count.files[0]).read_text()
    ET.fromstring(text) if form == "cvat" else json.loads(text)


def test_results_are_read_against_the_file_of_the_same_rows(tmp_path, monkeypatch):
    for form, shape in (("coco", "polygon"), ("coco-results", "box"), ("coco-results", "rle")):
        written(monkeypatch, tmp_path / f"{form}{shape}", PHOTOS, form, shape=shape)
    truth = COCO(tmp_path / "cocopolygon" / "annotations-00001.json")
    for shape in ("box", "rle"):
        found = truth.loadRes(str(tmp_path / f"coco-results{shape}" / "results-00001.json"))
        assert [one["score"] for one in found.dataset["annotations"]] == [0.75, 0.25, 0.25]
        boxes = [one["bbox"] for one in truth.dataset["annotations"]]
        assert [list(map(int, one["bbox"])) for one in found.dataset["annotations"]] == boxes


def test_results_have_the_ids_of_the_ground_truth(tmp_path, monkeypatch):
    truth = {
        "images": [{"id": 77, "file_name": "a.jpg"}],
        "categories": [{"id": 8, "name": "cat"}, {"id": 9, "name": "dog"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    options = {"config": tmp_path / "truth.json", "places": Places("/photos/")}
    written(monkeypatch, tmp_path / "out", [PHOTOS[0][:2]], "coco-results", **options)
    found = json.loads((tmp_path / "out" / "results-00001.json").read_text())
    assert [(one["image_id"], one["category_id"]) for one in found] == [(77, 8), (77, 9), (77, 9)]
    with pytest.raises(InvalidRequest, match=r"no image 'z\.jpg'.*--root"):
        written(monkeypatch, tmp_path / "no", [[seen("z", LEFT)]], "coco-results", **options)
    row = seen("a", LEFT, class_index=2)
    with pytest.raises(InvalidRequest, match=r"no category 'Zwerg.*--labels"):
        written(monkeypatch, tmp_path / "no", [[row]], "coco-results", **options)
    assert not (tmp_path / "no").exists()


def test_results_of_a_model_without_probabilities_are_refused(tmp_path, monkeypatch):
    row = seen("a", LEFT, probability=None)
    with pytest.raises(InvalidRequest, match="no probabilities"):
        written(monkeypatch, tmp_path / "out", [[row]], "coco-results")
    written(monkeypatch, tmp_path / "coco", [[row]], "coco")
    assert "score" not in coco_file(tmp_path / "coco")["annotations"][0]


def test_label_studio_has_percent_and_a_choice_of_the_first_class(tmp_path, monkeypatch):
    written(monkeypatch, tmp_path / "out", PHOTOS, "label-studio")
    first, second = tasks(tmp_path / "out")
    (prediction,) = first["predictions"]
    choice, *boxes = prediction["result"]
    assert choice["value"] == {"choices": ["cat"]}
    assert (prediction["score"], choice["score"]) == (0.75, 0.75)
    assert prediction["model_version"] == "net@1 gradcam auto 0.5 top:2 box"
    assert [box["value"]["rectanglelabels"] for box in boxes] == [["cat"], ["dog"], ["dog"]]
    region = PHOTOS[0][0].regions[0]
    value = boxes[0]["value"]
    assert (value["x"], value["y"]) == (region.left, region.top / 40 * 100)
    assert (value["width"], value["height"]) == (region.width, region.height / 40 * 100)
    sizes = [(box["original_width"], box["original_height"]) for box in boxes]
    assert sizes == [(100, 40)] * 3
    assert len({one["id"] for one in prediction["result"]}) == 4
    (nothing,) = second["predictions"]
    assert [one["type"] for one in nothing["result"]] == ["choices"]


def test_label_studios_outlines_enclose_the_region(tmp_path, monkeypatch):
    row = seen("a", CORNERS)
    written(monkeypatch, tmp_path / "out", [[row]], "label-studio", shape="polygon")
    results = tasks(tmp_path / "out")[0]["predictions"][0]["result"][1:]
    for result, region in zip(results, row.regions, strict=True):
        flat = [[x, y * 0.4] for x, y in result["value"]["points"]]
        runs = coco.frPyObjects([np.ravel(flat).tolist()], 40, 100)
        assert np.array_equal(coco.decode(runs)[..., 0], mask_of(row, region))


def test_label_studios_brush_is_the_region_pixel_by_pixel(tmp_path, monkeypatch):
    row = seen("a", CORNERS)
    written(monkeypatch, tmp_path / "out", [[row]], "label-studio", shape="rle")
    results = tasks(tmp_path / "out")[0]["predictions"][0]["result"][1:]
    assert len(results) == 2
    for result, region in zip(results, row.regions, strict=True):
        alpha = np.reshape(unpacked(result["value"]["rle"]), (40, 100, 4))
        assert np.array_equal(alpha[..., 3], mask_of(row, region) * 255)
        assert result["value"]["format"] == "rle"


@pytest.mark.parametrize("geometry", [CROPPED, PADDED, STRETCHED], ids=["crop", "pad", "stretch"])
def test_the_heat_of_a_brush_is_what_workers_draw(tmp_path, monkeypatch, geometry):
    row = seen("a", CORNERS, geometry)
    written(monkeypatch, tmp_path / "out", [[row]], "label-studio", heat=True)
    (heat,) = [one for one in _results(tasks(tmp_path / "out")[0]) if one["from_name"] == "heat"]
    alpha = np.reshape(unpacked(heat["value"]["rle"]), (40, 100, 4))[..., 3]
    expected = drawn_by_workers(CORNERS, geometry)
    assert np.abs(alpha - expected * 255).max() <= 255 / 14 + 0.5
    assert not alpha[expected == 0].any()
    assert len(np.unique(alpha)) == 8 or geometry is PADDED  # whose hottest cells are cut off


def drawn_by_workers(raw, geometry):
    """Return the heat of each pixel of the upright photograph, 0 to 1."""
    top, down = stretch(3, geometry.top, geometry.bottom, geometry.image_height)
    left, across = stretch(3, geometry.left, geometry.right, geometry.image_width)
    found = np.zeros((geometry.image_height, geometry.image_width))
    shown = down @ normalise(np.asarray(raw, np.float32)) @ across.T
    found[top : top + len(down), left : left + len(across)] = shown
    return found


CONFIG = """<View><Text name="t" value="$note"/><Image name="img" value="$photo"/>
<Choices name="cls" toName="img"><Choice value="cat"/><Choice value="d" alias="dog"/></Choices>
<PolygonLabels name="poly" toName="img"><Label value="cat"/><Label value="dog"/></PolygonLabels>
<Choices name="other" toName="t"><Choice value="cat"/></Choices></View>"""


def test_a_label_configs_own_names_are_used(tmp_path, monkeypatch):
    (tmp_path / "config.xml").write_text(CONFIG)
    options = {"config": tmp_path / "config.xml", "places": Places("/photos/", "/data/local?d=")}
    written(monkeypatch, tmp_path / "out", [PHOTOS[0][:2]], "label-studio", **options)
    (task,) = tasks(tmp_path / "out")
    assert task["data"]["photo"] == "/data/local?d=a.jpg"
    found = [(one["type"], one["from_name"], one["to_name"]) for one in _results(task)]
    assert found == [("choices", "cls", "img")] + [("polygonlabels", "poly", "img")] * 3
    assert not (tmp_path / "out" / "label-config.xml").exists()


def _results(task):
    return task["predictions"][0]["result"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("<View>", {}, "is not XML"),
        ("<View/>", {}, "has no <Image"),
        ('<View><Image name="i" value="$i"/></View>', {}, "none of Choices"),
        (CONFIG, {"shape": "rle"}, "no BrushLabels"),
        (CONFIG, {"heat": True}, r'no <BrushLabels name="heat">'),
        (CONFIG.replace('"cat"', '"Cat"'), {}, "Choices 'cls' has no label 'cat'.*--labels FILE"),
    ],
)
def test_a_label_config_that_does_not_suit_is_refused(
    tmp_path, monkeypatch, text, options, message
):
    (tmp_path / "config.xml").write_text(text)
    options = {**options, "config": tmp_path / "config.xml"}
    with pytest.raises(InvalidRequest, match=message):
        written(monkeypatch, tmp_path / "out", PHOTOS, "label-studio", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.xml"]


def test_a_label_config_is_made_where_none_is_given(tmp_path, monkeypatch):
    written(monkeypatch, tmp_path / "out", PHOTOS, "label-studio", shape="rle", heat=True)
    root = ET.parse(tmp_path / "out" / "label-config.xml").getroot()
    assert root.find("Header").get("value") == NOTICE
    assert [one.get("value") for one in root.find("Choices")] == CLASSES
    assert [one.get("name") for one in root.iter("BrushLabels")] == ["brushlabels", "heat"]


def test_vocs_corners_are_pixels_numbered_from_one(tmp_path, monkeypatch):
    written(monkeypatch, tmp_path / "out", PHOTOS, "voc")
    root = ET.parse(tmp_path / "out" / "Annotations" / "photos" / "a.xml").getroot()
    mask = mask_of(PHOTOS[0][0], PHOTOS[0][0].regions[0])
    ys, xs = np.nonzero(mask)
    corners = [int(one.text) for one in root.find("object/bndbox")]
    assert corners == [xs.min() + 1, ys.min() + 1, xs.max() + 1, ys.max() + 1]
    assert [one.findtext("name") for one in root.iter("object")] == ["cat", "dog", "dog"]
    assert root.findtext("size/width") == "100"
    names = (tmp_path / "out" / "ImageSets" / "Main" / "default.txt").read_text()
    assert names == "photos/a\nphotos/b\n"


@pytest.mark.parametrize("shape", ["box", "polygon"])
def test_yolos_places_are_fractions(tmp_path, monkeypatch, shape):
    written(monkeypatch, tmp_path / "out", PHOTOS, "yolo", shape=shape)
    lines = (tmp_path / "out" / "labels" / "photos" / "a.txt").read_text().splitlines()
    row = PHOTOS[0][0]
    _, *places = map(float, lines[0].split())
    places = np.reshape(places, (-1, 2)) * [100, 40]
    region = row.regions[0]
    if shape == "box":
        (x, y), (width, height) = places
        assert np.allclose([x - width / 2, y - height / 2], [region.left, region.top])
        assert np.allclose([width, height], [region.width, region.height])
    else:
        assert np.allclose(places.ravel(), region.polygon[0])
    assert [line.split()[0] for line in lines] == ["0", "1", "1"]
    assert (tmp_path / "out" / "labels" / "photos" / "b.txt").read_text() == ""
    data = (tmp_path / "out" / "data.yaml").read_text()
    assert '  2: "Zwerg & Söhne"\n' in data


@pytest.mark.parametrize("shape", ["box", "polygon", "rle"])
def test_cvat_has_tags_and_pixels(tmp_path, monkeypatch, shape):
    written(monkeypatch, tmp_path / "out", PHOTOS, "cvat", shape=shape)
    root = ET.parse(tmp_path / "out" / "annotations-00001.xml").getroot()
    first, second = root.iter("image")
    assert [tag.get("label") for tag in first.iter("tag")] == ["cat", "dog"]
    assert [one.tag for one in second] == ["tag"]
    tag = {"box": "box", "polygon": "polygon", "rle": "mask"}[shape]
    for row, name in zip(PHOTOS[0], ("cat", "dog"), strict=False):
        found = [one for one in first.iter(tag) if one.get("label") == name]
        for one, region in zip(found, row.regions, strict=True):
            assert np.array_equal(_cvat_mask(one, region), mask_of(row, region))
    labels = [one.text for one in root.findall("meta/task/labels/label/name")]
    assert labels == CLASSES


def test_cvats_points_have_every_digit_of_a_wide_picture(tmp_path, monkeypatch):
    scene = msgspec.structs.replace(STRETCHED, image_width=1_048_576, right=1_048_576)
    row = seen("a", LEFT, STRETCHED)
    outline = (1_048_574.0, 0.0, 1_048_575.5, 0.0, 1_048_575.5, 40.0)
    region = msgspec.structs.replace(row.regions[0], polygon=(outline,))
    row = msgspec.structs.replace(row, geometry=scene, regions=(region,))
    written(monkeypatch, tmp_path / "out", [[row]], "cvat", shape="polygon")
    root = ET.parse(tmp_path / "out" / "annotations-00001.xml").getroot()
    assert root.find("image/polygon").get("points") == "1048574,0;1048575.5,0;1048575.5,40"


def _cvat_mask(one, region):
    """Return what a shape of CVAT covers; of a box what the region has of it."""
    if one.tag == "polygon":
        flat = [float(x) for pair in one.get("points").split(";") for x in pair.split(",")]
        return coco.decode(coco.frPyObjects([flat], 40, 100))[..., 0]
    mask = np.zeros((40, 100), np.uint8)
    if one.tag == "box":
        left, top, right, bottom = (int(one.get(side)) for side in ("xtl", "ytl", "xbr", "ybr"))
        mask[top:bottom, left:right] = 1
        full = coco.decode({"size": [40, 100], "counts": region.rle})
        assert full[~mask.astype(bool)].sum() == 0
        assert (full.any(axis=0).sum(), full.any(axis=1).sum()) == (right - left, bottom - top)
        return full
    left, top, width, height = (int(one.get(side)) for side in ("left", "top", "width", "height"))
    counts = [int(count) for count in one.get("rle").split(", ")]
    ones = np.repeat(np.arange(len(counts)) % 2, counts)
    mask[top : top + height, left : left + width] = ones.reshape(height, width)
    return mask


@pytest.mark.parametrize("shape", ["box", "polygon"])
def test_fiftyone_has_fractions_and_heat_over_the_whole_photograph(tmp_path, monkeypatch, shape):
    out = tmp_path / "out"
    written(monkeypatch, out, PHOTOS, "fiftyone", shape=shape, heat=True)
    first, second = json.loads((out / "samples.json").read_text())["samples"]
    fields = json.loads((out / "metadata.json").read_text())["sample_fields"]
    assert set(fields) == set(first)
    assert first["prediction"]["label"] == "cat"
    assert first["prediction"]["confidence"] == 0.75
    (found,) = [value for key, value in first["looked_at"].items() if key != "_cls"]
    assert [one["label"] for one in found] == ["cat", "dog", "dog"]
    region = PHOTOS[0][0].regions[0]
    if shape == "box":
        box = np.multiply(found[0]["bounding_box"], [100, 40, 100, 40])
        assert np.allclose(box, [region.left, region.top, region.width, region.height])
    else:
        assert np.allclose(np.ravel(np.multiply(found[0]["points"], [100, 40])), region.polygon)
    with Image.open(out / first["heat"]["map_path"]) as heat:
        gray = np.asarray(heat)
    left = np.repeat([[1, 0]], 2, axis=0)
    top, down = stretch(2, 0, 40, 40)
    start, across = stretch(2, 30, 70, 100)
    expected = np.zeros((40, 100))
    expected[top : top + 40, start : start + 40] = down @ left @ across.T
    assert np.abs(gray - expected * 255).max() <= 1
    assert "heat" not in second
    assert [*second["looked_at"].values()][1] == []


@pytest.mark.parametrize(
    ("options", "made", "message"),
    [
        ({"form": "voc", "shape": "rle"}, {}, "--format voc takes --shape box"),
        ({"form": "coco-results", "shape": "polygon"}, {}, "takes --shape box or rle"),
        ({"form": "coco"}, {"shapes": None}, "no polygon of regions.*--shape polygon"),
        ({"form": "yolo"}, {"shapes": None}, "no box of regions.*--shape box"),
        (
            {"form": "coco", "shape": "rle"},
            {"shapes": ("polygon",)},
            "submit it again.*--shape rle",
        ),
        ({"form": "coco"}, {"models": 2}, "several models: choose one of net@1, net@2"),
    ],
)
def test_what_a_job_or_format_lacks_is_named(monkeypatch, options, made, message):
    monkeypatch.setattr(exports, "classes_of", lambda *_: CLASSES)
    outputs = record().outputs
    if "shapes" in made:
        shapes = made["shapes"]
        regions = shapes and msgspec.structs.replace(outputs.regions, shapes=shapes)
        outputs = msgspec.structs.replace(outputs, regions=regions)
    models = tuple(
        ModelRef(id="net", version=str(number + 1), digest="0" * 64)
        for number in range(made.get("models", 1))
    )
    job = record(outputs=outputs, models=models)
    with pytest.raises(InvalidRequest, match=message):
        exports.Export(job, None, exports.Options(**options), {})


@pytest.mark.parametrize("form", ["label-studio", "cvat", "fiftyone"])
def test_a_job_without_shapes_has_its_classes(tmp_path, monkeypatch, form):
    bare = record(outputs=msgspec.structs.replace(record().outputs, regions=None))
    found = [[msgspec.structs.replace(row, regions=None) for row in PHOTOS[0]]]
    count = written(monkeypatch, tmp_path / "out", found, form, made=bare)
    assert count.annotations == 0
    assert "cat" in (tmp_path / "out" / count.files[-1]).read_text()


@pytest.mark.parametrize(
    ("root", "uri", "name"),
    [
        ("", "s3://bucket/a/b.jpg", "bucket/a/b.jpg"),
        ("", "/photos/b.jpg", "photos/b.jpg"),
        ("", "https://host/a/b.jpg?X-Amz-Signature=secret#x", "host/a/b.jpg"),
        ("", "https://user:password@host/a@b.jpg", "host/a@b.jpg"),
        ("s3://bucket/a/", "s3://bucket/a/b.jpg", "b.jpg"),
        ("https://host/a", "https://host/a/b.jpg?token=secret", "b.jpg"),
        ("", "file:///photos/b%20c.jpg", "photos/b%20c.jpg"),
        ("", "s3://bucket/a?b#c.jpg", "bucket/a?b#c.jpg"),
        ("", "s3://bucket/../../etc/./passwd", "bucket/etc/passwd"),
        ("s3://bucket/a", "s3://bucket/a", "image"),
    ],
)
def test_images_have_names_without_secrets_that_lead_nowhere_else(root, uri, name):
    assert Places(root).name(uri) == name


def test_an_image_outside_the_root_is_named():
    with pytest.raises(InvalidRequest, match=r"s3://b/c.jpg doesn't begin with --root s3://a"):
        Places("s3://a").name("s3://b/c.jpg")


@EVERY_FORMAT
def test_only_what_a_tool_reads_an_image_from_has_the_signature_of_its_url(
    tmp_path, monkeypatch, form
):
    uri = "https://host/a.jpg?X-Amz-Signature=0123abcd&X-Amz-Expires=60"
    failed = msgspec.structs.replace(GONE, image_uri=uri)
    written(monkeypatch, tmp_path / "out", [[seen("a", LEFT, image_uri=uri), failed]], form)
    with_it = [name for name, text in everything(tmp_path / "out").items() if "0123abcd" in text]
    expected = {"label-studio": ["tasks-00001.json"], "fiftyone": ["samples.json"]}
    assert with_it == expected.get(form, [])


@pytest.mark.parametrize("form", ["voc", "yolo"])
@pytest.mark.parametrize("name", ["a\0b", "x" * 256, "ü" * 128], ids=["nul", "long", "wide"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, monkeypatch, form, name):
    found = [[seen("1", LEFT, image_uri=f"/x/{name}.jpg")]]
    with pytest.raises(InvalidRequest, match=r"no file can have the name .*--image"):
        written(monkeypatch, tmp_path / "out", found, form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_two_images_never_share_a_file(tmp_path, monkeypatch, form):
    found = [[seen("1", LEFT, image_uri="/x/a.jpg"), seen("2", LEFT, image_uri="/x/a.png")]]
    with pytest.raises(InvalidRequest, match=r"two images would have the file .*x/a\."):
        written(monkeypatch, tmp_path / "out", found, form)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_stays_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(InvalidRequest, match="out is there already"):
        written(monkeypatch, tmp_path / "out", PHOTOS, "coco")
    assert everything(tmp_path) == {"out/mine": "mine"}


@pytest.mark.parametrize(
    "changed",
    [
        {"left": -1}, {"width": 101}, {"top": 39}, {"height": 0}, {"area": 10_000},
    ],
)  # fmt: skip
@EVERY_FORMAT
def test_a_strangers_region_outside_its_image_is_refused(tmp_path, monkeypatch, form, changed):
    row = seen("a", LEFT)
    region = msgspec.structs.replace(row.regions[0], **changed)
    row = msgspec.structs.replace(row, regions=(region,))
    with pytest.raises(ObjectDamaged, match="item 'a'"):
        written(monkeypatch, tmp_path / "out", [[row]], form)


@pytest.mark.parametrize(
    "outline",
    [
        (0.0, 0.0, 101.0, 0.0, 5.0, 5.0),
        (0.0, 41.0, 5.0, 0.0, 5.0, 5.0),
        (0.0, -1.0, 5.0, 0.0, 5.0, 5.0),
        (1.0, 2.0, 3.0),
        (1.0, 2.0, 3.0, 4.0),
        (1.0, 1.0, 2.0, 2.0, 3.0, float("nan")),
        (float("nan"), 1.0, 2.0, 2.0, 3.0, 3.0),
        (1.0, 1.0, 2.0, 2.0, 3.0, float("inf")),
    ],
)
@pytest.mark.parametrize("form", ["coco", "label-studio", "yolo", "cvat", "fiftyone"])
def test_a_strangers_outline_outside_its_image_is_refused(tmp_path, monkeypatch, form, outline):
    row = seen("a", LEFT)
    region = msgspec.structs.replace(row.regions[0], polygon=(outline,))
    row = msgspec.structs.replace(row, regions=(region,))
    with pytest.raises(ObjectDamaged, match="item 'a'"):
        written(monkeypatch, tmp_path / "out", [[row]], form, shape="polygon")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("form", ["label-studio", "fiftyone"])
def test_a_strangers_map_that_is_no_heat_is_refused(tmp_path, monkeypatch, form, number):
    row = msgspec.structs.replace(seen("a", LEFT), map=(1.0, number, 0.0, 0.0))
    with pytest.raises(ObjectDamaged, match="a map of 4 values"):
        written(monkeypatch, tmp_path / "out", [[row]], form, heat=True)


@pytest.mark.parametrize("form", ["coco", "coco-results", "label-studio", "cvat"])
def test_a_strangers_runs_of_another_image_are_refused(tmp_path, monkeypatch, form):
    row = seen("a", LEFT)
    region = Region(left=30, top=0, width=5, height=5, area=5, heat=1, rle="4O5", polygon=None)
    row = msgspec.structs.replace(row, regions=(region,))
    with pytest.raises(ObjectDamaged, match="rle is not"):
        written(monkeypatch, tmp_path / "out", [[row]], form, shape="rle")


@EVERY_FORMAT
@pytest.mark.parametrize("label", ['<a href="x">&', "line\nbreak\x00\x1b[2J", "'; rm -rf /"])
def test_a_strangers_names_stay_texts(tmp_path, monkeypatch, form, label):
    labels = {"cat": label}
    uri = f"/photos/{label}.jpg".replace("/photos/'; rm -rf /", "/photos/'; rm -rf ")
    row = seen("a", LEFT, image_uri=uri.replace("\x00", ""))
    written(monkeypatch, tmp_path / "out", [[row]], form, labels=labels)
    for name, text in everything(tmp_path / "out").items():
        if name.endswith(".xml"):
            ET.fromstring(text)
        elif name.endswith(".json"):
            json.loads(text)
    if form == "yolo":
        data = (tmp_path / "out" / "data.yaml").read_text().splitlines()
        assert len(data) == 5 + len(CLASSES)
        assert len((tmp_path / "out" / "train.txt").read_text().splitlines()) == 1


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 2))
def test_filters_are_those_of_results(probability, rank):
    job = record()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exports, "classes_of", lambda *_: CLASSES)
        made = exports.Export(
            job, None, exports.Options("coco"), {"min_probability": probability, "rank": rank}
        )
    table = rows.table(PHOTOS[0])
    kept = table.filter(made.selection.mask(table)).to_pylist()
    expected = [
        row.item_id
        for row in PHOTOS[0]
        if row.probability is not None and row.probability >= probability and row.rank == rank
    ]
    assert [row["item_id"] for row in kept] == expected


def test_the_formats_of_the_command_are_those_that_there_are():
    from camfleet.cli.export import EXPORT_FORMATS

    assert tuple(exports.FORMATS) == EXPORT_FORMATS


def test_statuses_other_than_ok_never_have_regions(tmp_path, monkeypatch):
    row = msgspec.structs.replace(seen("a", LEFT), status=Status.NO_EVIDENCE)
    count = written(monkeypatch, tmp_path / "out", [[row]], "coco")
    assert (count.annotations, count.without_evidence) == (0, 1)
