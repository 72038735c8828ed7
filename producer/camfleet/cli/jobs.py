"""camfleet submit, status, watch: jobs of many images."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import EXIT_FAILED_IMAGES, show

if TYPE_CHECKING:
    from camfleet import Progress


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--model", "models", required=True, multiple=True, help="A model id; repeat for several."
)
@show.asking
@click.option("--job-id", help="The job's id; made up if not given.")
@click.option("--upload", is_flag=True, help="Send local images to the bucket for the workers.")
@click.option("--watch", "follow", is_flag=True, help="Stay until the job is complete.")
@show.as_json
@click.pass_context
def submit(ctx: click.Context, /, sources: tuple[str, ...], **options: Any) -> None:
    """Submit a job and print its id.

    SOURCE is an image, a folder, a glob, s3://bucket/prefix/ or a manifest (.csv, .jsonl or
    .parquet with the column image_uri and, if wanted, target and id).
    """
    question = show.question(options)
    with show.client() as client, show.bar(None, "submitting") as bar:
        items = _uploaded(client, sources) if options["upload"] else sources
        job = client.submit(
            items,
            models=options["models"],
            **question,
            job_id=options["job_id"],
            on_progress=lambda count: bar.update(count - bar.n),
        )
        record = job.record()
        if options["as_json"]:
            show.dump({"job_id": job.id, "images": record.images, "chunks": record.chunks})
        else:
            click.echo(job.id)
            note = f"images: {record.images}, chunks: {record.chunks}; camfleet watch {job.id}"
            click.echo(note, err=True)
    if options["follow"]:
        ctx.invoke(watch, job_id=job.id, as_json=options["as_json"], timeout=None)


@click.command()
@click.argument("job_id", metavar="JOB")
@show.as_json
@click.pass_context
def status(ctx: click.Context, /, job_id: str, *, as_json: bool) -> None:
    """Print how far a job is. Exit code 3 if it's complete and images failed."""
    with show.client() as client:
        progress = client.job(job_id).status()
    _tell(progress, as_json=as_json)
    _exit_by(ctx, progress)


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--timeout", type=float, help="Give up watching after so many seconds (exit 1).")
@show.as_json
@click.pass_context
def watch(ctx: click.Context, /, job_id: str, *, timeout: float | None, as_json: bool) -> None:
    """Follow a job until it's complete, then print its totals.

    On a terminal with a progress bar; with --json a line per change. Exit code 3 if images
    failed.
    """
    from camfleet.errors import AnswerTimeout

    with show.client() as client:
        job = client.job(job_id)
        progress = job.status()
        with show.bar(progress.total, job_id) as bar:
            for progress in job.watch(timeout=timeout):  # the last one is kept
                bar.update(max(0, progress.done + progress.in_work - bar.n))
                bar.set_postfix(failed=progress.failed)
                if as_json:
                    show.dump(show.progress(progress))
    if not as_json:
        _tell(progress, as_json=False)
    if not progress.ended:
        raise AnswerTimeout(f"job {job_id} is not complete after {timeout:g} s")
    _exit_by(ctx, progress)


def _uploaded(client: Any, sources: tuple[str, ...]) -> Any:
    """Yield the items of the sources, local files uploaded first."""
    from msgspec.structs import replace

    from camfleet.sources import items

    for item in itertools.chain.from_iterable(items(each, client.storage) for each in sources):
        local = "://" not in item.image_uri
        yield replace(item, image_uri=client.upload(Path(item.image_uri))) if local else item


def _tell(progress: "Progress", *, as_json: bool) -> None:
    if as_json:
        show.dump(show.progress(progress))
        return
    rate, left = progress.images_per_second, progress.seconds_left
    speed = f"{rate:.1f} images/s" if rate else "no rate yet"
    click.echo(f"job        {progress.job_id}: {progress.state}")
    click.echo(f"images     {progress.done} of {progress.total} done")
    click.echo(
        f"           {progress.ok} ok, {progress.no_evidence} no evidence, {progress.failed} failed"
    )
    click.echo(f"chunks     {progress.chunks_done} of {progress.chunks}")
    click.echo(f"speed      {speed}, running for {progress.seconds_running:.0f} s")
    if left:
        click.echo(f"time left  {left:.0f} s")


def _exit_by(ctx: click.Context, progress: "Progress") -> None:
    if progress.complete and progress.failed:
        ctx.exit(EXIT_FAILED_IMAGES)
