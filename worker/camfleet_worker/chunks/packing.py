"""A chunk's pictures as ZIP files in the bucket: uncompressed, so that each is a range of its file.

The same pictures give the same bytes, whoever packs them, and a file's key holds its digest. So
a chunk that runs twice overwrites its pack with itself, or writes another one beside, and the rows
that are kept always name the pack that was made with them.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

from msgspec.structs import asdict, replace

from camfleet.contract.results import Pack, Result, Span
from camfleet.jobstore import keys, picture_names
from camfleet.temporary import temporary_folder
from camfleet_worker.chunks.run import ChunkRun
from camfleet_worker.pipeline.spool import IN_MEMORY, Spool, in_temporary_folder

MOST_BYTES = 2_000_000_000  # of pictures: a row's numbers have 31 bits
MOST_ENTRIES = 60_000  # a ZIP file of more than 65,534 needs another format
_TYPE = "application/zip"
_PLAIN_FILE = 0o100644 << 16  # the attributes that Unix keeps in a ZIP file
_UNIX = 3


def pack(
    run: ChunkRun, rows: Sequence[Result], places: Sequence[int], spool: Spool
) -> list[Result]:
    """Write the pictures of rows into the bucket; return the rows with where they lie.

    The rows' pictures wait in `spool`, where their `pack` says. `places` are those of the rows'
    images within the chunk.
    """
    names = _names(run, rows, places)
    packed: list[Result] = []
    for part in _parts(rows):
        some = [next(names) for _ in part]
        packed += run.insist(partial(_store, run, part, some, spool))
    return packed


def _names(run: ChunkRun, rows: Sequence[Result], places: Sequence[int]) -> Iterator[str]:
    """Yield the name that a row's pictures begin with: the image's number in the job comes first.

    Sorted, they're in the order of the rows, and no two of a job are the same.
    """
    numbers = iter(places)
    first, number = run.ref.part * run.record.chunk_size, 0
    for row in rows:
        if row.rank == 0:
            number = first + next(numbers)
        words = asdict(row)
        yield "-".join(
            [f"{number:08d}", picture_names.of_image(words), *picture_names.of_row(words)]
        )


def _parts(rows: Sequence[Result]) -> Iterator[list[Result]]:
    """Yield the rows in as few lists as there must be files."""
    part: list[Result] = []
    size = entries = 0
    for row in rows:
        spans = _spans(row.pack)
        more = sum(span.length for span in spans.values())
        if part and (size + more > MOST_BYTES or entries + len(spans) > MOST_ENTRIES):
            yield part
            part, size, entries = [], 0, 0
        part.append(row)
        size, entries = size + more, entries + len(spans)
    if part:
        yield part


def _store(
    run: ChunkRun, rows: Sequence[Result], names: Sequence[str], spool: Spool
) -> list[Result]:
    """Write one file and return its rows."""
    pictures = [_spans(row.pack) for row in rows]
    size = sum(span.length for spans in pictures for span in spans.values())
    if not size:
        return list(rows)
    with in_temporary_folder(), _file(size) as file:
        places = iter(write(file, _entries(names, pictures, spool)))
        file.seek(0)
        key = keys.pack(run.record, run.ref, hashlib.file_digest(file, "sha256").hexdigest())
        uri = _put(run, key, file)
    return [
        replace(row, pack=Pack(uri=uri, **{kind: next(places) for kind in spans})) if spans else row
        for row, spans in zip(rows, pictures, strict=True)
    ]


def write(file: IO[bytes], entries: Iterable[tuple[str, bytes]]) -> list[Span]:
    """Write named pictures as a ZIP file; return where each one's own bytes lie."""
    spans = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name, data in entries:
            entry = zipfile.ZipInfo(name)  # of 1980: the time would change the bytes
            entry.create_system, entry.external_attr = _UNIX, _PLAIN_FILE
            archive.writestr(entry, data)
            spans.append(Span(offset=file.tell() - len(data), length=len(data)))
    return spans


def _entries(
    names: Sequence[str], pictures: Sequence[Mapping[str, Span]], spool: Spool
) -> Iterator[tuple[str, bytes]]:
    for name, spans in zip(names, pictures, strict=True):
        for kind, span in spans.items():
            yield name + keys.PICTURES[kind][0], spool.read(span)


@contextmanager
def _file(size: int) -> Iterator[Any]:
    """Give an empty file for pictures of so many bytes: in memory, if they're few."""
    if size <= IN_MEMORY:
        yield io.BytesIO()
        return
    with temporary_folder() as folder, (folder / "pictures.zip").open("w+b") as file:
        yield file


def _put(run: ChunkRun, key: str, file: Any) -> str:
    if isinstance(file, io.BytesIO):
        return run.stores.storage.put(key, file.getvalue(), _TYPE)
    file.flush()
    return run.stores.storage.upload(key, file.name, _TYPE)


def _spans(pack: Pack | None) -> dict[str, Span]:
    """Return where a row's pictures lie, by kind."""
    spans = ((kind, getattr(pack, kind, None)) for kind in keys.PICTURES)
    return {kind: span for kind, span in spans if span}
