"""Run by FiftyOne's own Python, with its database: prints what it reads in a dataset folder."""

import json
import sys

import fiftyone as fo
import numpy as np


def main(folder):
    dataset = fo.Dataset.from_dir(dataset_dir=folder, dataset_type=fo.types.FiftyOneDataset)
    try:
        fields = {name: _kind(field) for name, field in dataset.get_field_schema().items()}
        found = {
            "info": dataset.info,
            "classes": dataset.default_classes,
            "fields": fields,
            "samples": [_sample(sample, fields) for sample in dataset],
            "counts": dataset.count_values("prediction.label"),
        }
    finally:
        dataset.delete()
    sys.stdout.write(json.dumps(found) + "\n")


def _kind(field):
    return getattr(getattr(field, "document_type", None), "__name__", type(field).__name__)


def _sample(sample, fields):
    found = {"path": sample.filepath, "item": sample["camfleet_item"]}
    found["size"] = [sample.metadata.height, sample.metadata.width]
    if prediction := sample["prediction"]:
        found["prediction"] = [prediction.label, prediction.confidence]
    if looked := sample["looked_at"] if "looked_at" in fields else None:
        shapes = looked.detections if fields["looked_at"] == "Detections" else looked.polylines
        found["shapes"] = [_shape(one) for one in shapes]
    if heat := sample["heat"] if "heat" in fields else None:
        found["range"] = list(heat.range)
        found["heat"] = np.asarray(heat.get_map()).tolist()
    return found


def _shape(one):
    places = one.bounding_box if type(one) is fo.Detection else one.points
    return [one.label, one.confidence, places, one["rank"], one["heat"]]


main(*sys.argv[1:])
