"""Run by FiftyOne's own Python: prints what it reads of COCO or YOLO, by the files of images.

Of COCO these are boxes and the masks in them, of YOLO boxes or outlines; all as fractions.
"""

import json
import sys

import fiftyone as fo

KINDS = {
    "coco": (
        fo.types.COCODetectionDataset,
        {"labels_path": "annotations-00001.json", "label_types": "segmentations"},
    ),
    "boxes": (fo.types.YOLOv5Dataset, {"yaml_path": "data.yaml", "split": "train"}),
    "outlines": (
        fo.types.YOLOv5Dataset,
        {"yaml_path": "data.yaml", "split": "train", "label_type": "polylines"},
    ),
}


def main(folder, kind):
    form, options = KINDS[kind]
    if kind == "coco":
        options |= {
            "data_path": f"{folder}/images",
            "labels_path": f"{folder}/{options['labels_path']}",
        }
    dataset = fo.Dataset.from_dir(
        dataset_dir=folder, dataset_type=form, label_field="found", **options
    )
    try:
        found = {sample.filename: _shapes(sample["found"]) for sample in dataset}
    finally:
        dataset.delete()
    sys.stdout.write(json.dumps(found) + "\n")


def _shapes(found):
    if found is None:
        return []
    if isinstance(found, fo.Polylines):
        return [[one.label, one.points] for one in found.polylines]
    return [[one.label, list(one.bounding_box), _mask(one)] for one in found.detections]


def _mask(one):
    return None if one.mask is None else one.mask.astype(int).tolist()


main(*sys.argv[1:])
