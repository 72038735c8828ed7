"""camfleet report: what a job's results say together, as a page and as numbers."""

from typing import TYPE_CHECKING

import click

from camfleet.cli import options, output
from camfleet.cli.terminal import clean
from camfleet.errors import ObjectMissing

if TYPE_CHECKING:
    from camfleet.audit.document import Report


@click.command()
@options.JOB
@options.place("camfleet-report-JOB")
@click.option(
    "--stored",
    is_flag=True,
    help="Download the report that a worker wrote, instead of writing one.",
)
@options.PHOTOGRAPHS
@options.PICTURES_TIMEOUT
@click.option("--json", "as_json", is_flag=True, help="Print where the page is as JSON.")
@click.pass_context
def report(
    ctx: click.Context,
    job_id: str,
    place: str | None,
    *,
    stored: bool,
    photographs: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Write a report on a job: a page, JSON and tables.

    index.html opens anywhere, without a network or scripts; report.json has every number on it, and
    suspicious.parquet and worst.parquet can be submitted again. A summary goes to stderr.

    With --stored, the report of submit --report is downloaded, even if the job's results are gone.

    Exit code 1 if results are missing; the report then says how many.
    """
    if stored and place and place.startswith("s3:"):
        raise click.UsageError("--stored fetches a report into a folder: it's in a bucket now")
    if stored:
        why = "does nothing with --stored: a worker has written that page, as it is"
        options.refuse_given(ctx, ["photographs", "timeout"], why)
    if not photographs:
        options.refuse_given(ctx, ["timeout"], "is for photographs: it does nothing without them")
    with output.client() as client:
        reporter = client.reporter(timeout=timeout)
        if stored:
            page = reporter.fetch(job_id, place or f"camfleet-report-{job_id}")
            if as_json:
                output.dump({"job_id": job_id, "page": page, "missing": None})
            else:
                click.echo(page)
                _say(reporter.stored(job_id))
            return
        record = reporter.record(job_id)
        place = place or f"camfleet-report-{job_id}"
        reporter.check_place(place, job_id)
        with output.bar(record.chunks, "reading", "part") as bar:
            made = reporter.make(record, bar.update)
        photos = {}
        if photographs:
            with output.bar(None, "photographs", "picture") as bar:
                photos = reporter.photographs(made, bar.update)
        written = reporter.write(made, photos, place)
    missing = sum(model.accounting.missing for model in made.models)
    if as_json:
        output.dump({"job_id": job_id, "page": written, "missing": missing})
    else:
        click.echo(written)
        _say(made)
    if missing:
        note = f"the results of {missing} images are missing: camfleet resume {job_id} runs them"
        output.error(ObjectMissing.code, note, as_json=False)
        ctx.exit(1)


def _say(found: "Report | None") -> None:
    """Say what a report begins with."""
    from camfleet.audit.reports import headline

    for line in headline.lines(found) if found else ():
        output.say(clean(line))
