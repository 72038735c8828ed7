"""Sources of a job's images: whatever they are, they become one stream of items."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

from camfleet.contract.codec import decode, encode
from camfleet.contract.columns import parse_boxes, parse_columns
from camfleet.contract.outputs import LONGEST
from camfleet.contract.records import Item
from camfleet.contract.utf8 import check_name, check_word
from camfleet.errors import InvalidRequest
from camfleet.sources import folders, manifests
from camfleet.sources.columns import Columns
from camfleet.sources.left_out import IMAGE_SUFFIXES, LeftOutCounter, summary
from camfleet.storage.storage import Storage
from camfleet.temporary import temporary_folder

_JSON_LINES = "write one JSON object per line, as .jsonl"
_WAYS_OUT = {
    ".json": _JSON_LINES,
    ".ndjson": _JSON_LINES,
    **dict.fromkeys((".tsv", ".xls", ".xlsx"), "save it with commas, as .csv"),
}

_CLOUDS = ("az://", "gs://")

Source: TypeAlias = str | PathLike[str] | Item


def stream(
    source: Source | Iterable[Source],
    storage: Storage,
    on_broken: Callable[[InvalidRequest], None] | None = None,
    *,
    keep: Sequence[str] = (),
    left_out: LeftOutCounter | None = None,
) -> Iterator[Item]:
    """Yield the items of one source or several, in order, with flat memory.

    An `Item` stands for itself; all else is as in `items`. Raises `TypeError` for what is no
    source, and `InvalidRequest` where columns are to be kept and no source has any.
    """
    sources = _Sources(storage, on_broken, Columns(keep), left_out or LeftOutCounter())
    if isinstance(source, str | PathLike | Item):
        return sources.stream([source])
    if not isinstance(source, Iterable) or _is_image(source) or isinstance(source, Mapping):
        raise _no_source(source)
    return sources.stream(source)


def items(
    source: str,
    storage: Storage,
    on_broken: Callable[[InvalidRequest], None] | None = None,
    *,
    keep: Sequence[str] = (),
    left_out: LeftOutCounter | None = None,
) -> Iterator[Item]:
    """Yield the items of one source, in order, with flat memory.

    A source is an image (path or URI), a folder, a glob, `s3://bucket/prefix/`, or a manifest, a
    path or `s3://` URI (.csv, .jsonl or .parquet with `image_uri` and optional `target`, `id`,
    `inputs` and the columns to `keep`; paths in it are relative to its own folder). Raises
    `InvalidRequest` naming source and line; with `on_broken`, a manifest's broken line is passed to
    that instead, and skipped. `left_out` counts the files of folders that aren't taken.
    """
    return _Sources(storage, on_broken, Columns(keep), left_out or LeftOutCounter()).items(source)


class _Sources:
    """Reads sources on the same terms, one after the other."""

    def __init__(
        self,
        storage: Storage,
        on_broken: Callable[[InvalidRequest], None] | None,
        columns: Columns,
        left_out: LeftOutCounter,
    ) -> None:
        self._storage = storage
        self._on_broken = on_broken
        self._columns = columns
        self._left_out = left_out
        self._has_columns = False

    def stream(self, several: Iterable[Source]) -> Iterator[Item]:
        for source in several:
            if isinstance(source, Item):
                self._has_columns = True
                yield _checked(source)
            elif isinstance(source, str | PathLike):
                yield from self.items(fspath(source))
            else:
                raise _no_source(source)
        if self._columns.keep and not self._has_columns:
            raise InvalidRequest(
                f"no source has the column `{self._columns.keep[0]}`, which is to be kept: a "
                "manifest has columns, a folder has none"
            )

    def items(self, source: str) -> Iterator[Item]:
        if not 0 < len(source) <= LONGEST:
            raise InvalidRequest(f"a source has {len(source)} characters, not 1 to {LONGEST}")
        check_name(source)
        path = Path(source)
        _refuse_table(source, path)
        _refuse_cloud(source)
        if _is_manifest(source, path):
            self._has_columns = True
            yield from self._listed(source, path)
        else:
            for uri in self._uris(source, path):
                yield Item(item_id=uri, image_uri=uri, target=None, inputs=None)

    def _listed(self, source: str, path: Path) -> Iterator[Item]:
        terms = self._on_broken, self._columns
        if source.startswith("s3://"):
            with temporary_folder() as own:
                copy = own / f"manifest{path.suffix}"
                self._storage.download(source, fspath(copy))
                yield from manifests.items(copy, source, source.rpartition("/")[0], *terms)
        elif path.is_file():
            with _readable():
                folder = fspath(path.parent.resolve())
                check_name(folder)
                yield from manifests.items(path, source, folder, *terms)
        else:
            raise InvalidRequest(f"{path}: no such manifest")

    def _uris(self, source: str, path: Path) -> Iterator[str]:
        if source.startswith("s3://") and source.endswith("/"):
            yield from self._some(self._below_prefix, source, "below this prefix")
        elif "://" in source:
            yield source
        elif path.is_dir():
            yield from self._some(folders.below_folder, source, "in this folder")
        elif path.is_file():
            uri = f"{os.path.realpath(path.parent).rstrip('/')}/{path.name}"
            check_name(uri)
            yield uri
        else:
            yield from self._some(folders.matching, source, "among what matches")

    def _some(
        self, find: Callable[[str, LeftOutCounter], Iterator[str]], source: str, where: str
    ) -> Iterator[str]:
        """Yield what is found, and count what is left out; raise `InvalidRequest` for nothing."""
        counter, is_empty = LeftOutCounter(), True
        with _readable():
            for uri in find(source, counter):
                is_empty = False
                yield uri
        self._left_out.merge(counter)
        if is_empty:
            rest = summary(counter.kinds())
            raise InvalidRequest(
                f"{source}: no images ({', '.join(IMAGE_SUFFIXES)}) {where}"
                + (f"; left out: {rest}" if rest else "")
            )

    def _below_prefix(self, source: str, counter: LeftOutCounter) -> Iterator[str]:
        bucket, _, prefix = source.removeprefix("s3://").partition("/")
        for key in folders.of_keys(self._storage.keys(source), prefix, counter):
            yield f"s3://{bucket}/{key}"


def _checked(item: Item) -> Item:
    """Return an item as workers get it; raise `InvalidRequest` for one that they couldn't read."""
    parse_boxes(item.boxes)
    parse_columns(item.columns)
    checked = decode(encode(item), Item)
    for name in Item.__struct_fields__:
        check_word(name, getattr(checked, name) or "")
    return checked


