"""Which rows of a job are studied: a sample that is the same whatever the order of its parts."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa

from camfleet.audit.hashes import hashes
from camfleet.audit.heat import Flags
from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.contract.studies import Study, StudyRequest
from camfleet.results.query import Selection
from camfleet.results.read import read_parts
from camfleet.storage.storage import Storage

_NAMES = ("item_id", "image_uri", "rank")  # what a row's hash is made of
_ASKED = 8  # rows in one request, so that it ends soon and many workers share them


class Chosen(NamedTuple):
    """A row: its part, the sha256 of the part's bytes, its number in it, and its columns."""

    chunk: ChunkRef
    digest: str
    row: int
    columns: dict[str, Any]


def choose(
    record: JobRecord,
    storage: Storage,
    model: int,
    count: int,
    *,
    columns: Sequence[str],
    wanted: Callable[[pa.Table], Flags],
    on_part: Callable[[int], object] = lambda _count: None,
    on_digest: Callable[[ChunkRef, str], object] = lambda _ref, _digest: None,
) -> list[Chosen]:
    """Return `count` rows of a model, or all if there are fewer: those with the smallest hashes.

    They come in the order of the results. `wanted` says of a table of `columns`, (N,), which rows
    may be chosen; what else it counts is its own business. `on_digest` is told the sha256 of each
    part's bytes. Memory is flat; parts that aren't there
    are passed over. Raises `ObjectDamaged` naming a part.
    """
    ref = record.models[model]
    selection = Selection.of(record, [*_NAMES, *columns], {"model": f"{ref.id}@{ref.version}"})
    found: list[tuple[int, ChunkRef, str, int, dict[str, Any]]] = []
    with closing(read_parts(record, storage, selection, numbered=True)) as parts:
        for part in parts:
            if part.table is not None and part.ref.model == model:
                on_digest(part.ref, part.digest)
                found += _smallest(part.table, wanted(part.table), part, count)
                found = heapq.nsmallest(count, found, key=lambda one: (one[0], _place(*one)))
            on_part(1)
    return [Chosen(*one[1:]) for one in sorted(found, key=lambda one: _place(*one))]


def _smallest(table: pa.Table, wanted: Flags, part: Any, count: int) -> Iterator[Any]:
    """Yield the rows of a part that may be among the chosen ones, with their hashes."""
    places = wanted.nonzero()[0].tolist()
    if not places:
        return
    rows = table.take(places)
    names = zip(*(rows[name].to_pylist() for name in _NAMES), strict=True)
    marks = hashes([f"{item}\n{image}\n{rank}" for item, image, rank in names])
    best = sorted(marks.argsort(kind="stable")[:count].tolist())
    for at, columns in zip(best, rows.take(best).to_pylist(), strict=True):
        yield int(marks[at]), part.ref, part.digest, part.numbers[places[at]], columns


def _place(_mark: int, chunk: ChunkRef, _digest: str, row: int, _columns: Any) -> tuple[int, int]:
    return chunk.part, row


def requests(chosen: Iterable[Chosen], study: Study) -> list[StudyRequest]:
    """Return the requests for a study of chosen rows, in their order, some rows of a part each."""
    made = []
    for (chunk, digest), rows in groupby(chosen, key=lambda one: (one.chunk, one.digest)):
        numbers = [one.row for one in rows]
        made += [
            StudyRequest(
                chunk=chunk,
                digest=digest,
                study=study,
                rows=tuple(numbers[first : first + _ASKED]),
            )
            for first in range(0, len(numbers), _ASKED)
        ]
    return made
