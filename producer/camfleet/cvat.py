"""A detection function for CVAT, run by `cvat-cli` where it and camfleet are installed.

    cvat-cli task auto-annotate 137 --function-module camfleet.cvat -p model=str:flowers

A worker explains each image that CVAT's SDK hands over; the variables of camfleet say where. See
https://docs.cvat.ai/docs/api_sdk/sdk/auto-annotation/ for what the SDK asks of a function.
"""

import difflib
import io
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk import models
from PIL import Image, ImageOps

from camfleet.client import Client
from camfleet.contract.geometry import Region
from camfleet.contract.results import Result, Status
from camfleet.contract.targets import parse_target
from camfleet.errors import ImageError, InvalidRequest, ServiceError, check_timeout
from camfleet.exports.labels import Labels, classes_of, mapping_of
from camfleet.exports.masks import coco_counts, cvat_counts, rows_in_box
from camfleet.jobs.options import request_fields

PARAMETERS: dict[str, tuple[type, ...]] = {  # the first type is the one to say with -p
    "model": (str,),
    "shape": (str,),
    "tag": (bool,),
    "attributes": (bool,),
    "labels": (str,),
    "target": (str,),
    "method": (str,),
    "layer": (str,),
    "components": (str,),
    "fuse": (str,),
    "precision": (str,),
    "threshold": (float, int, str),
    "timeout": (float, int),
}
SHAPES = {"rectangle": "box", "polygon": "polygon", "mask": "rle", "none": None}
ATTRIBUTES = ("score", "rank", "heat")
_IN_PNG = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")  # modes of Pillow
_TRIES = 3
_LOG = logging.getLogger("cvat_sdk.camfleet")


class Function:
    """What CVAT's SDK calls, image by image; `spec` says which labels it may return."""

    def __init__(
        self,
        client: Client,
        model: str,
        *,
        shape: str = "rectangle",
        tag: bool = False,
        attributes: bool = False,
        labels: str = "",
        timeout: float = 60,
        **options: Any,
    ) -> None:
        """Raise `InvalidRequest` naming the parameter that can't be meant."""
        if shape not in SHAPES:
            raise InvalidRequest(f"shape {shape!r} is none of {', '.join(SHAPES)}")
        if shape == "none" and not tag:
            raise InvalidRequest("shape none without tag leaves nothing to return")
        if shape == "none" and options.keys() & {"threshold", "components"}:
            raise InvalidRequest("threshold and components are for shapes, and shape is none")
        if parse_target(str(options.get("target", "top"))).counter:
            raise InvalidRequest("target not: says what speaks against a class, which is no label")
        self._client, self._model = client, model
        self._shape, self._tag, self._attributes = shape, tag, attributes
        self._timeout, self._options = timeout, options
        check_timeout(timeout)
        request_fields(self._keywords(SHAPES[shape]))
        ref = client.models.find(model)
        classes = classes_of(client.models, ref)
        self._labels = Labels(classes, mapping_of(Path(labels) if labels else {}, classes))
        if not self._labels.names:
            raise InvalidRequest(f"{labels} leaves out every class of {model}: keep some")
        self.spec = cvataa.DetectionFunctionSpec(labels=list(self._label_specs()))

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        """Return tags and shapes; none, and a line in the log, for an image that can't be used."""
        shape = SHAPES[self._shape]
        if shape == "rle" and context.conv_mask_to_poly:
            shape = "polygon"
        try:
            results = self._explained(_png(image), shape)
        except ImageError as error:
            _LOG.warning("%s is left out: %s", context.frame_name, error)
            return []
        return [
            found
            for result in results
            if _reaches(result, context.conf_threshold)
            for found in self._annotations(result, shape)
        ]

    def _label_specs(self) -> Iterator[Any]:
        both = self._tag and self._shape != "none"
        kind = {} if both else {"type": "tag" if self._tag else self._shape}
        names = ATTRIBUTES if self._attributes else ()
        for number, name in enumerate(self._labels.names):
            texts = [cvataa.text_attribute_spec(one, place) for place, one in enumerate(names)]
            yield cvataa.label_spec(name, number, attributes=texts, **kind)

    def _explained(self, data: bytes, shape: str | None) -> tuple[Result, ...]:
        """Return a worker's results; what an outage stops is tried again."""
        for wait in range(1, _TRIES):
            try:
                return self._asked(data, shape)
            except ServiceError as error:
                _LOG.warning("%s; another try in %d s", error, 5 * wait)
                time.sleep(5 * wait)
        return self._asked(data, shape)

    def _asked(self, data: bytes, shape: str | None) -> tuple[Result, ...]:
        options = self._keywords(shape)
        return self._client.explain(data, model=self._model, **options).result(self._timeout)

    def _keywords(self, shape: str | None) -> Any:
        """Return what to ask a worker, as the client's keywords."""
        return {**self._options, **({"shapes": [shape]} if shape else {}), "pictures": []}

    def _annotations(self, result: Result, shape: str | None) -> Iterator[Any]:
        label = self._labels.of(result.class_name) if result.class_name is not None else None
        if label is None:
            return
        number = self._labels.number(label)
        if self._tag:
            yield cvataa.tag(number, attributes=self._values(result))
        regions = result.regions or () if result.status == Status.OK and shape else ()
        for region in regions:
            for made, points in _shapes(result, region, shape):
                yield made(number, points, attributes=self._values(result, region))

    def _values(self, result: Result, region: Region | None = None) -> list[Any]:
        """Return the values of attributes, which CVAT takes as texts only."""
        if not self._attributes:
            return []
        values = (result.probability, result.rank, region and region.heat)
        return [
            models.AttributeValRequest(spec_id=place, value=str(value))
            for place, value in enumerate(values)
            if value is not None
        ]


