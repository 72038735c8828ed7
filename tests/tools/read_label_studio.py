"""Run by Label Studio's own SDK: prints the errors it finds in tasks, and the alphas of brushes.

Brushes are by the id of their result, as runs of [alpha, pixels].
"""

import json
import sys
from itertools import groupby
from pathlib import Path

from label_studio_sdk.converter import brush
from label_studio_sdk.label_interface import LabelInterface


def main(config, tasks):
    interface = LabelInterface(Path(config).read_text())
    errors, brushes = [], []
    for task in json.loads(Path(tasks).read_text()):
        for prediction in task["predictions"]:
            errors += interface.validate_prediction(prediction, return_errors=True)
            brushes.append(
                {one["id"]: _alphas(one) for one in prediction["result"] if _is_rle(one)}
            )
    sys.stdout.write(json.dumps({"errors": errors, "brushes": brushes}) + "\n")


def _is_rle(one):
    return one["value"].get("format") == "rle"


def _alphas(one):
    alphas = brush.decode_rle(one["value"]["rle"]).reshape(-1, 4)[:, 3].tolist()
    assert len(alphas) == one["original_width"] * one["original_height"]
    return [[alpha, sum(1 for _ in group)] for alpha, group in groupby(alphas)]


main(*sys.argv[1:])
