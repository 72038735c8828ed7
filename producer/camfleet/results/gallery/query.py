"""Which rows of a gallery are wanted, in which order, and how they spread."""

from collections.abc import Iterator
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.results.gallery.document import OTHER, STATUSES
from camfleet.results.gallery.read import Gallery, name_of
from camfleet.results.gallery.wanted import BINS, MOST_FACETS, Count, Facets, Sort, Wanted


class Found:
    """The wanted rows of a gallery, in order."""

    def __init__(self, gallery: Gallery, wanted: Wanted, sort: Sort | None) -> None:
        mask = _mask(gallery, wanted)
        self._gallery = gallery
        self._order, self._descending = None, False
        if sort:
            name = sort.removeprefix("-")
            self._order = gallery.view(f"by_{name}")
            self._descending = sort.startswith("-")
            mask = None if mask is None else _in_order(mask, gallery.values(f"by_{name}"))
        self._hits = None if mask is None else pc.indices_nonzero(mask)
        self.rows = gallery.head.rows if self._hits is None else len(self._hits)
        self._valued = self._count_valued(sort) if self._descending else 0

    def page(self, first: int, limit: int) -> list[int]:
        """Return the numbers of up to `limit` rows from the `first` on."""
        places = range(first, min(first + limit, self.rows))
        return [self._row(place) for place in places]

    def _count_valued(self, sort: Sort | None) -> int:
        """Return how many of the rows have a value of the column that sorts: they come first."""
        valued = self._gallery.head.valued[(sort or "").removeprefix("-")]
        if self._hits is None:
            return valued
        return pc.sum(pc.less(self._hits, valued)).as_py() or 0

    def _row(self, place: int) -> int:
        if self._descending and place < self._valued:
            place = self._valued - 1 - place
        hit = place if self._hits is None else self._hits[place].as_py()
        row = hit if self._order is None else self._order[hit]
        if row >= self._gallery.head.rows:
            raise ObjectDamaged(f"the gallery of job {self._gallery.record.job_id} is damaged")
        return int(row)


def facets(gallery: Gallery, wanted: Wanted) -> Facets:
    """Return how the wanted rows spread."""
    mask = _mask(gallery, wanted)

    def column(name: str) -> Any:
        values = gallery.values(name)
        return values if mask is None else values.filter(mask)

    head = gallery.head
    status = column("status")
    models = tuple(f"{model.id}@{model.version}" for model in gallery.record.models)
    ranks = tuple(map(str, range(256)))
    return Facets(
        rows=len(status),
        statuses=_counts(status, STATUSES),
        classes=_counts(column("class"), head.classes),
        labels=_counts(column("label"), head.labels),
        codes=_counts(column("code"), head.codes),
        models=_counts(column("model"), models),
        ranks=_counts(column("rank"), ranks),
        probability=_histogram(column("probability")),
        border_share=_histogram(column("border_share")),
    )


def _in_order(mask: Any, order: Any) -> Any:
    try:
        return mask.take(order)
    except pa.ArrowIndexError as error:
        raise ObjectDamaged("the gallery's index is damaged") from error


def _mask(gallery: Gallery, wanted: Wanted) -> Any:
    """Return which rows are wanted; None: all."""
    masks = list(_masks(gallery, wanted))
    return reduce(pc.and_, masks) if masks else None


def _masks(gallery: Gallery, wanted: Wanted) -> Iterator[Any]:
    head = gallery.head
    if wanted.status:
        yield _among(gallery, "status", [STATUSES.index(one) for one in wanted.status])
    if wanted.class_:
        yield _among(gallery, "class", _class_numbers(head.classes, wanted.class_))
    if wanted.label:
        yield _among(gallery, "label", _numbers(head.labels, wanted.label))
    if wanted.code:
        yield _among(gallery, "code", _numbers(head.codes, wanted.code))
    if wanted.rank:
        yield _among(gallery, "rank", list(wanted.rank))
    if wanted.model:
        yield _among(gallery, "model", _model_numbers(gallery, wanted.model))
    for name in ("probability", "border_share"):
        if (least := getattr(wanted, f"min_{name}")) is not None:
            yield pc.greater_equal(gallery.values(name), pa.scalar(least, pa.float32()))
        if (most := getattr(wanted, f"max_{name}")) is not None:
            yield pc.less_equal(gallery.values(name), pa.scalar(most, pa.float32()))


def _among(gallery: Gallery, name: str, numbers: list[int]) -> Any:
    values = gallery.values(name)
    if len(numbers) == 1:
        return pc.equal(values, pa.scalar(numbers[0], values.type))
    return pc.is_in(values, pa.array(numbers, values.type))


def _class_numbers(
    classes: tuple[tuple[int | None, str | None], ...], given: tuple[str, ...]
) -> list[int]:
    """Return the numbers of classes, each given by its name or index."""
    wanted = set(given)
    return [
        number
        for number, (index, name) in enumerate(classes)
        if name in wanted or str(index) in wanted
    ]


def _numbers(names: tuple[str, ...], given: tuple[str, ...]) -> list[int]:
    wanted = set(given)
    return [number for number, name in enumerate(names) if name in wanted]


def _model_numbers(gallery: Gallery, given: tuple[str, ...]) -> list[int]:
    models = gallery.record.models
    wanted = set(given)
    found = [
        number
        for number, model in enumerate(models)
        if wanted & {model.id, f"{model.id}@{model.version}"}
    ]
    if not found:
        there = ", ".join(f"{model.id}@{model.version}" for model in models)
        raise InvalidRequest(f"the job has no such model; it was run with {there}")
    return found


def _counts(values: Any, names: tuple[Any, ...]) -> tuple[Count, ...]:
    """Return the most frequent names of a column, and how many rows have others."""
    found = sorted(
        ((one["counts"], one["values"]) for one in pc.value_counts(values).to_pylist()),
        key=lambda pair: (-pair[0], pair[1]),
    )
    named = [(rows, name_of(names, number)) for rows, number in found if number >= 0]
    others = sum(rows for rows, number in found if number == OTHER)
    others += sum(rows for rows, name in named[MOST_FACETS:])
    told = [_count(rows, name) for rows, name in named[:MOST_FACETS] if name is not None]
    return (*told, *([Count(name=None, rows=others)] if others else []))


def _count(rows: int, name: Any) -> Count:
    if isinstance(name, tuple):
        index, text = name
        return Count(name=text if text is not None else str(index), rows=rows, index=index)
    return Count(name=name, rows=rows)


def _histogram(values: Any) -> tuple[int, ...]:
    """Return how many values lie in each of `BINS` even steps from 0 to 1."""
    known = values.filter(pc.invert(pc.is_nan(values)))
    steps = pc.cast(pc.floor(pc.multiply(known, float(BINS))), pa.int32(), safe=False)
    bins = [0] * BINS
    for one in pc.value_counts(steps).to_pylist():
        bins[min(max(one["values"], 0), BINS - 1)] += one["counts"]
    return tuple(bins)
