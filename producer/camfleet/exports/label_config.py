"""Label Studio's label config: read from its XML, or made of a model's labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from camfleet.errors import InvalidRequest
from camfleet.exports.files import xml
from camfleet.exports.labels import read_small
from camfleet.exports.writer import NOTICE, ExportShape

HEAT = "heat"  # the name of the control for the heatmap, and its only label

CONTROLS = {
    "Choices": "Choice",
    "RectangleLabels": "Label",
    "PolygonLabels": "Label",
    "BrushLabels": "Label",
}
OF_SHAPE: dict[ExportShape, str] = {
    "box": "RectangleLabels",
    "polygon": "PolygonLabels",
    "rle": "BrushLabels",
}


@dataclass(frozen=True)
class Control:
    """A control for an image: its name, and the labels it has; none: any."""

    tag: str
    name: str
    labels: frozenset[str]

    @property
    def kind(self) -> str:
        """Return the type of its results."""
        return self.tag.lower()

    def check(self, label: str) -> str:
        """Return the label; raise `InvalidRequest` if the control doesn't have it."""
        if self.labels and label not in self.labels:
            raise InvalidRequest(
                f"the label config's {self.tag} {self.name!r} has no label {label!r}: add it "
                "there, or let --labels FILE give the class a label that it has"
            )
        return label


@dataclass(frozen=True)
class LabelConfig:
    """The image of a label config, and its first control of each kind."""

    image: str  # the name of its tag
    key: str  # of the image in a task's data
    controls: dict[str, Control]  # by tag
    heat: Control | None

    def shape(self) -> ExportShape | None:
        """Return the shape that it has a control for, the first one if it has several."""
        return next((shape for shape, tag in OF_SHAPE.items() if tag in self.controls), None)

    def used(self, shape: ExportShape | None) -> list[Control]:
        """Return the controls that show classes."""
        tags = ("Choices", *([OF_SHAPE[shape]] if shape else []))
        return [self.controls[tag] for tag in tags if tag in self.controls]

    def refuse_lacks(self, shape: ExportShape | None, *, heat: bool) -> None:
        """Raise `InvalidRequest` where it lacks the control for the shape, or for the heat."""
        if heat and not self.heat:
            raise InvalidRequest(
                f'the label config has no <BrushLabels name="{HEAT}"> with the label {HEAT!r}, '
                "which heat needs"
            )
        if shape and OF_SHAPE[shape] not in self.controls:
            raise InvalidRequest(
                f"the label config has no {OF_SHAPE[shape]}, which the shape {shape} needs"
            )


def read_config(path: Path) -> LabelConfig:
    """Return what a file's label config says; raise `InvalidRequest` naming what it lacks."""
    return parse_config(read_small(path), str(path))


def parse_config(data: str | bytes, path: str = "the label config") -> LabelConfig:
    """Return what a label config says; raise `InvalidRequest` naming what it lacks."""
    try:
        root = ET.fromstring(data)  # noqa: S314  # expat bounds entities
    except (ET.ParseError, ValueError, LookupError) as error:
        raise InvalidRequest(f"{path} is not XML: {error}") from error
    images = [tag for tag in root.iter("Image") if tag.get("value", "").startswith("$")]
    if not images or not images[0].get("name"):
        raise InvalidRequest(f'{path} has no <Image name="..." value="$...">')
    image = images[0].get("name", "")
    controls: dict[str, Control] = {}
    heat = None
    for tag in root.iter():
        if tag.tag not in CONTROLS or tag.get("toName") != image or not tag.get("name"):
            continue
        labels = (one.get("alias") or one.get("value") for one in tag.iter(CONTROLS[tag.tag]))
        control = Control(tag.tag, tag.get("name", ""), frozenset(filter(None, labels)))
        if tag.tag == "BrushLabels" and control.name == HEAT:
            heat = control
        else:
            controls.setdefault(tag.tag, control)
    if not controls and not heat:
        raise InvalidRequest(f"{path} has none of {', '.join(CONTROLS)} for the image {image!r}")
    return LabelConfig(image, images[0].get("value", "")[1:], controls, heat)


def made_config(
    labels: Sequence[str], shape: ExportShape | None, *, heat: bool
) -> tuple[str, LabelConfig]:
    """Return a label config for choices, a shape and the heatmap, and its text."""
    tags = ["Choices", *([OF_SHAPE[shape]] if shape else [])]
    lines = [
        "<View>",
        f'  <Header size="6" value="{xml(NOTICE)}"/>',
        '  <Image name="image" value="$image"/>',
    ]
    controls = {}
    for tag in tags:
        controls[tag] = Control(tag, tag.lower(), frozenset(labels))
        lines.append(f'  <{tag} name="{tag.lower()}" toName="image">')
        lines += [f'    <{CONTROLS[tag]} value="{xml(label)}"/>' for label in labels]
        lines.append(f"  </{tag}>")
    hot = Control("BrushLabels", HEAT, frozenset((HEAT,))) if heat else None
    if hot:
        lines.append(f'  <BrushLabels name="{HEAT}" toName="image">')
        lines.append(f'    <Label value="{HEAT}" background="#ff0000"/>')
        lines.append("  </BrushLabels>")
    lines.append("</View>")
    return "\n".join(lines) + "\n", LabelConfig("image", "image", controls, hot)
