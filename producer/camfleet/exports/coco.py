"""COCO: a file of images, categories and annotations, or the list of results of an evaluation.

The format is that of https://cocodataset.org/#format-data and #format-results. A box is x, y,
width, height in pixels, run lengths go down the columns.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from camfleet.errors import InvalidRequest
from camfleet.exports.files import JsonList, encode, new_file
from camfleet.exports.images import Found, Image, Region
from camfleet.exports.labels import read_small
from camfleet.exports.masks import coco_counts
from camfleet.exports.writer import Plan
from camfleet.foreign import without_secrets

_MOST_TRUTH = 2**30  # bytes of a file of the ground truth


class Coco:
    """Writes `annotations-00001.json` and so on, each with all categories.

    Ids run from 1 through all files; a category's is its label's number + 1.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._images, self._annotations = self._lists()
        self._last_image = self._last_annotation = 0

    def add(self, image: Image) -> None:
        if self._images.members == self._plan.per_file:
            self._write()
        self._last_image += 1
        self._images.add(
            {
                "id": self._last_image,
                "file_name": image.name,
                "width": image.width,
                "height": image.height,
                "camfleet_uri": without_secrets(image.uri),
                "camfleet_classes": [
                    {"name": one.label, "rank": one.rank, "score": one.score} for one in image.found
                ],
            }
        )
        for one in image.found if self._plan.shape else ():
            for region in one.regions:
                self._annotations.add(self._annotation(image, one, region))

    def finish(self) -> None:
        if self._images.members or not self._plan.count.files:
            self._write()

    def close(self) -> None:
        self._images.close()
        self._annotations.close()

    def _lists(self) -> tuple[JsonList, JsonList]:
        return JsonList(self._plan.folder), JsonList(self._plan.folder)

    def _annotation(self, image: Image, one: Found, region: Region) -> dict[str, Any]:
        self._last_annotation += 1
        self._plan.count.annotations += 1
        found = {
            "id": self._last_annotation,
            "image_id": self._last_image,
            "category_id": self._plan.labels.number(one.label) + 1,
            "bbox": region.box,
            "area": region.area,
            "iscrowd": 0,
            "segmentation": _segmentation(self._plan, image, region),
            "attributes": {"rank": one.rank, "heat": region.heat, "where": "the model looked"},
        }
        return found if one.score is None else found | {"score": one.score}

    def _write(self) -> None:
        plan = self._plan
        name = f"annotations-{len(plan.count.files) + 1:05}.json"
        categories = [
            {"id": number, "name": label, "supercategory": ""}
            for number, label in enumerate(plan.labels.names, 1)
        ]
        info = {"description": plan.origin["notice"], "contributor": "camfleet", **plan.origin}
        with new_file(plan.folder, name) as file:
            file.write(b'{"info": ' + encode(info) + b',\n"licenses": [],\n"categories": ')
            file.write(encode(categories))
            for key, members in (("images", self._images), ("annotations", self._annotations)):
                file.write(f',\n"{key}": '.encode())
                members.write(file)
            file.write(b"}\n")
        plan.count.files.append(name)
        self.close()
        self._images, self._annotations = self._lists()


class CocoResults:
    """Writes `results-00001.json` and so on: boxes, or masks, with scores, for an evaluation.

    The ids are those of the ground truth that `truth` read, else those that `Coco` writes of the
    same rows.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._results = JsonList(self._plan.folder)
        self._in_file = self._last_image = 0

    def add(self, image: Image) -> None:
        if self._in_file == self._plan.per_file:
            self._write()
        self._in_file += 1
        self._last_image += 1
        for one in image.found:
            if one.score is None:
                raise InvalidRequest(
                    f"model {self._plan.model.id} gives no probabilities, and results need a score"
                )
            for region in one.regions:
                self._results.add(self._result(image, one, region))

    def finish(self) -> None:
        if self._in_file or not self._plan.count.files:
            self._write()

    def close(self) -> None:
        self._results.close()

    def _result(self, image: Image, one: Found, region: Region) -> dict[str, Any]:
        self._plan.count.annotations += 1
        image_id, category = self._ids(image, one.label)
        found = {
            "image_id": image_id,
            "category_id": category,
            "bbox": region.box,
            "score": one.score,
        }
        if self._plan.shape == "rle":
            found["segmentation"] = _segmentation(self._plan, image, region)
        return found

    def _ids(self, image: Image, label: str) -> tuple[int, int]:
        truth = self._plan.config
        if truth is None:
            return self._last_image, self._plan.labels.number(label) + 1
        images, categories = truth
        if image.name not in images:
            raise InvalidRequest(
                f"the file of --config has no image {image.name!r}: --root makes names match"
            )
        if label not in categories:
            raise InvalidRequest(
                f"the file of --config has no category {label!r}: --labels FILE gives it a name "
                "that it has"
            )
        return images[image.name], categories[label]

    def _write(self) -> None:
        name = f"results-{len(self._plan.count.files) + 1:05}.json"
        with new_file(self._plan.folder, name) as file:
            self._results.write(file)
        self._plan.count.files.append(name)
        self._results.close()
        self._results, self._in_file = JsonList(self._plan.folder), 0


def truth(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return the ids of images by file name and of categories by name, of a COCO file."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        data = json.loads(read_small(path, _MOST_TRUTH))
        images = {str(one["file_name"]): int(one["id"]) for one in data["images"]}
        categories = {str(one["name"]): int(one["id"]) for one in data["categories"]}
        return images, categories
    raise InvalidRequest(f"{path} is not a COCO file with images and categories")


def _segmentation(plan: Plan, image: Image, region: Region) -> Any:
    if plan.shape == "polygon":
        return region.polygon
    if plan.shape != "rle":
        return []
    coco_counts(region.rle or "", image.height * image.width)  # a tool might crash at another
    return {"size": image.size, "counts": region.rle}
