"""CVAT's XML 1.1 of images: tags for classes, and boxes, polygons or masks.

Places are in pixels. A mask's runs go along the rows of its box, zeros first. See
https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/.
"""

from collections.abc import Iterator
from typing import IO

from camfleet.exports.files import new_file, xml
from camfleet.exports.images import Found, Image, Region
from camfleet.exports.masks import coco_counts, cvat_counts, rows_in_box
from camfleet.exports.writer import NOTICE, Plan

_ATTRIBUTES = ("score", "rank", "heat")


class Cvat:
    """Writes `annotations-00001.xml` and so on; the ids of images run through all files."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._file: IO[bytes] | None = None
        self._in_file = self._last = 0

    def add(self, image: Image) -> None:
        if self._file is None or self._in_file == self._plan.per_file:
            self._end()
            self._file = self._begin()
        name, size = xml(image.name), f'width="{image.width}" height="{image.height}"'
        self._file.write(f'  <image id="{self._last}" name="{name}" {size}>\n'.encode())
        for one in image.found:
            self._file.write(f"    <tag {_label(one)}>{_attributes(one)}</tag>\n".encode())
            for region in one.regions if self._plan.shape else ():
                for tag, places in self._shapes(image, region):
                    self._plan.count.annotations += 1
                    attributes = _attributes(one, region)
                    text = f'<{tag} {_label(one)} occluded="0" {places} z_order="{-one.rank}">'
                    self._file.write(f"    {text}{attributes}</{tag}>\n".encode())
        self._file.write(b"  </image>\n")
        self._in_file += 1
        self._last += 1

    def finish(self) -> None:
        if self._file is None:
            self._file = self._begin()
        self._end()

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _begin(self) -> IO[bytes]:
        name = f"annotations-{len(self._plan.count.files) + 1:05}.xml"
        self._plan.count.files.append(name)
        self._in_file = 0
        file = new_file(self._plan.folder, name)
        spec = "".join(
            f"<attribute><name>{one}</name><mutable>False</mutable><input_type>text</input_type>"
            "<default_value></default_value><values></values></attribute>"
            for one in _ATTRIBUTES
        )
        file.write(
            f'<?xml version="1.0" encoding="utf-8"?>\n<!-- {NOTICE} -->\n<annotations>\n'
            f"  <version>1.1</version>\n  <meta><task><name>{xml(self._plan.record.job_id)}</name>"
            f"<source>{xml(self._plan.version)}</source><labels>\n".encode()
        )
        for label in self._plan.labels.names:
            text = f"<label><name>{xml(label)}</name><attributes>{spec}</attributes></label>\n"
            file.write(text.encode())
        file.write(b"  </labels></task></meta>\n")
        return file

    def _end(self) -> None:
        if self._file:
            self._file.write(b"</annotations>\n")
            self._file.close()

    def _shapes(self, image: Image, region: Region) -> Iterator[tuple[str, str]]:
        left, top, width, height = region.box
        if self._plan.shape == "box":
            corners = f'xbr="{left + width}" ybr="{top + height}"'
            yield "box", f'xtl="{left}" ytl="{top}" {corners}'
        elif self._plan.shape == "polygon":
            for outline in region.polygon:
                whole = [int(place) if place.is_integer() else place for place in outline]
                points = ";".join(map("{},{}".format, whole[::2], whole[1::2]))
                yield "polygon", f'points="{points}"'
        else:
            counts = coco_counts(region.rle or "", image.height * image.width)
            rows = rows_in_box(counts, image.size, region.box)
            text = ", ".join(map(str, cvat_counts(rows)))
            place = f'left="{left}" top="{top}" width="{width}" height="{height}"'
            yield "mask", f'rle="{text}" {place}'


def _label(one: Found) -> str:
    return f'label="{xml(one.label)}" source="auto"'


def _attributes(one: Found, region: Region | None = None) -> str:
    values = {"score": one.score, "rank": one.rank, "heat": region and region.heat}
    return "".join(
        f'<attribute name="{name}">{value}</attribute>'
        for name, value in values.items()
        if value is not None
    )
