"""A dataset folder, imported by FiftyOne itself into its own database.

FiftyOne starts MongoDB, which comes with the package of its database for Ubuntu 22.04: one of
FiftyOne's oldest releases, but the last whose package has the program in it.
"""

import numpy as np
import pytest

from camfleet.exports.images import Places
from camfleet_worker.pictures.heat import stretch
from helpers.documents import ROOT, blocks
from helpers.exported import CLASSES, PHOTOS, ROWS, written
from helpers.tool_pythons import run_python, run_script

pytestmark = pytest.mark.tools
HEIGHT, WIDTH = 40, 100


@pytest.mark.parametrize("shape", ["box", "polygon"])
def test_fiftyone_imports_classes_shapes_and_heat(tmp_path, monkeypatch, shape):
    out, options = tmp_path / "out", {"shape": shape, "heat": True}
    places = Places("/photos/", "/media/")
    written(monkeypatch, out, PHOTOS, "fiftyone", places=places, **options)
    (tmp_path / "home").mkdir()
    found = run_script("fiftyone", "read_fiftyone.py", out, home=tmp_path / "home")
    assert found["classes"] == CLASSES
    assert "not outlines of objects" in found["info"]["notice"]
    assert found["counts"] == {"cat": 2, CLASSES[2]: 2}
    kind = {"box": "Detections", "polygon": "Polylines"}[shape]
    assert (found["fields"]["looked_at"], found["fields"]["heat"]) == (kind, "Heatmap")
    for sample in found["samples"]:
        rows = [row for row in PHOTOS[0] if row.item_id == sample["item"]]
        assert sample["path"] == f"/media/{sample['item']}.jpg"
        assert sample["size"] == [HEIGHT, WIDTH]
        assert sample["prediction"] == [rows[0].class_name, rows[0].probability]
        expected = [
            [row.class_name, row.probability, row.rank, region.heat]
            for row in rows
            for region in row.regions or ()
        ]
        assert [one[:2] + one[3:] for one in sample["shapes"]] == expected
        _compare_places(sample, rows, shape)
        assert ("heat" in sample) == (rows[0] in ROWS)
        if "heat" in sample:
            assert sample["range"] == [0, 255]
            assert np.abs(np.array(sample["heat"]) - 255 * _heat(rows[0])).max() <= 1


def _compare_places(sample, rows, shape):
    """Compare fractions with pixels."""
    regions = [region for row in rows for region in row.regions or ()]
    for (_, _, places, *_), region in zip(sample["shapes"], regions, strict=True):
        if shape == "box":
            sides = [region.left, region.top, region.width, region.height]
            assert np.allclose(np.multiply(places, [WIDTH, HEIGHT] * 2), sides)
        else:
            outlines = [np.multiply(one, [WIDTH, HEIGHT]).ravel() for one in places]
            for one, outline in zip(outlines, region.polygon, strict=True):
                assert np.allclose(one, outline)


def _heat(row):
    """Return a row's heat over its whole photograph, 0 to 1, as a worker draws it."""
    scene, heat = row.geometry, np.maximum(np.array(row.map), 0)
    values = heat.reshape(row.grid_height, row.grid_width) / heat.max()
    top, down = stretch(row.grid_height, scene.top, scene.bottom, HEIGHT)
    left, across = stretch(row.grid_width, scene.left, scene.right, WIDTH)
    expected = np.zeros((HEIGHT, WIDTH))
    expected[top : top + len(down), left : left + len(across)] = down @ values @ across.T
    return expected


def test_the_example_of_the_documents_runs_but_for_the_app(tmp_path, monkeypatch):
    written(monkeypatch, tmp_path / "for-fiftyone", PHOTOS, "fiftyone", heat=True)
    (block,) = (
        block
        for block in blocks(ROOT / "docs" / "annotation.md")
        if block.text.startswith("import fiftyone")
    )
    example, app = block.text.rstrip().rsplit("\n", 1)
    assert app == "session = fo.launch_app(dataset)"
    code = f"{example}\nprint(len(dataset), dataset.default_classes)\ndataset.delete()\n"
    said = run_python("fiftyone", "-c", code, home=tmp_path)
    assert said.splitlines()[-1] == f"4 {CLASSES}"
