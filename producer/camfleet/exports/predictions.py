"""Label Studio's predictions: what was found in an image, in percent of the upright image.

See https://labelstud.io/guide/predictions for the format.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from camfleet.exports.images import Found, Image, Region
from camfleet.exports.label_config import HEAT, OF_SHAPE, Control, LabelConfig
from camfleet.exports.masks import brush, coco_counts, in_image, rows_in_box
from camfleet.exports.writer import ExportShape


@dataclass(frozen=True)
class Predictions:
    """Makes a prediction of an image: the class of the lowest rank, and the regions of all.

    `version` is its `model_version`, which tells it from others of the same task.
    """

    config: LabelConfig
    shape: ExportShape | None
    heat: bool
    version: str

    def of(self, image: Image) -> dict[str, Any] | None:
        """Return the prediction, None where there's nothing to show.

        Raises `InvalidRequest` for a label that the config lacks.
        """
        results = list(self._results(image))
        if not results:
            return None
        prediction: dict[str, Any] = {"model_version": self.version, "result": results}
        scores = [one.score for one in image.found[:1] if one.score is not None]
        return {**prediction, "score": scores[0]} if scores else prediction

    def _results(self, image: Image) -> Iterator[dict[str, Any]]:
        if "Choices" in self.config.controls:
            for one in image.found[:1]:
                control = self.config.control("Choices", one.label)
                value = {"choices": [control.stored(one.label)]}
                yield self._result("class", control, one.score) | {"value": value}
        if self.shape:
            for one in image.found:
                yield from self._regions(OF_SHAPE[self.shape], image, one)
        if self.heat and self.config.heat:
            for one in image.found[:1]:
                if one.heat:
                    yield self._heat(self.config.heat, image, one)

    def _regions(self, tag: str, image: Image, one: Found) -> Iterator[dict[str, Any]]:
        values = (value for region in one.regions for value in self._values(image, region))
        for number, value in enumerate(values):
            control = self.config.control(tag, one.label)
            found = self._result(f"{one.rank}-{number}", control, one.score) | _sizes(image)
            yield found | {"value": value | {control.kind: [control.stored(one.label)]}}

    def _values(self, image: Image, region: Region) -> Iterator[dict[str, Any]]:
        """Yield a region as values: an outline is one of its own."""
        if self.shape == "box":
            yield _rectangle(image, region)
        elif self.shape == "polygon":
            for outline in region.polygon:
                yield {"points": _points(image, outline), "closed": True}
        else:
            yield {"format": "rle", "rle": _mask(image, region)}

    def _heat(self, control: Control, image: Image, one: Found) -> dict[str, Any]:
        from camfleet.exports.heat import brush_levels

        assert one.heat is not None
        runs = brush_levels(image, one.heat)
        value = {
            "format": "rle",
            "rle": brush(runs, image.height * image.width),
            control.kind: [control.stored(HEAT)],
        }
        return self._result(HEAT, control, one.score) | _sizes(image) | {"value": value}

    def _result(self, name: str, control: Control, score: float | None) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": name,
            "type": control.kind,
            "from_name": control.name,
            "to_name": self.config.image,
            "origin": "prediction",
        }
        return found if score is None else found | {"score": score}


def regions_in(prediction: dict[str, Any] | None) -> int:
    """Return how many regions a prediction has: neither its class nor its heat is one."""
    found = prediction["result"] if prediction else ()
    return sum(one["id"] not in ("class", HEAT) for one in found)


def _sizes(image: Image) -> dict[str, Any]:
    return {
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
    }


def _rectangle(image: Image, region: Region) -> dict[str, Any]:
    left, top, width, height = region.box
    return {
        "x": left / image.width * 100,
        "y": top / image.height * 100,
        "width": width / image.width * 100,
        "height": height / image.height * 100,
        "rotation": 0,
    }


def _points(image: Image, outline: tuple[float, ...]) -> list[list[float]]:
    xs, ys = outline[::2], outline[1::2]
    return [[x / image.width * 100, y / image.height * 100] for x, y in zip(xs, ys, strict=True)]


def _mask(image: Image, region: Region) -> list[int]:
    pixels = image.height * image.width
    rows = rows_in_box(coco_counts(region.rle or "", pixels), image.size, region.box)
    return brush(in_image(rows, image.size, region.box), pixels)
