"""Model cards: the TOML file that says how a model wants its images and what its classes are."""

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w
from msgspec import Meta

from camfleet.contract.codec import Wire
from camfleet.contract.outputs import Fuse, Precision
from camfleet.contract.records import DIGEST, MODEL_ID
from camfleet.contract.targets import parse_layers
from camfleet.errors import InvalidCard, InvalidRequest, UnknownTarget
from camfleet.registry import card_files
from camfleet.registry.card_errors import explain
from camfleet.registry.model_files import check_model_file

STORED_BYTES = 2**23  # of a card in storage, labels and all

_MOST_PARTS = 32  # of a dotted key: tomllib's time grows with their square
_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.){0,64}+"|'[^'\n]{0,64}+')[ \t]*+\.[ \t]*+"""
_PARTS = re.compile(rf"(?<![\w-])(?:{_PART}){{{_MOST_PARTS}}}")

Id = Annotated[str, Meta(pattern=MODEL_ID)]
Size = Annotated[int, Meta(ge=1, le=8192)]


class Part(Wire, frozen=True, kw_only=True):
    """Base of the card's tables."""


class CardInput(Part, frozen=True, kw_only=True):
    """What the model's input shows of a photograph.

    `decode` "reduced" lets workers decode large JPEGs at 1/2, 1/4 or 1/8 of their size.
    """

    height: Size
    width: Size
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Literal["nearest", "bilinear", "bicubic", "area", "lanczos"] = "bilinear"
    decode: Literal["whole", "reduced"] = "whole"


class Preprocessing(Part, frozen=True, kw_only=True):
    """How 0..255 becomes the model's numbers; `scale` and `offset` only with mode "scale"."""

    mode: Literal["none", "unit", "tf", "caffe", "imagenet", "scale"] = "none"
    scale: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0


class OtherInput(Part, frozen=True, kw_only=True):
    """An input of the model other than the image."""

    default: float | tuple[float, ...]

    @property
    def values(self) -> tuple[float, ...]:
        return self.default if isinstance(self.default, tuple) else (self.default,)


class Golden(Part, frozen=True, kw_only=True):
    """One photograph whose answer is known; checked whenever a worker loads the model."""

    image: str
    class_: str | int = msgspec.field(name="class")
    probability: Annotated[float, Meta(ge=0, le=1)]
    tolerance: Annotated[float, Meta(gt=0, le=1)] = 0.02


class Card(Part, frozen=True, kw_only=True):
    """A model card. In a file, `labels` may name a text file; in storage it's always the list."""

    id: Id
    version: Id = "1"
    artifact: str
    sha256: Annotated[str, Meta(pattern=DIGEST)] | None = None
    input: CardInput
    preprocessing: Preprocessing = Preprocessing()
    labels: tuple[str, ...] | str | None = None
    layer: str | tuple[str, ...] = "auto"
    fuse: Fuse = "mean"
    image_input: str | None = None
    inputs: dict[str, OtherInput] = msgspec.field(default_factory=dict)
    output: str | None = None
    activation: Literal["auto", "softmax", "sigmoid", "given", "none"] = "auto"
    golden: Golden | None = None
    custom_code: tuple[str, ...] = ()
    precision: Precision | None = None  # float32; left out as older versions do: digests stay

    @property
    def label_list(self) -> tuple[str, ...]:
        return self.labels if isinstance(self.labels, tuple) else ()

    @property
    def layer_text(self) -> str:
        """Return the layer as requests name it, several with commas."""
        return self.layer if isinstance(self.layer, str) else ",".join(self.layer)

    @property
    def channels(self) -> int:
        return 1 if self.input.color == "gray" else 3

    def class_name(self, index: int) -> str:
        """Return a class's label, or its number if the card has none."""
        return self.label_list[index] if index < len(self.label_list) else str(index)

    def class_index(self, label: str) -> int:
        """Return the index of a label; raise `UnknownTarget` with the nearest ones."""
        labels = self.label_list
        found = [index for index, known in enumerate(labels) if known == label]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownTarget(
                f"label {label!r} of model {self.id} stands for the classes "
                f"{', '.join(map(str, found))}: use the number"
            )
        if not labels:
            raise UnknownTarget(f"model {self.id} has no labels: use a class index, not {label!r}")
        lower = {known.lower(): known for known in labels}
        close = difflib.get_close_matches(label.lower(), lower, n=3)
        near = [lower[word] for word in close] or list(labels[:3])
        raise UnknownTarget(
            f"model {self.id} has no class {label!r}; there are {len(labels)} labels, such as "
            + ", ".join(map(repr, near))
        )

    def check_index(self, index: int, classes: int = 0) -> None:
        """Raise `UnknownTarget` unless the model has a class of that index."""
        count = classes or len(self.label_list)
        if index >= count:
            raise UnknownTarget(
                f"model {self.id} has no class {index}: it has {count}, from 0 to {count - 1}"
            )


