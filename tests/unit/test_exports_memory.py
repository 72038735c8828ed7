"""An export keeps nothing of the images that it has written, whatever the format."""

import gc
import tracemalloc
from itertools import pairwise
from statistics import median

import pytest

from camfleet.exports import export as exports
from camfleet.exports.export import Export, Options
from helpers import rows
from helpers.exported import CLASSES, record, seen

FIRST, MANY, PART, STEP = 200, 1200, 100, 200  # images
MOST = 16  # bytes of an image that stay: 16 MB of a million


KINDS = [
    (form, shape)
    for form, known in exports.FORMATS.items()
    for shape in (*known.shapes, *known.asked)
]


@pytest.mark.parametrize(("form", "shape"), KINDS)
def test_memory_does_not_grow_with_the_images(tmp_path, monkeypatch, form, shape):
    monkeypatch.setattr(exports, "classes_of", lambda *_: CLASSES)
    heat = form == "fiftyone"
    export = Export(record(), None, Options(form, shape=shape, heat=heat), {})
    row = seen("", [[1, 0], [1, 0]])
    table = rows.table([row] * PART).select(export.selection.schema.names)
    items, uris = (table.schema.names.index(name) for name in ("item_id", "image_uri"))
    kept = []

    def tables():
        for first in range(0, MANY + PART, PART):
            if first >= FIRST and not first % STEP:
                gc.collect()
                kept.append(tracemalloc.get_traced_memory()[0])
            names = [[f"{number}.jpg" for number in range(first, first + PART)]]
            yield table.set_column(items, "item_id", names).set_column(uris, "image_uri", names)

    tracemalloc.start()
    try:
        export.write(tables(), tmp_path / "out")
    finally:
        tracemalloc.stop()
    # What a library caches once grows one step, what stays of each image grows all of them.
    grown = [after - before for before, after in pairwise(kept)]
    assert len(grown) == (MANY - FIRST) // STEP
    assert median(grown) / STEP < MOST
