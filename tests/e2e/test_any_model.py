"""Models with more than one input, output or layer, from the command line to the table."""

import json
import os

import cv2
import keras
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask

from helpers.samples import write_card

layers = keras.layers


@pytest.fixture(scope="module")
def two_inputs(client, folder):
    """Register a model whose second input decides: bright for a positive one, else dark."""
    photo, age = keras.Input((32, 48, 3), name="photo"), keras.Input((1,), name="age")
    conv = layers.Conv2D(1, 3, padding="same", use_bias=False, name="conv")
    dense = layers.Dense(2, use_bias=False, name="scores")
    pooled = layers.GlobalAveragePooling2D()(conv(photo))
    scores = layers.Multiply()([dense(pooled), age])
    model = keras.Model([photo, age], {"kind": layers.Softmax(name="kind")(scores), "age": age})
    conv.set_weights([np.full((3, 3, 3, 1), 1 / 27, np.float32)])
    dense.set_weights([np.array([[9.0, -9.0]], np.float32)])
    card = write_card(folder / "two", "two", model=model, image_input='"photo"', output='"kind"')
    card.write_text(card.read_text() + "[inputs.age]\ndefault = 1\n")
    ref, report = client.models.add(card, timeout=240)
    assert [other["name"] for other in report["other_inputs"]] == ["age"]
    return ref


def explained(run, *words):
    done = run("explain", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.usefixtures("two_inputs")
def test_a_second_input_comes_from_the_command_line_or_the_card(run, photos):
    ((bright,), (dark,)) = (
        explained(run, photos[0], "--model", "two", *words) for words in ([], ["--input", "age=-1"])
    )
    assert (bright["class_name"], dark["class_name"]) == ("bright", "dark")
    done = run("explain", photos[0], "--model", "two", "--input", "size=3")
    assert done.returncode == 1
    assert "no input 'size' besides the image; it has age" in done.stderr
    assert run("explain", photos[0], "--model", "two", "--input", "age=old").returncode == 2


@pytest.mark.usefixtures("two_inputs")
def test_a_second_input_comes_with_each_row_of_a_manifest(run, client, folder, photos):
    values = [{"age": 1}, {"age": -1}, None, {"age": [2, 3]}]
    rows = [
        {"image_uri": str(photos[0]), "inputs": given, "id": name}
        for given, name in zip(values, "abcd", strict=True)
    ]
    (folder / "ages.jsonl").write_text("\n".join(map(json.dumps, rows)))
    job = run("submit", folder / "ages.jsonl", "--model", "two", "--watch").stdout.split()[0]
    found = list(client.job(job).results())
    assert [row.class_name for row in found] == ["bright", "dark", "bright", None]
    assert found[3].error_code == "invalid_request"
    assert "takes 1 number, not 2" in found[3].error_message


@pytest.mark.usefixtures("model")
def test_shapes_lie_on_the_patch_in_the_photographs_own_pixels(run, photos):
    shapes = [word for shape in ("box", "rle", "polygon") for word in ("--shape", shape)]
    (row,) = explained(run, photos[5], "--model", "patches", "--target", "bright", *shapes)
    # photo 5 has its patch around row 15, column 25, 12 pixels wide and high, on 60 x 80 pixels
    (region,) = row["regions"]
    assert abs(region["left"] - 19) <= 2
    assert abs(region["top"] - 9) <= 2
    assert 10 <= region["width"] <= 15
    decoded = mask.decode({"size": [60, 80], "counts": region["rle"]})
    assert decoded[15, 25] == 1
    assert decoded.sum() == region["area"]
    assert len(region["polygon"][0]) >= 8
    assert abs(row["focus"]["centre_x"] - 25) < 1.5
    assert abs(row["focus"]["centre_y"] - 15) < 1.5


@pytest.mark.usefixtures("model")
def test_a_class_that_is_not_reached_gives_a_row_without_evidence(run, client, photos):
    done = run("submit", photos[0], "--model", "patches", "--target", "above:0.99", "--watch")
    assert done.returncode == 0, done.stderr
    (row,) = client.job(done.stdout.split()[0]).results()
    assert (row.status, row.class_index, row.map) == ("no_evidence", None, None)
    assert (row.error_code, row.error_message) == (None, "no class reaches 0.99")
    shown = run("results", done.stdout.split()[0])
    assert "no class reaches 0.99" in shown.stdout


@pytest.mark.usefixtures("model")
def test_what_speaks_against_a_class_is_what_speaks_for_the_other(run, photos):
    (against,) = explained(run, photos[0], "--model", "patches", "--target", "not:dark")
    (bright,) = explained(run, photos[0], "--model", "patches", "--target", "bright")
    assert against["class_name"] == "dark"
    assert against["status"] == "ok"
    assert against["focus"]["peak_x"] == pytest.approx(bright["focus"]["peak_x"])


def test_maps_of_two_layers_are_fused_and_each_is_in_the_table(run, client, folder, photos):
    image = keras.Input((32, 48, 3))
    x = layers.Conv2D(3, 3, padding="same", activation="relu", name="fine")(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="coarse")(x)
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    client.models.add(write_card(folder / "deep", "deep", model=model), timeout=240)
    words = ["--layer", "fine,coarse", "--fuse", "max", "--method", "layercam", "--watch"]
    done = run("submit", photos[0], "--model", "deep", *words)
    assert done.returncode == 0, done.stderr
    (row,) = client.job(done.stdout.split()[0]).results()
    assert row.layer == "fine,coarse"
    assert [(layer.layer, layer.grid_height) for layer in row.layer_maps] == [
        ("fine", 32),
        ("coarse", 16),
    ]
    assert (row.grid_height, len(row.map)) == (32, 32 * 48)


def test_a_check_marks_defaults_and_explains_a_picture_without_servers(run, folder, photos):
    """No server is named in the environment: the check needs none."""
    card = write_card(folder / "unserved", "unserved", model=joined_sigmoids())
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("CAMFLEET_")
    }
    environ["CAMFLEET_ENGINE"] = "tensorflow"
    done = run("models", "check", card, "--image", photos[0], environ=environ)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)
    assert lines["scaling"] == "unit: values from 0 to 1"
    assert lines["colour"] == "rgb (default)"
    assert lines["resize"] == "stretch"
    assert "(default)" in lines["interpolation"]
    assert "sigmoid taken off for logits" in lines["outputs"]
    assert lines["engine"].startswith("tensorflow")
    assert {"bright", "dark"} <= lines.keys()
    bare = run("models", "check", card.parent / "model.keras", environ=environ)
    assert "none: values from 0 to 255 as they are (default)" in bare.stdout


def joined_sigmoids():
    image = keras.Input((32, 48, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(image))
    heads = [layers.Dense(1, activation=layers.Activation("sigmoid"))(x) for _ in range(2)]
    return keras.Model(image, layers.Concatenate()(heads))


def test_what_joined_sigmoids_answer_stands_in_the_row(run, client, folder, photos):
    model = joined_sigmoids()
    client.models.add(write_card(folder / "joined", "joined", model=model), timeout=240)
    found = explained(run, photos[0], "--model", "joined", "--target", "top:2")
    with Image.open(photos[0]) as photo:
        pixels = cv2.resize(np.asarray(photo), (48, 32)) / np.float32(255)
    (expected,) = model.predict(pixels[None], verbose=0)
    for row in found:
        assert row["probability"] == pytest.approx(expected[row["class_index"]], abs=1e-5)
