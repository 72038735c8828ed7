"""What people see in Label Studio's own editor."""

import io

import numpy as np
import pytest
from PIL import Image

from camfleet_worker.pictures.heat import normalise, stretch
from helpers.brushes import unpacked
from helpers.label_studio import PASSWORD, PROJECT, USER, backend, prediction_of
from helpers.samples import photo
from helpers.tool_pythons import run_script

pytestmark = pytest.mark.tools


def looked_at(studio, project, task, picture):
    """Return what the editor shows of a task, in Chromium."""
    words = studio.url, USER, PASSWORD, str(project), str(task), picture
    return run_script("playwright", "look_label_studio.py", *words)


def turned(pixels, orientation):
    """Return a JPEG that is upright only once it's turned."""
    sink, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(sink, "JPEG", quality=95, exif=exif)
    return sink.getvalue()


@pytest.mark.parametrize(("orientation", "turns"), [(6, 1), (8, -1)])  # 6: turn it clockwise
def test_the_editor_shows_class_box_and_heat_where_they_are_to_the_pixel(
    studio, web, model, token, client, tmp_path, orientation, turns
):
    upright = photo(70, 30, (120, 60))
    data = turned(np.rot90(upright, turns), orientation)
    file = tmp_path / "turned.jpg"
    file.write_bytes(data)
    project, _ = studio.project(PROJECT, [{"data": {"image": "s3://nowhere/none.jpg"}}])
    studio.upload(project, file)
    task = studio.tasks(project)[1]
    studio.connect(project, backend(web, model, "/heat=1&target=bright"), token)
    studio.retrieve(project, [task["id"]])
    sent = prediction_of(studio.tasks(project)[1])["result"]
    found = looked_at(studio, project, task["id"], tmp_path / "seen.png")
    assert found["shown"][0] == {"from": "kind", "type": "choices", "value": ["bright"]}
    (box,) = found["boxes"]
    assert box["label"] == "bright"
    assert box["place"] == {name: sent[1]["value"][name] for name in box["place"]}
    brush, *others = found["brushes"]
    assert others == [], [(one["width"], len(one["runs"])) for one in found["brushes"]]
    assert (brush["width"], brush["height"]) == (60, 120)
    values, lengths = zip(*brush["runs"], strict=True)
    alphas = np.repeat(values, lengths).reshape(120, 60)
    assert np.array_equal(
        alphas, np.reshape(unpacked(sent[2]["value"]["rle"]), (120, 60, 4))[..., 3]
    )
    client.storage.put("label-studio/turned.jpg", data, "image/jpeg")
    uri = client.storage.uri("label-studio/turned.jpg")
    (row,) = client.explain(uri, model=model, target="bright", pictures=["raw"]).result()
    raw = np.load(io.BytesIO(client.storage.get(row.raw_uri).data))
    _, down = stretch(len(raw), 0, 120, 120)
    _, across = stretch(len(raw[0]), 0, 60, 60)
    expected = down @ normalise(raw) @ across.T
    assert np.abs(alphas - expected * 255).max() <= 255 / 14 + 0.5
    ys, xs = np.nonzero(alphas == 255)
    assert abs(ys.mean() - 70) < 8
    assert abs(xs.mean() - 30) < 8
