"""The heat that the browser draws is the worker's, within one level of 256."""

import io

import numpy as np
import pytest
from PIL import Image

from camfleet_worker.pictures import heat

pytestmark = pytest.mark.browser

DRAW = """
async ({ values, rows, columns, geometry, width, height, colormap }) => {
  const { HeatMap, draw } = await import(new URL("page/heat.js", document.baseURI).href);
  const found = { values: new Float32Array(values), height: rows, width: columns, geometry };
  const map = new HeatMap(found);
  const canvas = document.createElement("canvas");
  draw(canvas, map, { width, height, colormap, longest: 4096 });
  const [wide, tall] = [canvas.width, canvas.height];
  return [wide, tall, ...canvas.getContext("2d").getImageData(0, 0, wide, tall).data];
}
"""
FETCH = """
async (address) => {
  const { npy } = await import(new URL("page/heat.js", document.baseURI).href);
  const found = npy(await (await fetch(address)).arrayBuffer());
  return [found.height, found.width, ...found.values];
}
"""
HALVES = """
async (bytes) => {
  const { halves } = await import(new URL("page/heat.js", document.baseURI).href);
  return [...halves(new Uint8Array(bytes).buffer)].map(String);
}
"""
GEOMETRIES = {  # left, top, right, bottom in a picture of 160 x 120
    "stretch": (0.0, 0.0, 160.0, 120.0),
    "crop": (20.0, 0.0, 140.0, 120.0),
    "pad": (0.0, -20.0, 160.0, 140.0),
    "odd": (13.3, 7.9, 150.2, 101.7),
}


def drawn(page, raw, width, height, colormap, place=None):
    """Return what the browser draws, (height, width, 4)."""
    geometry = None
    if place:
        sides = dict(zip(("left", "top", "right", "bottom"), place, strict=True))
        geometry = {"image_width": width, "image_height": height, **sides}
    wide, tall, *data = page.evaluate(
        DRAW,
        {
            "values": raw.ravel().tolist(),
            "rows": raw.shape[0],
            "columns": raw.shape[1],
            "geometry": geometry,
            "width": width,
            "height": height,
            "colormap": colormap,
        },
    )
    return np.array(data, np.uint8).reshape(tall, wide, 4)


def expected(raw, width, height, place):
    """Return the levels that a worker draws, (height, width), and where."""
    share = heat.normalise(raw)
    left, top, right, bottom = place
    first_row, down = heat.stretch(raw.shape[0], top, bottom, height)
    first_column, across = heat.stretch(raw.shape[1], left, right, width)
    levels = heat.levels(np.float32(down @ (share @ across.T)))
    covered = np.zeros((height, width), bool)
    covered[first_row:, first_column:][: levels.shape[0], : levels.shape[1]] = True
    all_levels = np.zeros((height, width), np.uint8)
    all_levels[covered] = levels.ravel()
    return all_levels, covered


@pytest.mark.parametrize("place", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("grid", [(7, 7), (1, 1), (3, 11)])
def test_levels_are_the_workers_at_every_place(window, grid, place):
    raw = np.random.default_rng(7).normal(0.2, 1, grid).astype(np.float32)
    found = drawn(window.page, raw, 160, 120, "gray", place)
    levels, covered = expected(raw, 160, 120, place)
    assert (found[..., 3] == np.where(covered, 255, 0)).all()
    assert np.abs(found[..., 0].astype(int) - levels)[covered].max() <= 1


@pytest.mark.parametrize("colormap", ["viridis", "inferno", "turbo"])
def test_colours_are_the_workers(window, colormap):
    raw = np.linspace(-1, 3, 16, dtype=np.float32).reshape(4, 4)
    found = drawn(window.page, raw, 160, 120, colormap, GEOMETRIES["stretch"])
    levels, _ = expected(raw, 160, 120, GEOMETRIES["stretch"])
    near = [np.clip(levels.astype(int) + step, 0, 255).astype(np.uint8) for step in (-1, 0, 1)]
    fits = [
        (heat.apply_colormap(one, colormap)[..., ::-1] == found[..., :3]).all(axis=2)
        for one in near
    ]
    assert np.any(fits, axis=0).all()
    assert fits[1].mean() > 0.99


def test_a_map_without_evidence_is_the_lowest_colour_and_a_signed_one_white_where_it_is_nothing(
    window,
):
    nothing = drawn(window.page, np.float32([[-1, -2], [0, -1]]), 40, 40, "viridis")
    assert {tuple(pixel) for pixel in nothing.reshape(-1, 4)} == {(68, 1, 84, 255)}
    signed = drawn(window.page, np.float32([[-2, 0, 2]]), 30, 10, "blue-white-red")
    left, middle, right = signed[5, 1], signed[5, 15], signed[5, 28]
    assert left[2] > left[0] + 100
    assert middle[:3].min() > 240
    assert right[0] > right[2] + 100


def test_the_workers_own_picture_of_an_answer_is_what_the_browser_draws_of_its_raw_map(
    window, web, model, photos
):
    path = f"/v1/explain?model={model.id}&pictures=raw&pictures=heatmap"
    told = web.ask("POST", path, photos[0].read_bytes(), Content_Type="image/png").json
    (row,) = told["results"]
    place = f"v1/answers/{told['id']}/0"
    height, width, *values = window.page.evaluate(FETCH, f"{place}/raw")
    raw = np.float32(values).reshape(height, width)
    assert (height, width) == (row["grid_height"], row["grid_width"])
    picture = Image.open(io.BytesIO(web.ask("GET", f"/{place}/heatmap").body))
    found = drawn(window.page, raw, *picture.size, "gray")
    assert np.abs(found[..., 0].astype(int) - np.asarray(picture)).max() <= 1


def test_half_precision_is_read_to_the_bit(window):
    bits = np.array([0, 1, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0x8000, 0xC248, 0xFBFF, 0x7C00, 0x7E00])
    numbers = bits.astype("<u2").view("<f2").astype(float)
    found = window.page.evaluate(HALVES, list(bits.astype("<u2").tobytes()))
    assert [float(text.replace("Infinity", "inf")) for text in found[:-1]] == numbers[:-1].tolist()
    assert found[-1] == "NaN"
