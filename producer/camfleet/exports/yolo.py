"""YOLO: a text file for each image, with the format of Ultralytics.

See https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/segment/.
Places are fractions of the upright image's width and height, 0 to 1.
"""

from collections.abc import Iterator

from camfleet.exports.files import encode, new_file, split_name
from camfleet.exports.images import Image, Region
from camfleet.exports.voc import one_line
from camfleet.exports.writer import NOTICE, Plan


class Yolo:
    """Writes `labels/NAME.txt`, `train.txt` and `data.yaml`.

    A line is a class's number and a box by its centre, or an outline. The format has no place for
    scores.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        with new_file(plan.folder, "data.yaml") as file:
            file.write(f"# {NOTICE}\npath: .\ntrain: train.txt\nval: train.txt\nnames:\n".encode())
            for number, label in enumerate(plan.labels.names):
                file.write(f"  {number}: ".encode() + encode(label) + b"\n")  # YAML reads JSON
        self._list = new_file(plan.folder, "train.txt")
        plan.count.files += ["data.yaml", "train.txt"]

    def add(self, image: Image) -> None:
        _, name = split_name(image.name)
        with new_file(self._plan.folder, f"labels/{name}.txt") as file:
            for one in image.found:
                number = self._plan.labels.number(one.label)
                for region in one.regions:
                    for places in self._lines(image, region):
                        self._plan.count.annotations += 1
                        text = " ".join(f"{place:.8g}" for place in places)
                        file.write(f"{number} {text}\n".encode())
        self._list.write(f"./images/{one_line(image.name)}\n".encode())

    def finish(self) -> None:
        self._list.flush()

    def close(self) -> None:
        self._list.close()

    def _lines(self, image: Image, region: Region) -> Iterator[list[float]]:
        if self._plan.shape == "polygon":
            sides = image.width, image.height
            for outline in region.polygon:
                yield [place / sides[number % 2] for number, place in enumerate(outline)]
        else:
            left, top, width, height = region.box
            yield [
                (left + width / 2) / image.width,
                (top + height / 2) / image.height,
                width / image.width,
                height / image.height,
            ]
