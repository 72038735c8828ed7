"""Label Studio's label config: read from its XML, or made of a model's labels."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree as ET

from camfleet.contract.outputs import LONGEST
from camfleet.errors import InvalidRequest
from camfleet.exports.files import xml
from camfleet.exports.image_value import ImageValue
from camfleet.exports.labels import read_small
from camfleet.exports.writer import NOTICE, ExportShape

MOST_CONTROLS = 100  # for an image
HEAT = "heat"  # the name of the control for the heatmap, and its only label

CONTROLS = {
    "Choices": "Choice",
    "RectangleLabels": "Label",
    "PolygonLabels": "Label",
    "BrushLabels": "Label",
}
_NAMED, _SHOWN = 3, 80  # images that a message names, and characters of a name
_TAGS = {name.lower(): name for name in ("Image", *CONTROLS, *CONTROLS.values())}
OF_SHAPE: dict[ExportShape, str] = {
    "box": "RectangleLabels",
    "polygon": "PolygonLabels",
    "rle": "BrushLabels",
}


@dataclass(frozen=True)
class Control:
    """A control for an image: its name, and what it stores for each of its labels; none: for any.

    A label is named by its value or by its alias, and its alias is stored if it has one.
    """

    tag: str
    name: str
    labels: Mapping[str, str]

    @property
    def kind(self) -> str:
        """Return the type of its results."""
        return self.tag.lower()

    def has(self, label: str) -> bool:
        return not self.labels or label in self.labels

    def stored(self, label: str) -> str:
        return self.labels.get(label, label)


@dataclass(frozen=True)
class LabelConfig:
    """The image of a label config, and its controls by tag, in their order."""

    image: str  # the name of its tag
    value: ImageValue
    controls: Mapping[str, tuple[Control, ...]]
    heat: Control | None

    def suiting(self, labels: Collection[str]) -> "LabelConfig":
        """Return it without the controls that have none of the labels: they're for other things.

        Those of a tag stay if there's nothing else to show a class or a shape with: then a label is
        missing, and that's to be said.
        """
        suits = {
            tag: tuple(one for one in controls if any(map(one.has, labels)))
            for tag, controls in self.controls.items()
        }
        others = any(suits.get(tag) for tag in OF_SHAPE.values())
        found = {tag: suits[tag] if suits[tag] or others else self.controls[tag] for tag in suits}
        return replace(self, controls={tag: some for tag, some in found.items() if some})

    def shape(self) -> ExportShape | None:
        """Return the shape that it has a control for, the first one if it has several."""
        return next((shape for shape, tag in OF_SHAPE.items() if tag in self.controls), None)

    def missing(self, shape: ExportShape | None, labels: Iterable[str]) -> dict[str, list[str]]:
        """Return the labels that no control has, by the tags that show classes."""
        tags = ("Choices", *([OF_SHAPE[shape]] if shape else []))
        lacks = {tag: [label for label in labels if not self.has(tag, label)] for tag in tags}
        return {tag: some for tag, some in lacks.items() if some and tag in self.controls}

    def has(self, tag: str, label: str) -> bool:
        return any(control.has(label) for control in self.controls.get(tag, ()))

    def control(self, tag: str, label: str) -> Control:
        """Return the control for a label; raise `InvalidRequest` if none has it."""
        controls = [one for one in self.controls[tag] if one.has(label)]
        listing = [one for one in controls if one.labels]
        if not controls:
            raise InvalidRequest(
                f"the label config's {self.named(tag)} has no label {label!r}: add it there, or "
                "let --labels FILE give the class a label that it has"
            )
        return (listing or controls)[0]

    def named(self, tag: str) -> str:
        """Return a tag and the names of its controls, for messages."""
        return f"{tag} {' or '.join(repr(one.name) for one in self.controls[tag])}"

    def refuse_lacks(self, shape: ExportShape | None, *, heat: bool) -> None:
        """Raise `InvalidRequest` where it lacks the control for the shape, or for the heat."""
        if heat and not (self.heat and self.heat.has(HEAT)):
            raise InvalidRequest(
                f'the label config has no <BrushLabels name="{HEAT}"> with the label {HEAT!r}, '
                "which heat needs"
            )
        if shape and OF_SHAPE[shape] not in self.controls:
            raise InvalidRequest(
                f"the label config has no {OF_SHAPE[shape]} with the model's labels, which the "
                f"shape {shape} needs"
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
    for tag in root.iter():
        tag.tag = _TAGS.get(tag.tag.lower(), tag.tag)  # the editor reads them in any case
    images = {tag.get("name", ""): found for tag in root.iter("Image") if (found := _value(tag))}
    if not images:
        raise InvalidRequest(f'{path} has no <Image name="..." value="$...">{_instead(root)}')
    of: dict[str, list[ET.Element]] = {}  # controls by image
    for tag in root.iter():
        if tag.tag in CONTROLS and _is_used(tag):
            for image in _images(tag):
                of.setdefault(image, []).append(tag)
    own = next((image for image in images if image in of), None)
    if own is None:
        names = " or ".join(repr(name[:_SHOWN]) for name in islice(images, _NAMED))
        raise InvalidRequest(f"{path} has none of {', '.join(CONTROLS)} for the image {names}")
    if len(of[own]) > MOST_CONTROLS:
        raise InvalidRequest(
            f"{path} has {len(of[own])} controls for the image {own[:_SHOWN]!r}: {MOST_CONTROLS} "
            "are the most"
        )
    return _config(own, images[own], of[own])


def _config(image: str, value: ImageValue, tags: Iterable[ET.Element]) -> LabelConfig:
    controls: dict[str, tuple[Control, ...]] = {}
    heat = None
    for tag in tags:
        control = Control(tag.tag, tag.get("name", ""), _labels(tag))
        if tag.tag == "BrushLabels" and control.name == HEAT:
            heat = control
        else:
            controls[tag.tag] = (*controls.get(tag.tag, ()), control)
    return LabelConfig(image, value, controls, heat)


def _value(image: ET.Element) -> ImageValue | None:
    """Return what an image shows of a task; none for several images, for no name, and for nothing.

    What is shown has to be of the task: an image that's the same in all of them is none of theirs.
    """
    value = ImageValue(image.get("value", ""))
    one = value.names and "{{" not in value.text and image.get("name")
    if one and len(value.text) > LONGEST:
        raise InvalidRequest(
            f"an image's value in the label config has {len(value.text)} characters: {LONGEST} "
            "are the most"
        )
    return value if one else None


def _is_used(control: ET.Element) -> bool:
    """Return whether a control is for a whole image: not for each of its regions, or pages.

    Of nested choices the editor has shown no prediction, in either form.
    """
    names = ("perRegion", "perItem", "allowNested")
    return bool(control.get("name")) and "true" not in (
        control.get(name, "").lower() for name in names
    )


def _images(control: ET.Element) -> Iterable[str]:
    return dict.fromkeys(name.strip() for name in control.get("toName", "").split(","))


def _labels(control: ET.Element) -> dict[str, str]:
    """Return what is stored for each name of a label, without choices within others.

    The editor leaves those out.
    """
    found: dict[str, str] = {}
    tags = [control]
    while tags:
        tag = tags.pop()
        if tag.tag == CONTROLS[control.tag]:
            value, alias = tag.get("value", ""), tag.get("alias", "")
            found |= {name: alias or value for name in (value, alias) if name}
        else:
            tags += reversed(tag)
    return found


def _instead(root: ET.Element) -> str:
    """Return what a label config shows, if that isn't an image."""
    if any(tag.get("valueList") or "{{" in tag.get("value", "") for tag in root.iter("Image")):
        return ", but an image of several pages or a repeated one, which camfleet can't explain"
    if fixed := next((tag.get("value") for tag in root.iter("Image") if tag.get("value")), ""):
        return f", but {fixed!r} for all tasks: say $image, or {fixed}$image, with the data's name"
    others = {tag.tag for tag in root.iter() if tag.get("value", "").startswith("$")} - {*CONTROLS}
    return f", but {' and '.join(sorted(others))}: camfleet explains images" if others else ""


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
        controls[tag] = (Control(tag, tag.lower(), {label: label for label in labels}),)
        lines.append(f'  <{tag} name="{tag.lower()}" toName="image">')
        lines += [f'    <{CONTROLS[tag]} value="{xml(label)}"/>' for label in labels]
        lines.append(f"  </{tag}>")
    hot = Control("BrushLabels", HEAT, {HEAT: HEAT}) if heat else None
    if hot:
        lines.append(f'  <BrushLabels name="{HEAT}" toName="image">')
        lines.append(f'    <Label value="{HEAT}" background="#ff0000"/>')
        lines.append("  </BrushLabels>")
    lines.append("</View>")
    return "\n".join(lines) + "\n", LabelConfig("image", ImageValue("$image"), controls, hot)
