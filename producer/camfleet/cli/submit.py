"""camfleet submit: a job of many images, or a dry run of it."""

from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import options, output, terminal, values
from camfleet.cli.left_out import say_left_out
from camfleet.cli.watch import watch
from camfleet.contract.follow_ups import MOST_SAMPLED
from camfleet.contract.records import DEFAULT_PRIORITY, MOST_PRIORITY

if TYPE_CHECKING:
    from collections.abc import Callable

    from camfleet import Client, Job
    from camfleet.jobs.estimate import Estimate


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--model", "models", required=True, multiple=True, help="A model id; repeat for several."
)
@options.explain_options
@click.option(
    "--job-id",
    type=values.JOB,
    help="Id for the job; an id that exists isn't submitted again.  [default: a new one]",
)
@click.option(
    "--keep-duplicates", is_flag=True, help="Explain an image again each time that it's repeated."
)
@click.option(
    "--keep-column",
    "keep_columns",
    multiple=True,
    metavar="NAME",
    help="Column of a manifest to keep with the results; repeat for several. Known are label (the "
    "true class), boxes (JSON, upright pixels) and group.",
)
@click.option(
    "--pack",
    is_flag=True,
    help="Put each chunk's pictures into one ZIP file: far fewer writes, for large jobs.",
)
@click.option("--callback", metavar="URL", help="URL to notify when the job ends.")
@click.option("--report", is_flag=True, help="Have a worker write a report when the job ends.")
@click.option(
    "--report-to",
    metavar="S3URI",
    type=values.PREFIX,
    help="The same, below s3://bucket/prefix.  [default: the job's own folder]",
)
@click.option(
    "--faithfulness",
    type=click.IntRange(1, MOST_SAMPLED),
    metavar="N",
    help="When the job ends, have workers measure on N images how faithful the maps are.",
)
@click.option(
    "--priority",
    type=click.IntRange(1, MOST_PRIORITY),
    default=DEFAULT_PRIORITY,
    show_default=True,
    metavar="N",
    help="Share of the fleet, 1 to 100: a job of 20 gets two chunks for each one of a job of 10.",
)
@click.option(
    "--dry-run", is_flag=True, help="Count, check models and try some images, without submitting."
)
@click.option(
    "--timeout",
    type=values.SECONDS,
    default=120,
    show_default=True,
    help="With --dry-run: seconds after which it stops and says what it hasn't checked.",
)
@click.option("--force", is_flag=True, help="Submit even a job that looks as if it can't succeed.")
@click.option("--upload", is_flag=True, help="Send local images to the bucket for the workers.")
@click.option("--watch", is_flag=True, help="Wait until the job is complete.")
@options.as_json
@click.pass_context
def submit(ctx: click.Context, /, sources: tuple[str, ...], **given: Any) -> None:
    """Submit a job and print its id.

    SOURCE is an image, a folder, a glob, s3://bucket/prefix/ or a manifest (.csv, .jsonl or
    .parquet with a column image_uri and optionally target and id). An image that's repeated with
    the same target and inputs is explained once.

    Folders (with everything below them), globs and prefixes follow one rule. Files with an image
    suffix are taken. Links to files and folders are followed, but never in a circle. Names that
    begin with a dot are left out, unless the glob spells out the dot. ** in a glob matches any
    number of folders. Files that are left out are counted by kind, with the reason.

    A job that can't succeed is refused: one with a layer or class that the model doesn't have,
    images that no worker may read, or a callback that no worker can sign. --force submits it
    anyway. --dry-run exits with 1 if it finds something wrong.
    """
    keywords = options.client_keywords(given)
    if given["dry_run"]:
        options.refuse_given(ctx, ["watch"], "does nothing with --dry-run, which makes no job")
        why = "does nothing with --dry-run, which says what looks as if it can't succeed"
        options.refuse_given(ctx, ["force"], why)
    else:
        options.refuse_given(ctx, ["timeout"], "does nothing without --dry-run, which it ends")
    if given["pack"] and keywords.get("pictures") == []:
        raise click.UsageError("--pack is for pictures, of which --picture none asks for none")
    order = {
        "models": given["models"],
        **keywords,
        "callback": given["callback"],
        "pack": given["pack"],
        "report": given["report_to"] or given["report"],
        "faithfulness": given["faithfulness"],
        "priority": given["priority"],
        "keep_duplicates": given["keep_duplicates"],
        "keep_columns": given["keep_columns"],
    }
    with output.client() as client:
        if given["dry_run"]:
            _dry_run(ctx, client, sources, order, given)
            return
        job = _submit(client, sources, order, given)
    if given["watch"]:
        ctx.invoke(watch, job_id=job.id, as_json=given["as_json"], timeout=None)


