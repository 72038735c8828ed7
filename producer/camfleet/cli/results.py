"""camfleet results: a job's rows, printed or written to a file."""

import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import EXIT_FAILED_IMAGES, output
from camfleet.contract.records import JobRecord
from camfleet.contract.results import Status

if TYPE_CHECKING:
    from camfleet import Job
    from camfleet.jobstore.parquet import Table
    from camfleet.results.query import Selection
    from camfleet.results.read import Part

_TABLE_ROWS = 100
_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_FILTERS = (
    click.option(
        "--status", multiple=True, type=click.Choice(list(map(str, Status))), help="How it ended."
    ),
    click.option("--code", multiple=True, help="Error code of a failed image."),
    click.option("--model", multiple=True, help="A model of the job, id or id@version."),
    click.option("--class", "class_", multiple=True, help="Class index or label."),
    click.option("--rank", multiple=True, type=click.IntRange(0), help="0: first targets."),
    click.option("--min-probability", type=click.FloatRange(0, 1), help="Inclusive."),
    click.option("--max-probability", type=click.FloatRange(0, 1), help="Inclusive."),
    click.option("--item", multiple=True, help="Id of an item."),
    click.option("--image", metavar="TEXT", help="A part of the image's URI."),
)


def _filters(command: output.F) -> output.F:
    """Add the options that say which rows."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@click.command()
@click.argument("job_id", metavar="JOB")
@_filters
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    help="Repeat for several.  [default: all, but raw maps in Parquet only]",
)
@click.option("--maps", is_flag=True, help="Raw maps in CSV and JSON too.")
@click.option("--limit", type=click.IntRange(1), help="So many rows at most.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "parquet"]),
    help="json is one object a line.  [default: by --output's suffix, else table]",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; it takes its name when it's complete.  [default: stdout]",
)
@click.pass_context
def results(ctx: click.Context, /, job_id: str, **options: Any) -> None:
    """Print a job's rows, or write them to a file.

    A table shows the first hundred, the other formats give all. A row must pass all filters; an
    option that stands several times means any of its values. Exit code 3 if the job is complete
    and images failed.
    """
    from camfleet.results.read import read_parts

    form = _form(options["form"], options["output"])
    seen: Counter[str] = Counter()
    with _quiet_pipe(ctx), output.client() as client:
        job = client.job(job_id)
        record = job.record()
        selection = _selection(record, form, options)
        total = len(selection.models) * record.parts
        parts = read_parts(record, client.storage, selection)
        silent = form != "table" and not options["output"] and sys.stdout.isatty()
        bar = output.bar(total, "reading", "part", silent=silent)
        with closing(_tables(parts, bar, seen)) as tables:
            _give(tables, selection, form, options)
        failed = _failed(job, total, seen)
    if failed:
        ctx.exit(EXIT_FAILED_IMAGES)


def _form(form: str | None, path: Path | None) -> str:
    """Return the format; refuse the ones that the output is not for."""
    if path:
        form = form or _SUFFIXES.get(path.suffix.lower())
        if form in (None, "table"):
            raise click.UsageError(f"--output {path}: say --format csv, json or parquet")
    elif form == "parquet" and sys.stdout.isatty():
        raise click.UsageError("--format parquet is not for a terminal: say --output FILE")
    return form or "table"


def _selection(record: JobRecord, form: str, options: dict[str, Any]) -> "Selection":
    from camfleet.results.query import Filters, Selection

    columns = _columns(form, options["columns"], maps=options["maps"])
    filters = {name: options[name] for name in Filters.__annotations__ if options[name] != ()}
    return Selection.of(record, columns, filters)


def _columns(form: str, chosen: Sequence[str], *, maps: bool) -> Sequence[str] | None:
    """Return the columns to read, None: all."""
    from camfleet.jobstore.parquet import MAPS, RESULTS

    if chosen:
        return [*chosen, *MAPS] if maps else chosen
    if maps or form == "parquet":
        return None
    return [name for name in RESULTS.names if name not in MAPS]


def _tables(parts: "Generator[Part]", bar: Any, seen: Counter[str]) -> "Generator[Table]":
    """Yield the parts that are there; count the missing ones, and the images that failed."""
    with closing(parts), bar:
        for part in parts:
            bar.update()
            seen["failed"] += part.failed
            if part.table is None:
                seen["missing"] += 1
            else:
                yield part.table


def _give(
    tables: "Generator[Table]", selection: "Selection", form: str, options: dict[str, Any]
) -> None:
    from camfleet.results.export import FORMATS, first, whole_file

    if form == "table":
        _print(tables, options["limit"], options["columns"])
        return
    path = options["output"]
    with whole_file(path) if path else nullcontext(sys.stdout.buffer) as sink:
        FORMATS[form](first(tables, options["limit"]), selection.schema, sink)


def _print(tables: "Generator[Table]", limit: int | None, columns: tuple[str, ...]) -> None:
    """Print the first rows as a table, then what failed among them."""
    from camfleet.results.export import first, flat

    most = limit or _TABLE_ROWS
    rows = [row for table in first(tables, most + 1) for row in flat(table).to_pylist()]
    tables.close()  # and the progress bar with it, before something is printed
    shown = rows[:most]
    if columns:
        output.table(shown, tuple(dict.fromkeys(columns)))
    else:
        output.table(map(output.row, shown), output.ROW)
        _name_failures(shown)
    if len(rows) > most and not limit:
        click.echo("there are more rows: --format csv, json or parquet gives all", err=True)


def _name_failures(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["error_code"]:
            click.echo(f"camfleet: {row['error_code']}: {row['error_message']}", err=True)


def _failed(job: "Job", total: int, seen: Counter[str]) -> bool:
    """Say what the rows lack; return whether the job is complete and images failed."""
    from camfleet.errors import BrokerUnavailable, UnknownJob

    try:
        progress = job.status()
    except (BrokerUnavailable, UnknownJob) as error:
        reason = "Redis no longer knows it" if isinstance(error, UnknownJob) else error
        click.echo(f"camfleet: job {job.id} is read from object storage alone: {reason}", err=True)
        if seen["missing"]:
            lack = f"{seen['missing']} of {total} results parts are missing"
            click.echo(f"camfleet: {lack}; camfleet resume {job.id} runs them", err=True)
        return not seen["missing"] and seen["failed"] > 0
    if not progress.complete:
        click.echo(
            f"camfleet: job {job.id} is {progress.state}: these are the rows of "
            f"{progress.done} of {progress.total} images",
            err=True,
        )
    return progress.complete and progress.failed > 0


@contextmanager
def _quiet_pipe(ctx: click.Context) -> Iterator[None]:
    """End without a word where the reader of stdout has seen enough (`| head`)."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered can't be written either, when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ctx.exit(0)
