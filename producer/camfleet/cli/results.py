"""camfleet results: a job's rows, printed or written to a file."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import EXIT_FAILED_IMAGES, filters, options, output, terminal, values
from camfleet.cli.screen import rows_out
from camfleet.contract.outputs import PICTURES
from camfleet.contract.records import JobRecord
from camfleet.errors import ObjectMissing

if TYPE_CHECKING:
    from camfleet.jobstore.parquet import Table
    from camfleet.results.coverage import Coverage
    from camfleet.results.query import Selection

_TABLE_ROWS = 100
_TWO_LINES = 110  # columns of a terminal below which a column's meaning has lines of its own
_EMPTY = "no row (yet) that passes the filters"


@click.command()
@click.argument("job_id", required=False, metavar="JOB", type=values.JOB)
@filters.filter_options
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    help="Repeat for several.  [default: all, but raw maps in Parquet only]",
)
@click.option(
    "--list-columns", is_flag=True, help="List the columns and their meanings; needs no JOB."
)
@click.option("--maps", is_flag=True, help="Include raw maps in CSV and JSON.")
@click.option("--limit", type=click.IntRange(1), help="At most this many rows.")
@filters.presign
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "parquet"]),
    help="json: one object per line.  [default: by --output's suffix, else table]",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option(
    "--csv-exact",
    "exact",
    is_flag=True,
    help="Write texts to CSV unchanged.  [default: with ' before anything that spreadsheets take "
    "for a formula]",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; it appears under this name once all rows are written.  [default: stdout]",
)
@click.pass_context
def results(ctx: click.Context, /, job_id: str | None, **given: Any) -> None:
    """Print a job's rows, or write them to a file.

    A table shows the first hundred rows, the other formats all of them. A row must pass all
    filters; an option given several times matches any of its values.

    Exit code 1 if rows that should exist are missing. When printing: 3 if the job is complete and
    images failed. With --output: 0 if the file holds all the rows that you asked for, 1 if the job
    hasn't ended.
    """
    form = _form(given["form"], given["output"])
    with _quiet_pipe(ctx):
        if given["list_columns"]:
            _refuse_rows(ctx)
            _list_columns(form)
            return
        if not job_id:
            raise click.UsageError("Missing argument 'JOB'.", ctx)
        _refuse_unused(form, given)
        found = _read(job_id, form, given)
    for note in found.notes:
        output.say(note)
    if found.lost or (given["output"] and not found.whole):
        if given["form"] == "json":
            output.error(ObjectMissing.code, found.notes[-1], as_json=True)
        ctx.exit(1)
    if found.failed and not given["output"]:
        ctx.exit(EXIT_FAILED_IMAGES)


def _read(job_id: str, form: str, given: dict[str, Any]) -> "Coverage":
    """Print or write the rows; return how much of the job they are."""
    from camfleet.jobstore.stored_pictures import refuse_urls
    from camfleet.results import classes
    from camfleet.results.coverage import Reading
    from camfleet.results.export import presigned

    wanted = filters.of(given)
    with output.client() as client:
        job = client.job(job_id)
        record = job.record()
        if given["presign"] and record.pack:
            raise refuse_urls(f"job {job_id}")
        selection = _selection(record, form, given, wanted)
        classes.refuse_unknown(record, client.storage, selection, given["class_"] or None)
        reading = Reading(record, client.storage, selection)
        silent = form != "table" and not given["output"] and sys.stdout.isatty()
        with (
            output.bar(reading.parts, "reading", "part", silent=silent) as bar,
            closing(reading.tables(bar.update)) as tables,
        ):
            if given["presign"]:
                sign = partial(client.storage.presign, seconds=given["presign"])
                _give(presigned(tables, sign), selection, form, given, bar)
            else:
                _give(tables, selection, form, given, bar)
        return reading.coverage(job)


def _refuse_unused(form: str, given: dict[str, Any]) -> None:
    """Raise `click.UsageError` for what does nothing in a format or with some columns."""
    if given["exact"] and form != "csv":
        raise click.UsageError("--csv-exact is for CSV: say --format csv, or --output FILE.csv")
    for name in ("presign", "maps"):
        if given[name] and form == "table":
            raise click.UsageError(f"--{name} is for files and programs: say --json or --output")
    chosen = given["columns"]
    if given["presign"] and chosen and not any(f"{kind}_uri" in chosen for kind in PICTURES):
        raise click.UsageError("--presign is for pictures: say --column overlay_uri, too")


def _refuse_rows(ctx: click.Context) -> None:
    """Raise `click.UsageError` for what is about rows, beside --list-columns."""
    if ctx.params["form"] in ("csv", "parquet"):
        raise click.UsageError("--list-columns prints a table, or JSON: say --json, or no --format")
    rows = [name for name in ctx.params if name not in ("list_columns", "form")]
    for name in rows:
        if options.was_given(name):
            raise click.UsageError(
                f"--list-columns names the columns that all jobs have: leave out "
                f"{'JOB' if name == 'job_id' else '--' + name.rstrip('_').replace('_', '-')}"
            )


def _list_columns(form: str) -> None:
    from camfleet.results.columns import columns

    rows = [column._asdict() for column in columns()]
    if form == "json":
        output.dump(rows)
        return
    room = terminal.width(sys.stdout)
    for row in rows:
        head = f"{row['name']:26} {row['type']:22} "
        if room and room < _TWO_LINES:
            head = f"{row['name']}  ({row['type']})\n    "
        indent = len(head.rpartition("\n")[2])
        click.echo(head + terminal.wrap(row["meaning"], indent, room, lines=9))


def _form(form: str | None, path: Path | None) -> str:
    """Return the format; refuse the ones that the output is not for."""
    if path:
        from camfleet.results.export import format_of

        form = form or format_of(path)
        if form in (None, "table"):
            raise click.UsageError(f"--output {path}: say --format csv, json or parquet")
    elif form == "parquet" and sys.stdout.isatty():
        raise click.UsageError("--format parquet is not for a terminal: say --output FILE")
    return form or "table"


def _selection(
    record: JobRecord, form: str, given: dict[str, Any], wanted: dict[str, Any]
) -> "Selection":
    from camfleet.results.export import columns_for
    from camfleet.results.query import Selection

    columns = columns_for(form, given["columns"], maps=given["maps"])
    return Selection.of(record, columns, wanted)


def _give(
    tables: "Iterator[Table]", selection: "Selection", form: str, given: dict[str, Any], bar: Any
) -> None:
    from camfleet.results.export import FORMATS, first, write_exact_csv
    from camfleet.whole import whole_file

    if form == "table":
        _print(tables, given["limit"], given["columns"], bar)
        return
    path = given["output"]
    with whole_file(path) if path else nullcontext(rows_out()) as sink:
        write = write_exact_csv if given["exact"] else FORMATS[form]
        write(first(tables, given["limit"]), selection.schema, sink)


def _print(
    tables: "Iterator[Table]", limit: int | None, columns: tuple[str, ...], bar: Any
) -> None:
    """Print the first rows as a table, then what failed among them."""
    from camfleet.results.export import first, flat

    most = limit or _TABLE_ROWS
    rows = [row for table in first(tables, most + 1) for row in flat(table).to_pylist()]
    bar.close()  # before something is printed
    shown = rows[:most]
    if columns:
        output.table(shown, tuple(dict.fromkeys(columns)), empty=_EMPTY)
    else:
        output.results(shown, empty=_EMPTY)
        output.name_failures(shown)
    if len(rows) > most and not limit:
        click.echo("there are more rows: --format csv, json or parquet gives all", err=True)


@contextmanager
def _quiet_pipe(ctx: click.Context) -> Iterator[None]:
    """End quietly when the reader of stdout has seen enough (`| head`)."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered can't be written either, when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ctx.exit(0)
