"""Model cards: the TOML file that says how a model wants its images and what its classes are."""

import difflib
import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import tomli_w
from msgspec import Meta

from camfleet.contract.codec import Wire
from camfleet.contract.outputs import Fuse
from camfleet.contract.targets import parse_layers
from camfleet.errors import InvalidCard, InvalidRequest, UnknownTarget, UnsupportedModelFile
from camfleet.registry.card_errors import explain

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
_WAYS_OUT = {
    "": "a SavedModel folder can't be cut open in Keras 3: convert it with `camfleet models "
    "convert FOLDER model.keras`, or save it again with model.save('model.keras')",
    ".pb": "a SavedModel can't be cut open in Keras 3: convert its folder with `camfleet models "
    "convert FOLDER model.keras`",
    ".tflite": "a TFLite file has no gradients; use the Keras model that it was converted from",
    ".onnx": "ONNX isn't Keras; use the Keras model that it was exported from",
    ".pt": "that is PyTorch; rebuild the network in Keras and save it as .keras",
    ".pth": "that is PyTorch; rebuild the network in Keras and save it as .keras",
    ".json": "that holds an architecture without weights; save the whole model as .keras",
}

_TFJS = (
    "that is a TF.js model; use the Keras model that it was made from, or convert it back with "
    "`tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras model.json "
    "model.h5`"
)

ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Id = Annotated[str, Meta(pattern=ID)]
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
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None
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
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidCard(f"card {name} is not valid TOML: {error}") from error
    try:
        card = msgspec.convert(data, Card)
    except msgspec.ValidationError as error:
        raise InvalidCard(f"card {name}: {explain(str(error), data, Card)}") from error
    _check(card, name)
    return card


def load_card(path: Path) -> Card:
    """Read a card file; a labels file that it names is read too. Raises `InvalidCard`."""
    card = parse_card(_read(path, "card"), path.name)
    if isinstance(card.labels, str):
        text = _read(path.parent / card.labels, f"labels file of card {path.name}")
        card = msgspec.structs.replace(card, labels=_lines(text))
    return card


def check_model_file(path: Path) -> None:
    """Refuse what can't be a Keras model file, with the way out. Raises `UnsupportedModelFile`."""
    if not path.exists():
        raise UnsupportedModelFile(f"{path} does not exist")
    if path.is_file() and path.suffix in MODEL_SUFFIXES:
        return
    raise UnsupportedModelFile(
        f"{path} is not a Keras model file ({', '.join(MODEL_SUFFIXES)}): {_way_out(path)}"
    )


def tfjs_hint(path: Path) -> str:
    """Return the way out for a TF.js model, a folder or its description; "" for anything else."""
    return _TFJS if (path / "model.json").is_file() or _is_tfjs(path) else ""


def _way_out(path: Path) -> str:
    """Return what else a file or folder is, and what to do about it."""
    if hint := tfjs_hint(path):
        return hint
    if (path / "config.json").is_file():
        return "that is an unpacked .keras archive; zip the folder's files into MODEL.keras"
    if path.is_dir():
        return _WAYS_OUT[""]
    plain = "save the model with model.save('model.keras')"
    return _WAYS_OUT.get(path.suffix or ".", plain)


def _is_tfjs(path: Path) -> bool:
    """Return whether a file is the description of a TF.js model."""
    try:
        return path.suffix == ".json" and "weightsManifest" in path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False


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


def _read(path: Path, what: str) -> str:
    """Return a file's text, without a byte order mark and with every line end as a newline."""
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidCard(f"{what} {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidCard(f"{what} {path} can't be read: save it as UTF-8 ({error})") from error


def _check(card: Card, name: str) -> None:
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
