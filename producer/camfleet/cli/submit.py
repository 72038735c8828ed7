"""camfleet submit: a job of many images, or a dry run of it."""

from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import options, output
from camfleet.cli.jobs import watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from camfleet import Client, Item, Job


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--model", "models", required=True, multiple=True, help="A model id; repeat for several."
)
@options.explain_options
@click.option("--job-id", help="The job's id, else a new one. None is submitted twice.")
@click.option("--keep-duplicates", is_flag=True, help="Explain repeated images each time.")
@click.option("--callback", metavar="URL", help="URL to notify when the job ends.")
@click.option("--dry-run", is_flag=True, help="Count, check models, try some images; no job.")
@click.option("--upload", is_flag=True, help="Send local images to the bucket for the workers.")
@click.option("--watch", "follow", is_flag=True, help="Wait until the job is complete.")
@options.as_json
@click.pass_context
def submit(ctx: click.Context, /, sources: tuple[str, ...], **given: Any) -> None:
    """Submit a job and print its id.

    SOURCE is an image, a folder, a glob, s3://bucket/prefix/ or a manifest (.csv, .jsonl or
    .parquet with the column image_uri and, if wanted, target and id). An image that appears again
    with the same target and inputs is explained once. --dry-run exits with 1 if it found
    something wrong.
    """
    keywords = options.client_keywords(given)
    order = {"models": given["models"], **keywords, "callback": given["callback"]}
    with output.client() as client:
        if given["dry_run"]:
            _dry_run(ctx, client, sources, order, given)
            return
        job = _submit(client, sources, order, given)
    if given["follow"]:
        ctx.invoke(watch, job_id=job.id, as_json=given["as_json"], timeout=None)


def _submit(
    client: "Client", sources: tuple[str, ...], order: dict[str, Any], given: dict[str, Any]
) -> "Job":
    from camfleet.jobs.job import new_id

    job_id = given["job_id"] or new_id()
    click.echo(f"camfleet: submitting job {job_id}", err=True)
    items = _upload_local(client, sources) if given["upload"] else sources
    with output.bar(None, "submitting") as bar:
        job = client.submit(
            items,
            **order,
            job_id=job_id,
            keep_duplicates=given["keep_duplicates"],
            on_progress=lambda count: bar.update(count - bar.n),
        )
    record = job.record()
    if given["as_json"]:
        counts = {name: getattr(record, name) for name in ("images", "chunks", "duplicates")}
        output.dump({"job_id": job.id, **counts, "note": job.note})
        return job
    click.echo(job.id)
    if job.note:
        click.echo(f"camfleet: job {job.id} {job.note}", err=True)
    dropped = f", duplicates left out: {record.duplicates}" if record.duplicates else ""
    note = f"images: {record.images}, chunks: {record.chunks}{dropped}; camfleet watch {job.id}"
    click.echo(note, err=True)
    return job


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
            keep_duplicates=given["keep_duplicates"],
            sample=not given["upload"],
            on_progress=lambda count: bar.update(count - bar.n),
        )
    if given["as_json"]:
        output.dump({**encode(found), "passed": found.passed})
    else:
        click.echo(f"images      {found.items}, duplicates left out: {found.duplicates}")
        click.echo(f"models      {', '.join(found.models)}")
        click.echo(f"to explain  {found.images} in {found.chunks} chunks")
        click.echo(f"samples     {found.sampled} tried, {len(found.unreadable)} unreadable")
        click.echo(f"broken      {found.broken} lines")
    for line in found.broken_lines:
        click.echo(f"camfleet: {line}", err=True)
    for image in found.unreadable:
        click.echo(f"camfleet: {image.code}: {image.message}", err=True)
    if not found.passed:
        ctx.exit(1)


def _upload_local(client: "Client", paths: tuple[str, ...]) -> "Iterator[Item]":
    """Yield the items of the sources, local files uploaded first."""
    from msgspec.structs import replace

    from camfleet.sources.sources import stream

    for item in stream(paths, client.storage):
        local = "://" not in item.image_uri
        yield replace(item, image_uri=client.upload(item.image_uri)) if local else item