def parse_card(text: str, name: str) -> Card:
    """Return the card in a TOML text; raise `InvalidCard` naming the card and the field."""
    data = _table(text, name)
    try:
        card = msgspec.convert(data, Card)
    except msgspec.ValidationError as error:
        raise InvalidCard(f"card {name}: {explain(str(error), data, Card)}") from error
    _check(card, name)
    return card


def load_card(path: Path) -> Card:
    """Read a card file; a labels file that it names is read too. Raises `InvalidCard`."""
    card = parse_card(_read(path), path.name)
    if isinstance(card.labels, str):
        limit = card_files.LABELS_BYTES
        data = card_files.read_bytes(path.parent, "labels", card.labels, path.name, limit)
        text = card_files.as_text(data, f"labels {card.labels} of card {path.name}")
        card = msgspec.structs.replace(card, labels=_lines(text))
    return card


def said_fields(path: Path) -> frozenset[str]:
    """Return the fields that a card's file names, those of its tables as `table.field`."""
    fields = set()
    for name, value in _table(_read(path), path.name).items():
        fields.add(name)
        if isinstance(value, dict):
            fields.update(f"{name}.{inner}" for inner in value)
    return frozenset(fields)


def artifact_path(card: Card, folder: Path, name: str) -> Path:
    """Return the model file of the card `name` in a folder.

    Raises `InvalidCard` where it isn't below the folder, and `UnsupportedModelFile`.
    """
    path = card_files.locate(folder, "artifact", card.artifact, name)
    check_model_file(path)
    return path


def read_golden(card: Card, folder: Path, name: str) -> bytes | None:
    """Return the golden image's file of the card `name` in a folder; raise `InvalidCard`."""
    if not card.golden:
        return None
    limit = card_files.GOLDEN_BYTES
    return card_files.read_bytes(folder, "golden.image", card.golden.image, name, limit)


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_toml(card: Card) -> bytes:
    """Return the card as canonical TOML: the same card, the same bytes."""
    data = {name: value for name, value in msgspec.to_builtins(card).items() if value is not None}
    return tomli_w.dumps(data).encode()


def card_digest(stored: bytes) -> str:
    return hashlib.sha256(stored).hexdigest()


def _lines(text: str) -> tuple[str, ...]:
    """Return the lines of a text; form feeds and Unicode's separators are a line's own."""
    return tuple(text.removesuffix("\n").split("\n")) if text else ()


def _read(path: Path) -> str:
    return card_files.read_text(path, "card", card_files.CARD_BYTES)


def _table(text: str, name: str) -> dict[str, Any]:
    if long := _PARTS.search(text):
        raise InvalidCard(
            f"card {name} has a key of more than {_MOST_PARTS} parts: {long[0][:40]!r}"
        )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5000 digits
        raise InvalidCard(f"card {name} is not valid TOML: {error}") from error


def _check(card: Card, name: str) -> None:
    for field, path in _paths(card):
        card_files.check_path(field, path, name)
    try:
        parse_layers(card.layer_text)
    except InvalidRequest as error:
        raise InvalidCard(f"card {name}: {error}") from error
    mode = card.preprocessing.mode
    if mode != "scale" and card.preprocessing != Preprocessing(mode=mode):
        raise InvalidCard(
            f'card {name}: preprocessing.scale and offset need preprocessing.mode = "scale", '
            f"not {mode!r}"
        )
    if card.input.decode == "reduced" and card.input.interpolation != "area":
        raise InvalidCard(
            f'card {name}: input.decode = "reduced" needs input.interpolation = "area", not '
            f"{card.input.interpolation!r}, which looks at single pixels of the whole photograph"
        )
    if card.input.color == "gray" and mode in ("caffe", "imagenet"):
        raise InvalidCard(
            f"card {name}: preprocessing {mode!r} is for three channels, input.color is 'gray'"
        )
    for field in ("scale", "offset"):
        value = getattr(card.preprocessing, field)
        if isinstance(value, tuple) and len(value) != card.channels:
            raise InvalidCard(
                f"card {name}: preprocessing.{field} has {len(value)} numbers, "
                f"the input has {card.channels} channels"
            )


def _paths(card: Card) -> Iterator[tuple[str, str]]:
    """Yield the fields of a card that name files, and what they say."""
    yield "artifact", card.artifact
    if isinstance(card.labels, str):
        yield "labels", card.labels
    if card.golden:
        yield "golden.image", card.golden.image
