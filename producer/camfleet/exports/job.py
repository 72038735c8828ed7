"""A job's export from its options to what was written."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import count as numbers
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Protocol

from camfleet.contract import unused
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest
from camfleet.exports.export import FORMATS, PER_FILE, Export, Options
from camfleet.exports.images import Count, Places
from camfleet.exports.writer import ExportShape
from camfleet.results import classes
from camfleet.results.coverage import Counts, Coverage, Reading
from camfleet.results.query import Filters
from camfleet.storage.storage import Storage

_USES: unused.Uses = {
    "heat": tuple(form for form, found in FORMATS.items() if found.heat),
    "config": tuple(form for form, found in FORMATS.items() if found.config),
    "per_file": tuple(form for form, found in FORMATS.items() if found.splits),
    "prefix": tuple(form for form, found in FORMATS.items() if found.places),
}


class ExportOptions(Filters, total=False):
    """How to export, see `Client.export`, and which rows; None is the same as leaving one out."""

    shape: ExportShape | None
    heat: bool
    labels: str | Path | Mapping[str, str | Literal[False]] | None
    config: str | Path | None
    root: str
    prefix: str
    per_file: int


class Exportable(Counts, Protocol):
    """A job whose results can be read."""

    def record(self) -> JobRecord: ...


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    `count` has the numbers and the names of files, `shape` is None where there are classes only,
    and `coverage` says how much of the job the rows were.
    """

    count: Count
    shape: ExportShape | None
    coverage: Coverage


def unused_option(form: str, given: Mapping[str, Any]) -> unused.Unused | None:
    """Return the first option that does nothing in a format; None, False and "" are none at all."""
    asked = {
        name: value
        for name, value in given.items()
        if value is not None and value is not False and value != ""
    }
    if found := unused.of_format(form, asked, _USES):
        return found
    if "prefix" in asked and "root" not in asked:
        return "prefix", "is for names below a --root: give one, or leave it out"
    if "root" in asked and "prefix" not in asked and FORMATS[form].places:
        return "root", (
            f"does nothing in the format {form} without --prefix, for images are their URIs there: "
            "say what stands before their names, or leave it out"
        )
    return None


def options_of(form: str, given: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """Return options and filters of keywords; raise `InvalidRequest` naming what can't be."""
    if form not in FORMATS:
        raise InvalidRequest(f"there is no format {form!r}; the formats are {', '.join(FORMATS)}")
    own = ExportOptions.__annotations__.keys() - Filters.__annotations__.keys()
    found = {name: value for name, value in given.items() if value is not None}
    filters = {name: value for name, value in found.items() if name not in own}
    unused.refuse(unused_option(form, found))
    per_file = found.get("per_file", PER_FILE)
    if not isinstance(per_file, int) or per_file < 1:
        raise InvalidRequest(f"--per-file {per_file!r} is not a number of images, at least 1")
    options = Options(
        form=form,
        shape=found.get("shape"),
        labels=_path(found.get("labels")),
        config=_path(found.get("config")),
        places=Places(found.get("root", ""), found.get("prefix", "")),
        per_file=per_file,
        heat=found.get("heat", False),
    )
    return options, filters


def export_job(
    job: Exportable,
    storage: Storage,
    options: Options,
    filters: Mapping[str, Any],
    output: Path,
    on_progress: Callable[[int], object],
) -> Exported:
    """Export the selected rows of a job; tell how many results parts were read so far.

    Raises `InvalidRequest` naming the option that doesn't suit the job or the format.
    """
    record = job.record()
    export = Export(record, storage, options, filters)
    classes.refuse_unknown(record, storage, export.selection, filters.get("class_"))
    reading, read = Reading(record, storage, export.selection), numbers(1)
    with closing(reading.tables(lambda: on_progress(next(read)))) as tables:
        count = export.write(tables, output)
    return Exported(count, export.shape, reading.coverage(job))


def _path(given: Any) -> Any:
    return Path(given) if isinstance(given, str | PathLike) else given
