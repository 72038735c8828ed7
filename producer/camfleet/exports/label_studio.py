"""Label Studio: tasks with predictions, in files that its import takes.

Places are in percent of the upright image, as its editor shows it. See
https://labelstud.io/guide/predictions for the format.
"""

from collections.abc import Iterator
from typing import Any

from camfleet.errors import InvalidRequest
from camfleet.exports.files import JsonList, new_file
from camfleet.exports.images import Found, Image, Region
from camfleet.exports.label_config import HEAT, OF_SHAPE, Control, LabelConfig, made_config
from camfleet.exports.masks import brush, coco_counts, in_image, rows_in_box
from camfleet.exports.writer import Plan

_MOST_BYTES = 200 * 2**20  # of a file: Label Studio takes 250 MiB


class LabelStudio:
    """Writes `tasks-00001.json` and so on, and without a label config one that suits them.

    A task has one prediction: the class of the lowest rank as a choice, and the regions of all.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        if plan.config is None:
            text, self._config = made_config(plan.labels.names, plan.shape, heat=plan.heat)
            with new_file(plan.folder, "label-config.xml") as file:
                file.write(text.encode())
        else:
            self._config = plan.config
        self._control = self._needed(self._config, plan)
        self._tasks = JsonList()  # last: nobody closes it if something above is refused

    def add(self, image: Image) -> None:
        if self._tasks.members == self._plan.per_file or self._tasks.bytes > _MOST_BYTES:
            self._write()
        results = list(self._results(image))
        prediction: dict[str, Any] = {"model_version": self._plan.version, "result": results}
        scores = [one.score for one in image.found[:1] if one.score is not None]
        if scores:
            prediction["score"] = scores[0]
        data = {self._config.key: image.place, "camfleet_item": image.item_id}
        self._tasks.add({"data": data, "predictions": [prediction] if results else []})

    def finish(self) -> None:
        if self._tasks.members or not self._plan.count.files:
            self._write()

    def close(self) -> None:
        self._tasks.close()

    @staticmethod
    def _needed(config: LabelConfig, plan: Plan) -> Control | None:
        """Return the control for the shape; raise `InvalidRequest` where the config lacks one."""
        if plan.heat and not config.heat:
            raise InvalidRequest(
                f'the label config has no <BrushLabels name="{HEAT}"> with the label {HEAT!r}, '
                "which --heat needs"
            )
        if not plan.shape:
            return None
        tag = OF_SHAPE[plan.shape]
        if tag not in config.controls:
            raise InvalidRequest(f"the label config has no {tag}, which --shape {plan.shape} needs")
        return config.controls[tag]

    def _results(self, image: Image) -> Iterator[dict[str, Any]]:
        choices = self._config.controls.get("Choices")
        for one in image.found[:1]:
            if choices:
                value = {"choices": [choices.check(one.label)]}
                yield self._result("class", choices, one.score) | {"value": value}
        if control := self._control:
            for one in image.found:
                yield from self._regions(control, image, one)
        if self._plan.heat and self._config.heat:
            for one in image.found[:1]:
                if one.heat:
                    yield self._heat(self._config.heat, image, one)

    def _regions(self, control: Control, image: Image, one: Found) -> Iterator[dict[str, Any]]:
        values = (value for region in one.regions for value in self._values(image, region))
        for number, value in enumerate(values):
            self._plan.count.annotations += 1
            found = self._result(f"{one.rank}-{number}", control, one.score) | _sizes(image)
            yield found | {"value": value | {control.kind: [control.check(one.label)]}}

    def _values(self, image: Image, region: Region) -> Iterator[dict[str, Any]]:
        """Yield a region as values: an outline is one of its own."""
        if self._plan.shape == "box":
            yield _rectangle(image, region)
        elif self._plan.shape == "polygon":
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
            control.kind: [control.check(HEAT)],
        }
        return self._result(HEAT, control, one.score) | _sizes(image) | {"value": value}

    def _result(self, name: str, control: Control, score: float | None) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": name,
            "type": control.kind,
            "from_name": control.name,
            "to_name": self._config.image,
            "origin": "prediction",
        }
        return found if score is None else found | {"score": score}

    def _write(self) -> None:
        name = f"tasks-{len(self._plan.count.files) + 1:05}.json"
        with new_file(self._plan.folder, name) as file:
            self._tasks.write(file)
        self._plan.count.files.append(name)
        self._tasks.close()
        self._tasks = JsonList()


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
