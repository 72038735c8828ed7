"""Sources of a job's images: whatever they are, they become one stream of items."""

import glob
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath, walk
from pathlib import Path
from typing import Any, TypeAlias

from camfleet.contract.codec import decode, encode
from camfleet.contract.outputs import LONGEST
from camfleet.contract.records import Item
from camfleet.errors import InvalidRequest
from camfleet.sources import manifests
from camfleet.storage.storage import Storage

Source: TypeAlias = str | PathLike[str] | Item

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def stream(
    source: Source | Iterable[Source],
    storage: Storage,
    on_broken: Callable[[InvalidRequest], None] | None = None,
) -> Iterator[Item]:
    """Yield the items of one source or several, in order, with flat memory.

    An `Item` stands for itself; all else is as in `items`. Raises `TypeError` for what is no
    source.
    """
    if isinstance(source, str | PathLike | Item):
        return _stream([source], storage, on_broken)
    if not isinstance(source, Iterable) or _is_image(source) or isinstance(source, Mapping):
        raise _no_source(source)
    return _stream(source, storage, on_broken)


def _stream(
    several: Iterable[Source],
    storage: Storage,
    on_broken: Callable[[InvalidRequest], None] | None,
) -> Iterator[Item]:
    for source in several:
        if isinstance(source, Item):
            yield decode(encode(source), Item)
        elif isinstance(source, str | PathLike):
            yield from items(fspath(source), storage, on_broken)
        else:
            raise _no_source(source)


def _is_image(thing: object) -> bool:
    return isinstance(thing, bytes | bytearray | memoryview) or hasattr(thing, "read")


def _no_source(thing: Any) -> TypeError:
    """Return the error for what is neither a source nor several of them."""
    way_out = "give strings, paths or Items, one or a list"
    if _is_image(thing):
        way_out = "client.upload(...) puts it into the bucket and returns the URI to submit"
    return TypeError(f"source is or holds something of type {type(thing).__name__}: {way_out}")


def items(
    source: str,
    storage: Storage,
    on_broken: Callable[[InvalidRequest], None] | None = None,
) -> Iterator[Item]:
    """Yield the items of one source, in order, with flat memory.

    A source is an image (path or URI), a folder, a glob, `s3://bucket/prefix/`, or a manifest, a
    path or `s3://` URI (.csv, .jsonl or .parquet with `image_uri` and optional `target`, `id` and
    `inputs`; paths in it are relative to its own folder). Raises `InvalidRequest` naming source
    and line; with `on_broken`, a manifest's broken line is passed to that instead, and skipped.
    """
    if not 0 < len(source) <= LONGEST:
        raise InvalidRequest(f"a source has {len(source)} characters, not 1 to {LONGEST}")
    path = Path(source)
    if _is_manifest(source, path):
        yield from _listed(source, path, storage, on_broken)
    else:
        for uri in _uris(source, path, storage):
            yield Item(item_id=uri, image_uri=uri, target=None, inputs=None)


def _is_manifest(source: str, path: Path) -> bool:
    place = source.startswith("s3://") or "://" not in source
    return place and path.suffix.lower() in manifests.SUFFIXES and not source.endswith("/")


def _listed(
    source: str, path: Path, storage: Storage, on_broken: Callable[[InvalidRequest], None] | None
) -> Iterator[Item]:
    if source.startswith("s3://"):
        with tempfile.TemporaryDirectory(prefix="camfleet-") as folder:
            copy = Path(folder, f"manifest{path.suffix}")
            storage.download(source, fspath(copy))
            yield from manifests.items(copy, source, source.rpartition("/")[0], on_broken)
    elif path.is_file():
        with _readable():
            yield from manifests.items(path, source, fspath(path.parent.resolve()), on_broken)
    else:
        raise InvalidRequest(f"{path}: no such manifest")


def _uris(source: str, path: Path, storage: Storage) -> Iterator[str]:
    if source.startswith("s3://") and source.endswith("/"):
        yield from _below_prefix(source, storage)
    elif "://" in source:
        yield source
    elif path.is_dir():
        yield from _below_folder(path)
    elif path.is_file():
        yield fspath(path.resolve())
    else:
        yield from _matching(source)


def _below_prefix(source: str, storage: Storage) -> Iterator[str]:
    bucket = source.removeprefix("s3://").partition("/")[0]
    count = 0
    for key in storage.keys(source):
        if key.lower().endswith(IMAGE_SUFFIXES):
            count += 1
            yield f"s3://{bucket}/{key}"
    if not count:
        raise InvalidRequest(f"{source}: no images ({', '.join(IMAGE_SUFFIXES)}) below this prefix")


def _below_folder(folder: Path) -> Iterator[str]:
    count = 0
    with _readable():
        for parent, folders, files in walk(folder.resolve(), onerror=_raise):
            folders.sort()
            for name in sorted(files):
                if name.lower().endswith(IMAGE_SUFFIXES):
                    count += 1
                    yield fspath(Path(parent, name))
    if not count:
        raise InvalidRequest(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) in this folder")


def _matching(pattern: str) -> Iterator[str]:
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # the pattern may be absolute
    if not found:
        kind = "nothing matches" if glob.has_magic(pattern) else "no such file or folder"
        raise InvalidRequest(f"{pattern}: {kind}")
    for name in found:
        if Path(name).is_file():
            yield fspath(Path(name).resolve())


@contextmanager
def _readable() -> Iterator[None]:
    """Report a file or folder that can't be read: skipping it would lose images."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"{error.filename or 'the source'}: {error.strerror}") from error


def _raise(error: OSError) -> None:
    raise error