def create(**parameters: Any) -> Function:
    """Return the function that `cvat-cli` asks for, with the parameters of its `-p`.

    `model` is an id or id@version. `shape` is rectangle, polygon, mask or none; `tag` adds the
    class as a tag; `attributes` adds score, rank and heat, which the task's labels must have as
    text attributes; `labels` is the path of a TOML file of other names. `target`, `method`,
    `layer`, `fuse`, `threshold`, `components` and `precision` are those of `Client.explain`,
    `timeout` seconds to wait.
    Raises `InvalidRequest` naming the parameter that is missing, unknown or of another type.
    """
    _check(parameters)
    return Function(Client.from_environ(), **parameters)


def _check(parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        if name not in PARAMETERS:
            near = difflib.get_close_matches(name, PARAMETERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PARAMETERS)}"
            raise InvalidRequest(f"there is no parameter {name!r}; {hint}")
        kinds = PARAMETERS[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise InvalidRequest(f"{name} is {value!r}: say -p {name}={kinds[0].__name__}:VALUE")
    if not parameters.get("model"):
        raise InvalidRequest("which model: say -p model=str:ID, or ID@VERSION")


def _png(image: Image.Image) -> bytes:
    """Return an image as people see it, without loss; only its colours may be converted."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode not in _IN_PNG:
        upright = upright.convert("RGB")
        upright.info.pop("icc_profile", None)  # of the other colours
    data = io.BytesIO()
    upright.save(data, "PNG", compress_level=1)
    return data.getvalue()


def _reaches(result: Result, threshold: float | None) -> bool:
    """Return whether a class is probable enough; where a model gives no probability, it is."""
    return threshold is None or result.probability is None or result.probability >= threshold


def _shapes(result: Result, region: Region, shape: str | None) -> Iterator[tuple[Any, Any]]:
    """Yield what makes each of a region's shapes, and its points in pixels."""
    box = left, top, width, height = region.left, region.top, region.width, region.height
    if shape == "box":
        yield cvataa.rectangle, [left, top, left + width, top + height]
    elif shape == "polygon":
        for outline in region.polygon or ():
            yield cvataa.polygon, list(outline)
    elif result.geometry:
        size = result.geometry.image_height, result.geometry.image_width
        counts = coco_counts(region.rle or "", size[0] * size[1])
        corners = [left, top, left + width - 1, top + height - 1]
        yield cvataa.mask, cvat_counts(rows_in_box(counts, size, box)) + corners