def _submit(
    client: "Client", sources: tuple[str, ...], order: dict[str, Any], given: dict[str, Any]
) -> "Job":
    from camfleet.contract.codec import encode
    from camfleet.jobs.job import new_id

    job_id = given["job_id"] or new_id()
    with output.bar(None, "submitting") as bar:
        try:
            job = client.submit(
                sources,
                **order,
                job_id=job_id,
                upload=given["upload"],
                force=given["force"],
                on_progress=_teller(bar, job_id),
            )
        except KeyboardInterrupt:
            bar.close()
            output.say(f"the same command with --job-id {job_id} completes what was begun")
            raise
    record, left_out = job.record(), job.left_out()
    for warning in job.warnings:
        output.say(warning)
    if given["as_json"]:
        counts = {name: getattr(record, name) for name in ("images", "chunks", "duplicates")}
        output.dump(
            {
                "job_id": job.id,
                **counts,
                "note": job.note,
                "warnings": job.warnings,
                "left_out": list(map(encode, left_out)),
            }
        )
        return job
    click.echo(job.id)
    if job.note:
        output.say(f"job {job.id} {job.note}")
    dropped = f", duplicates left out: {record.duplicates}" if record.duplicates else ""
    note = f"images: {record.images}, chunks: {record.chunks}{dropped}; camfleet watch {job.id}"
    click.echo(note, err=True)
    say_left_out(left_out)
    return job


def _teller(bar: Any, job_id: str) -> "Callable[[int], None]":
    """Return what counts images on the bar, and says the job's id once some are written."""
    unsaid = [f"submitting job {job_id}"]

    def tell(count: int) -> None:
        while unsaid:
            bar.clear()
            output.say(unsaid.pop())
        bar.update(count - bar.n)

    return tell


def _show_estimate(estimate: "Estimate | None") -> None:
    """Print what a job takes, and what of it nobody has measured."""
    from camfleet.cli.retention import size
    from camfleet.cli.terminal import duration

    if estimate is None:
        return
    unknown = "unknown"
    rate, seconds = estimate.images_per_second, estimate.seconds
    took = unknown
    if seconds is not None and rate:  # a moment is 0.0
        live = "on the workers that live, if they do nothing else"
        took = f"about {duration(seconds)}, {rate:g} images/s, {live}"
    read, written = (
        unknown if nbytes is None else size(nbytes)
        for nbytes in (estimate.bytes_read, estimate.bytes_written)
    )
    click.echo(f"time        {took}")
    click.echo(f"store       {estimate.reads} reads, {estimate.writes} writes")
    click.echo(f"bytes       images {read}, pictures {written}")
    for text in estimate.unknown:
        output.say(f"not known: {text}")


def _dry_run(
    ctx: click.Context,
    client: "Client",
    sources: tuple[str, ...],
    order: dict[str, Any],
    given: dict[str, Any],
) -> None:
    from camfleet.contract.codec import encode

    with output.bar(None, "counting") as bar:
        found = client.dry_run(
            sources,
            **order,
            job_id=given["job_id"],
            sample=not given["upload"],
            timeout=given["timeout"],
            on_progress=lambda count: bar.update(count - bar.n),
        )
    if given["as_json"]:
        output.dump({**encode(found), "passed": found.passed})
    else:
        click.echo(f"images      {found.items}, duplicates left out: {found.duplicates}")
        click.echo(f"models      {', '.join(found.models)}")
        click.echo(f"to explain  {found.images} in {terminal.count(found.chunks, 'chunk')}")
        _show_estimate(found.estimate)
        click.echo(f"samples     {found.sampled} tried, {len(found.unreadable)} unreadable")
        click.echo(f"manifests   {terminal.count(found.broken, 'broken line')}")
        say_left_out(found.left_out)
    if found.note:
        output.say(f"job {given['job_id']} {found.note}")
    for line in (*found.doomed, *found.broken_lines):
        output.say(line)
    for image in found.unreadable:
        output.say(f"{image.code}: {image.message}")
    for line in found.unchecked:
        output.say(f"not checked: {line}")
    if not found.passed:
        ctx.exit(1)
