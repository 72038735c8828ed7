"""A dataset folder of FiftyOne (`fiftyone.types.FiftyOneDataset`), heatmaps as files beside it.

It's the form of a schema by field names, which FiftyOne's importer takes from metadata without a
version. Places are fractions of the upright image, 0 to 1. See
https://docs.voxel51.com/user_guide/dataset_creation/datasets.html#fiftyonedataset.
"""

from typing import Any

from camfleet.exports.files import JsonList, encode, new_file
from camfleet.exports.images import Found, Image, Region
from camfleet.exports.writer import Plan

_SIDE = 256  # pixels of a heatmap's longest side: the App stretches it over the image
_DOCUMENT = "fiftyone.core.fields.EmbeddedDocumentField"
_PREDICTION, _LOOKED, _HEAT = "prediction", "looked_at", "heat"


class FiftyOne:
    """Writes `metadata.json`, `samples.json` and `fields/heat/00000001.png` and so on.

    The class of the lowest rank is `prediction`, the regions of all are `looked_at`, and the heat
    of the lowest rank, if it's asked for, is `heat`.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        labels = "Polylines" if plan.shape == "polygon" else "Detections"
        fields = {
            "filepath": "fiftyone.core.fields.StringField",
            "tags": "fiftyone.core.fields.ListField(fiftyone.core.fields.StringField)",
            "metadata": f"{_DOCUMENT}(fiftyone.core.metadata.ImageMetadata)",
            _PREDICTION: f"{_DOCUMENT}(fiftyone.core.labels.Classification)",
            "camfleet_item": "fiftyone.core.fields.StringField",
        }
        if plan.shape:
            fields[_LOOKED] = f"{_DOCUMENT}(fiftyone.core.labels.{labels})"
        if plan.heat:
            fields[_HEAT] = f"{_DOCUMENT}(fiftyone.core.labels.Heatmap)"
        info = {
            "description": plan.origin["notice"],
            "default_classes": plan.labels.names,
            **plan.origin,
        }
        metadata = {
            "name": plan.record.job_id,
            "media_type": "image",
            "sample_fields": fields,
            "info": info,
        }
        with new_file(plan.folder, "metadata.json") as file:
            file.write(encode(metadata))
        plan.count.files += ["metadata.json", "samples.json"]
        self._samples = JsonList(self._plan.folder)

    def add(self, image: Image) -> None:
        sample: dict[str, Any] = {
            "filepath": image.place,
            "tags": [],
            "metadata": {"_cls": "ImageMetadata", "width": image.width, "height": image.height},
            "camfleet_item": image.item_id,
        }
        for one in image.found[:1]:
            sample[_PREDICTION] = {"_cls": "Classification", **_label(one)}
            if self._plan.heat and one.heat:
                sample[_HEAT] = self._heat(image, one)
        regions = [(one, region) for one in image.found for region in one.regions]
        self._plan.count.annotations += len(regions) if self._plan.shape else 0
        if self._plan.shape == "polygon":
            lines = [_polyline(image, one, region) for one, region in regions]
            sample[_LOOKED] = {"_cls": "Polylines", "polylines": lines}
        elif self._plan.shape:
            boxes = [_detection(image, one, region) for one, region in regions]
            sample[_LOOKED] = {"_cls": "Detections", "detections": boxes}
        self._samples.add(sample)

    def finish(self) -> None:
        with new_file(self._plan.folder, "samples.json") as file:
            file.write(b'{"samples": ')
            self._samples.write(file)
            file.write(b"}\n")

    def close(self) -> None:
        self._samples.close()

    def _heat(self, image: Image, one: Found) -> dict[str, Any]:
        from camfleet.exports.heat import png

        assert one.heat is not None
        path = f"fields/{_HEAT}/{self._samples.members + 1:08}.png"
        with new_file(self._plan.folder, path) as file:
            file.write(png(image, one.heat, _SIDE))
        return {"_cls": "Heatmap", "tags": [], "map_path": path, "range": [0, 255]}


def _label(one: Found) -> dict[str, Any]:
    return {"tags": [], "label": one.label, "confidence": one.score}


def _detection(image: Image, one: Found, region: Region) -> dict[str, Any]:
    left, top, width, height = region.box
    box = [left / image.width, top / image.height, width / image.width, height / image.height]
    return {"_cls": "Detection", **_label(one), "bounding_box": box, **_more(one, region)}


def _polyline(image: Image, one: Found, region: Region) -> dict[str, Any]:
    points = [
        [
            [x / image.width, y / image.height]
            for x, y in zip(outline[::2], outline[1::2], strict=True)
        ]
        for outline in region.polygon
    ]
    found = {"_cls": "Polyline", **_label(one), "points": points, **_more(one, region)}
    return found | {"closed": True, "filled": True}


def _more(one: Found, region: Region) -> dict[str, Any]:
    return {"attributes": {}, "rank": one.rank, "heat": region.heat}