def _refuse_table(source: str, path: Path) -> None:
    """Raise `InvalidRequest` for a table that is no manifest, and would be taken for an image."""
    way_out = _WAYS_OUT.get(path.suffix.lower())
    if way_out and _has_files(source) and not path.is_dir():
        raise InvalidRequest(f"{source}: neither an image nor a manifest: {way_out}")


def _refuse_cloud(source: str) -> None:
    """Raise `InvalidRequest` for what would have to be listed or opened in another cloud."""
    if source.startswith(_CLOUDS) and (
        source.endswith("/") or Path(source).suffix.lower() in manifests.SUFFIXES
    ):
        raise InvalidRequest(
            f"{source}: of az:// and gs:// workers read images only: name them one by one, or in a "
            "manifest of your own machine or of s3://"
        )


def _is_image(thing: object) -> bool:
    return isinstance(thing, bytes | bytearray | memoryview) or hasattr(thing, "read")


def _no_source(thing: Any) -> TypeError:
    """Return the error for what is neither a source nor several of them."""
    way_out = "give strings, paths or Items, one or a list"
    if _is_image(thing):
        way_out = "client.upload(...) puts it into the bucket and returns the URI to submit"
    return TypeError(f"source is or holds something of type {type(thing).__name__}: {way_out}")


def _is_manifest(source: str, path: Path) -> bool:
    return _has_files(source) and path.suffix.lower() in manifests.SUFFIXES


def _has_files(source: str) -> bool:
    """Return whether a source's suffix says what it is: that of a web page need not."""
    return (source.startswith("s3://") or "://" not in source) and not source.endswith("/")


@contextmanager
def _readable() -> Iterator[None]:
    """Report a file or folder that can't be read: skipping it would lose images."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"{error.filename or 'the source'}: {error.strerror}") from error
