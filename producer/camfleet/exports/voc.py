"""Pascal VOC: an XML file for each image.

Corners are those of the development kit: the first and the last pixel, numbered from 1.
"""

from camfleet.exports.files import new_file, split_name, xml
from camfleet.exports.images import Found, Image, Region
from camfleet.exports.writer import NOTICE, Plan
from camfleet.foreign import without_secrets


class Voc:
    """Writes `Annotations/NAME.xml`, the list of names, and the labels."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        with new_file(plan.folder, "labelmap.txt") as file:
            file.write(b"# label:color_rgb:parts:actions\n")
            for label in plan.labels.names:
                file.write(f"{one_line(label)}:::\n".encode())
        self._list = new_file(plan.folder, "ImageSets/Main/default.txt")
        plan.count.files += ["labelmap.txt", "ImageSets/Main/default.txt"]

    def add(self, image: Image) -> None:
        parent, name = split_name(image.name)
        objects = [_object(one, region) for one in image.found for region in one.regions]
        self._plan.count.annotations += len(objects)
        with new_file(self._plan.folder, f"Annotations/{name}.xml") as file:
            file.write(
                f"<annotation>\n  <folder>{xml(parent)}</folder>\n"
                f"  <filename>{xml(image.name)}</filename>\n"
                f"  <source><database>camfleet</database><annotation>{xml(NOTICE)}</annotation>"
                f"<image>{xml(without_secrets(image.uri))}</image></source>\n"
                f"  <size><width>{image.width}</width><height>{image.height}</height>"
                f"<depth>3</depth></size>\n  <segmented>0</segmented>\n"
                f"{''.join(objects)}</annotation>\n".encode()
            )
        self._list.write(f"{one_line(name)}\n".encode())

    def finish(self) -> None:
        self._list.flush()

    def close(self) -> None:
        self._list.close()


def _object(one: Found, region: Region) -> str:
    left, top, width, height = region.box
    attributes = {"score": one.score, "rank": one.rank, "heat": region.heat}
    pairs = "".join(
        f"<attribute><name>{name}</name><value>{value}</value></attribute>"
        for name, value in attributes.items()
        if value is not None
    )
    return (
        f"  <object>\n    <name>{xml(one.label)}</name>\n    <pose>Unspecified</pose>\n"
        "    <truncated>0</truncated>\n    <difficult>0</difficult>\n"
        f"    <bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
        f"<xmax>{left + width}</xmax><ymax>{top + height}</ymax></bndbox>\n"
        f"    <attributes>{pairs}</attributes>\n  </object>\n"
    )


def one_line(text: str) -> str:
    """Return a text for a file of lines: what would end one becomes a space."""
    return " ".join(text.splitlines())
