"""Which rows and columns of a job's results are wanted."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, Any, Self, TypedDict, get_origin

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta

from camfleet.contract.choices import with_choices
from camfleet.contract.columns import KNOWN
from camfleet.contract.records import JobRecord, ModelRef
from camfleet.contract.results import Status
from camfleet.contract.targets import parse_class
from camfleet.errors import InvalidRequest, check_codes
from camfleet.jobstore import parquet
from camfleet.results import kept

Texts = str | Iterable[str]


class Filters(TypedDict, total=False):
    """Which rows; a filter that is absent or None lets all through, several values mean any.

    `status` is ok, no_evidence or failed; `code` an error code; `model` an id or `id@version`;
    `class_` an index, or a label as in targets (`label:7` for a label of digits); `rank` 0 for
    first targets. Probabilities (0 to 1) are inclusive, and exclude rows without one. `item` is
    an item's id, `image` a part of its URI. `where` holds values of columns that the job kept of
    its manifest, by name, as text.
    """

    status: Texts | None
    code: Texts | None
    model: Texts | None
    class_: int | str | Iterable[int | str] | None
    rank: int | Iterable[int] | None
    min_probability: float | None
    max_probability: float | None
    item: Texts | None
    image: str | None
    where: Mapping[str, Texts] | None


@dataclass(frozen=True)
class Test:
    """A condition on some columns: `mask` gives true, false or null for each row of a table."""

    columns: tuple[str, ...]
    mask: Callable[[pa.Table], Any]


@dataclass(frozen=True)
class Selection:
    """What to read of a job: models by their number in it, the columns, and tests of rows.

    `within` says of structs which of their fields are read; it's all of the others.
    """

    models: tuple[int, ...]
    schema: pa.Schema
    tests: tuple[Test, ...]
    within: Mapping[str, Sequence[str]] | None = None

    @classmethod
    def of(
        cls, record: JobRecord, columns: Iterable[str] | None, filters: Mapping[str, Any]
    ) -> Self:
        """Return the selection; raise `InvalidRequest` naming the column or filter."""
        given = {name: value for name, value in filters.items() if value is not None}
        _refuse_contradictions(given)
        models = _models(record, given.pop("model", None))
        where = _where(record, given.pop("where", {}))
        tests = tuple(_test(name, value) for name, value in given.items())
        return cls(models, kept.schema(columns, record.kept_columns), (*tests, *where))

    def only(self, within: Mapping[str, Sequence[str]]) -> Self:
        """Return the same, but of structs only these fields."""
        return replace(self, schema=parquet.narrowed(self.schema, within), within=within)

    @property
    def tested(self) -> list[str]:
        """Return the names of the columns that the tests look at."""
        return sorted({name for test in self.tests for name in test.columns})

    def mask(self, table: pa.Table) -> Any:
        """Return which rows of a table of the tested columns pass all tests; None means all."""
        masks = [test.mask(table) for test in self.tests]
        return reduce(pc.and_, masks) if masks else None


def class_values(given: Any) -> tuple[int | str, ...]:
    """Return the values of the filter `class_`; raise `InvalidRequest`."""
    found: tuple[int | str, ...] = _values("class_", given, _CLASSES)
    return found


def _refuse_contradictions(given: Mapping[str, Any]) -> None:
    least, most = given.get("min_probability"), given.get("max_probability")
    if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
        raise InvalidRequest(
            f"filter min_probability: {least:g} is more than max_probability, {most:g}"
        )


def _models(record: JobRecord, wanted: Any) -> tuple[int, ...]:
    if wanted is None:
        return tuple(range(len(record.models)))
    names = _values("model", wanted, tuple[str, ...])
    for name in names:
        if not any(name in _names(model) for model in record.models):
            there = ", ".join(_names(model)[1] for model in record.models)
            raise InvalidRequest(
                f"job {record.job_id} has no model {name!r}; it was run with {there}"
            )
    found = (number for number, model in enumerate(record.models) if {*names} & {*_names(model)})
    return tuple(found)


def _where(record: JobRecord, wanted: Any) -> Iterator[Test]:
    if not isinstance(wanted, Mapping):
        raise InvalidRequest("filter where is not a dict such as {'split': 'test'}")
    for name, value in wanted.items():
        if name not in record.kept_columns:
            there = ", ".join(record.kept_columns) or "none"
            raise InvalidRequest(f"job {record.job_id} kept no column {name!r}; it kept {there}")
        if name not in (*KNOWN, *kept.further(record.kept_columns)):
            raise InvalidRequest(f"filter where: {name!r} is also a column of the results")
        yield _among(name)(_values(f"where {name}", value, _STRINGS))


def _names(model: ModelRef) -> tuple[str, str]:
    return model.id, f"{model.id}@{model.version}"


def _test(name: str, value: Any) -> Test:
    if name not in _MAKERS:
        there = ", ".join(Filters.__annotations__)
        raise InvalidRequest(f"results have no filter {name!r}; the filters are {there}")
    kind, make = _MAKERS[name]
    return make(_values(name, value, kind))


def _values(name: str, given: Any, kind: Any) -> Any:
    """Return a filter's value as `kind`; where several are allowed, one becomes a tuple of one."""
    if get_origin(kind) is tuple:
        single = isinstance(given, str) or not isinstance(given, Iterable)
        given = (given,) if single else tuple(given)
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"filter {name}: {with_choices(error, kind)}") from error


def _among(column: str) -> Callable[[Any], Test]:
    def make(values: tuple[Any, ...]) -> Test:
        return Test((column,), lambda table: _is_in(table, column, values))

    return make


def _against(column: str, compare: Callable[[Any, Any], Any]) -> Callable[[Any], Test]:
    def make(value: Any) -> Test:
        return Test((column,), lambda table: compare(table[column], value))

    return make


def _code(values: tuple[str, ...]) -> Test:
    check_codes(values)
    return _among("error_code")(values)


def _class(values: tuple[int | str, ...]) -> Test:
    """Return the test for classes, each given by its label or its index."""
    targets = [parse_class(str(value)) for value in values]
    labels = [target.label for target in targets if target.kind == "label"]
    indices = [target.index for target in targets if target.kind == "index"]
    return Test(
        ("class_index", "class_name"),
        lambda table: pc.or_(
            _is_in(table, "class_index", indices), _is_in(table, "class_name", labels)
        ),
    )


def _is_in(table: pa.Table, column: str, values: Iterable[Any]) -> Any:
    return pc.is_in(table[column], pa.array(values, table[column].type))


_STRINGS = tuple[str, ...]
_COUNT = Annotated[int, Meta(ge=0, lt=2**31)]
_CLASSES = tuple[_COUNT | str, ...]
_PROBABILITY = Annotated[float, Meta(ge=0, le=1)]
_MAKERS: dict[str, tuple[Any, Callable[[Any], Test]]] = {
    "status": (tuple[Status, ...], _among("status")),
    "code": (_STRINGS, _code),
    "class_": (_CLASSES, _class),
    "rank": (tuple[_COUNT, ...], _among("rank")),
    "min_probability": (_PROBABILITY, _against("probability", pc.greater_equal)),
    "max_probability": (_PROBABILITY, _against("probability", pc.less_equal)),
    "item": (_STRINGS, _among("item_id")),
    "image": (str, _against("image_uri", pc.match_substring)),
}
