"""Converted models as one object: an index in JSON, its signature, and the files one by one.

The first line is the index, the second the signature of the first or nothing, and then follow the
bytes of the files that the index lists. Nothing in it names a place: the reader knows which files
there may be, and gives them their names.
"""

import os
import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import IO, Annotated

import msgspec
from msgspec import Meta

from camfleet.contract.codec import Wire, decode_json
from camfleet.errors import InvalidRequest
from camfleet.registry.cards import file_digest
from camfleet_worker.models.converted.signing import Signer

INDEX = "index"  # the file that keeps index and signature of an unpacked container
_FORM = 1
_LINE = 2**16  # bytes
_PIECE = 2**20


class Refused(Exception):
    """A container isn't what it should be. Never leaves `models`."""


class Origin(Wire, frozen=True, kw_only=True):
    """What a converted model was made from: the model's digest, the layer, and by which versions.

    It is signed with the files, so that no other model's container can take this one's place.
    """

    digest: str
    layer: str
    versions: dict[str, str]


class _File(Wire, frozen=True, kw_only=True):
    name: str
    size: Annotated[int, Meta(ge=0)]
    sha256: str


class _Index(Wire, frozen=True, kw_only=True):
    form: int
    origin: Origin
    files: tuple[_File, ...]


def pack(folder: Path, names: Iterable[str], path: Path, origin: Origin, signer: Signer) -> None:
    """Write the files of a folder to a container at `path`."""
    files = [folder / name for name in names]
    index = _Index(
        form=_FORM,
        origin=origin,
        files=tuple(
            _File(name=file.name, size=file.stat().st_size, sha256=file_digest(file))
            for file in files
        ),
    )
    line = msgspec.json.encode(index)
    with path.open("wb") as target:
        target.write(b"%b\n%b\n" % (line, signer.sign(line).encode()))
        for file in files:
            with file.open("rb") as source:
                shutil.copyfileobj(source, target, _PIECE)


def unpack(
    path: Path, folder: Path, sets: Iterable[set[str]], origin: Origin, signer: Signer
) -> None:
    """Write the files of a container into a new folder, if they are one of the `sets`.

    Raises `Refused` unless the container is whole, of this origin and, with a key, signed.
    """
    with path.open("rb") as source:
        head = _head(source)
        index = _read(head, signer)
        if index.origin != origin:
            raise Refused("it's of another model, layer or version")
        names = [file.name for file in index.files]
        if len(set(names)) != len(names) or set(names) not in sets:
            raise Refused(f"it holds the files {', '.join(names)[:200]!r}")
        rest = os.fstat(source.fileno()).st_size - source.tell()
        if sum(file.size for file in index.files) != rest:
            raise Refused("its files aren't as long as it says")
        folder.mkdir()
        for file in index.files:
            _extract(source, file, folder / file.name)
    (folder / INDEX).write_bytes(head)


def is_accepted(folder: Path, signer: Signer) -> bool:
    """Return whether a folder was made on this machine, or its container was signed by a key."""
    try:
        with (folder / INDEX).open("rb") as file:
            _read(_head(file), signer)
    except FileNotFoundError:
        return True
    except Refused:
        return False
    return True


def _head(source: IO[bytes]) -> bytes:
    return source.readline(_LINE) + source.readline(_LINE)


def _read(head: bytes, signer: Signer) -> _Index:
    """Return the index, once its signature is verified; raise `Refused`."""
    line, _, signature = head.removesuffix(b"\n").partition(b"\n")
    if not signer.accepts(line, signature.decode(errors="replace")):
        raise Refused(
            "no key of CAMFLEET_SIGNING_KEY has signed it" if signature else "it isn't signed"
        )
    try:
        index = decode_json(line, _Index)
    except InvalidRequest as error:
        raise Refused(f"it has no index: {error}") from error
    if index.form != _FORM:
        raise Refused(f"it's of form {index.form}, which this version doesn't know")
    return index


def _extract(source: IO[bytes], file: _File, path: Path) -> None:
    left, found = file.size, sha256()
    with path.open("xb") as target:
        while left and (piece := source.read(min(left, _PIECE))):
            target.write(piece)
            found.update(piece)
            left -= len(piece)
    if left or found.hexdigest() != file.sha256:
        raise Refused(f"its file {file.name} isn't what was written")
