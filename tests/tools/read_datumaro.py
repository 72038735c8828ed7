"""Run by Datumaro's own Python: prints what it reads in a folder of a format, as JSON.

A shape is its kind, its label, its box (left, top, width, height), the pixels of a mask, and its
score as text.
"""

import json
import sys

from datumaro.components.dataset import Dataset


def main(folder, form):
    data = Dataset.import_from(folder, form)
    (labels,) = [one for one in data.categories().values() if hasattr(one, "items")][:1]
    names = [label.name for label in labels.items]
    found = {}
    for item in data:
        found[item.id] = [_shape(one, names) for one in item.annotations]
    sys.stdout.write(json.dumps(found) + "\n")


def _shape(one, names):
    kind = type(one).__name__
    box = [float(side) for side in one.get_bbox()] if hasattr(one, "get_bbox") else None
    area = int(one.image.sum()) if kind.endswith("Mask") else None
    score = one.attributes.get("score")
    return [kind, names[one.label], box, area, None if score is None else str(score)]


main(*sys.argv[1:])
