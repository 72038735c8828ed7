"""A model as plain data: its configuration and the bytes of its weights, without anything to run.

A confined process makes it of a file that somebody has uploaded. Whoever reads it believes nothing
that it can't check.
"""

import math
import shutil
from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from camfleet.registry.cards import Card, file_digest
from camfleet_worker.arrays import AnyArray
from camfleet_worker.models.split import NO_COSTS, Costs, FileOrigin

_FORM = b"2"  # of these files
_MANIFEST, _CONFIG, _WEIGHTS = "manifest.json", "config.json", "weights.bin"
FILES = (_MANIFEST, _CONFIG, _WEIGHTS)
_MOST_TEXT = 2**26  # bytes of manifest or configuration
_Size = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
_BYTES = {
    "bool": 1,
    **dict.fromkeys(("int8", "uint8", "float8_e4m3fn", "float8_e5m2"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64"), 8),
}

DTYPES = frozenset(_BYTES)  # that a weight may have


class Weight(msgspec.Struct, forbid_unknown_fields=True):
    """A weight's dtype and shape, as they stand in the manifest."""

    dtype: str
    shape: tuple[_Size, ...]

    @property
    def nbytes(self) -> int:
        return _BYTES[self.dtype] * math.prod(self.shape)


class _Manifest(msgspec.Struct, forbid_unknown_fields=True):
    origin: FileOrigin
    weights: list[Weight]
    logits: tuple[_Size, _Size]  # the shape of the last array
    costs: Costs
    digests: dict[str, str]  # of the other files


class PlainModel(NamedTuple):
    """A model's configuration and weights, each weight as its bytes (uint8), to go through once.

    `logits` (B, classes) is what it answered to the images that every model is tried on, before it
    was taken apart, `costs` what memory that took.
    """

    origin: FileOrigin
    config: Any
    weights: Iterable[tuple[Weight, AnyArray]]
    logits: AnyArray
    costs: Costs = NO_COSTS


def place(folder: Path, card: Card) -> Path:
    """Return the folder of a card's plain model; its name covers all that it depends on."""
    versions = (version(name).encode() for name in ("keras", "camfleet"))
    parts = (msgspec.json.encode(card), *versions, _FORM)
    return folder / f"plain-{sha256(b'|'.join(parts)).hexdigest()[:16]}"


def write(folder: Path, model: PlainModel) -> None:
    """Write a model into a new folder."""
    folder.mkdir()
    (folder / _CONFIG).write_bytes(msgspec.json.encode(model.config))
    logits = np.ascontiguousarray(model.logits, np.float32)
    weights = []
    with (folder / _WEIGHTS).open("wb") as file:
        for weight, content in model.weights:
            weights.append(weight)
            file.write(content.data)
        file.write(logits.data)
    digests = {name: file_digest(folder / name) for name in (_CONFIG, _WEIGHTS)}
    manifest = _Manifest(model.origin, weights, logits.shape, model.costs, digests)
    (folder / _MANIFEST).write_bytes(msgspec.json.encode(manifest))


def read(folder: Path) -> PlainModel | None:
    """Return the model in a folder, its weights mapped into memory; None if there's no folder.

    Raises `ValueError` or `OSError` where it isn't what `write` writes.
    """
    if not folder.is_dir():
        return None
    manifest = msgspec.json.decode(_text(folder / _MANIFEST), type=_Manifest)
    for name in (_CONFIG, _WEIGHTS):
        if file_digest(folder / name) != manifest.digests.get(name):
            raise ValueError(f"{name} isn't what the manifest says")
    config = msgspec.json.decode(_text(folder / _CONFIG))
    if min(manifest.costs) < 0:
        raise ValueError("a model doesn't take less than no memory")
    unknown = {weight.dtype for weight in manifest.weights} - DTYPES
    if unknown:
        raise ValueError(f"weights have the types {unknown}")
    content = np.memmap(folder / _WEIGHTS, np.uint8, "r")
    lengths = [weight.nbytes for weight in manifest.weights]
    if sum(lengths) + 4 * math.prod(manifest.logits) != len(content):
        raise ValueError("the weights aren't as many as the manifest says")
    ends = np.cumsum([0, *lengths], dtype=np.int64)
    pieces = [content[start:end] for start, end in pairwise(ends)]
    logits = np.array(content[ends[-1] :]).view(np.float32).reshape(manifest.logits)
    weights = list(zip(manifest.weights, pieces, strict=True))
    return PlainModel(manifest.origin, config, weights, logits, manifest.costs)


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _text(path: Path) -> bytes:
    if path.stat().st_size > _MOST_TEXT:
        raise ValueError(f"{path.name} has more than {_MOST_TEXT} bytes")
    return path.read_bytes()
