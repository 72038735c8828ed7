"""camfleet status, watch: how far a job is."""

from typing import TYPE_CHECKING

import click

from camfleet.cli import EXIT_FAILED_IMAGES, output

if TYPE_CHECKING:
    from camfleet import Progress


@click.command()
@click.argument("job_id", metavar="JOB")
@output.as_json
@click.pass_context
def status(ctx: click.Context, /, job_id: str, *, as_json: bool) -> None:
    """Print how far a job is. Exit code 3 if it's complete and images failed."""
    with output.client() as client:
        progress = client.job(job_id).status()
    _tell(progress, as_json=as_json)
    _exit_by(ctx, progress)


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--timeout", type=float, help="Give up watching after so many seconds (exit 1).")
@output.as_json
@click.pass_context
def watch(ctx: click.Context, /, job_id: str, *, timeout: float | None, as_json: bool) -> None:
    """Follow a job until it's complete, then print its totals.

    On a terminal with a progress bar; with --json a line per change. Exit code 3 if images
    failed.
    """
    from camfleet.errors import AnswerTimeout

    with output.client() as client:
        job = client.job(job_id)
        progress = job.status()
        total, unit = (progress.chunks, "chunk") if progress.retry else (progress.total, "image")
        with output.bar(total, job_id, unit) as bar:
            for progress in job.watch(timeout=timeout):  # the last one is kept
                bar.update(max(0, _position(progress) - bar.n))
                bar.set_postfix(progress.failures)
                if as_json:
                    output.dump(output.progress(progress))
    if not as_json:
        _tell(progress, as_json=False)
    if not progress.ended:
        raise AnswerTimeout(f"job {job_id} is not complete after {timeout:g} s")
    _exit_by(ctx, progress)


def _position(progress: "Progress") -> int:
    """Return how far the bar is; a retry's images are counted already, by their old results."""
    return progress.chunks_done if progress.retry else progress.done + progress.in_work


def _tell(progress: "Progress", *, as_json: bool) -> None:
    if as_json:
        output.dump(output.progress(progress))
        return
    rate, left = progress.images_per_second, progress.seconds_left
    speed = f"{rate:.1f} images/s" if rate else "no rate yet"
    click.echo(f"job        {progress.job_id}: {progress.state}")
    click.echo(f"images     {progress.done} of {progress.total} done")
    click.echo(
        f"           {progress.ok} ok, {progress.no_evidence} no evidence, {progress.failed} failed"
    )
    for code, number in progress.failures.items():
        click.echo(f"           {number} {code}")
    click.echo(f"chunks     {progress.chunks_done} of {progress.chunks}")
    click.echo(f"speed      {speed}, running for {progress.seconds_running:.0f} s")
    if left:
        click.echo(f"time left  {left:.0f} s")
    if progress.retry:
        click.echo(f"retries    {progress.retry}")
    if progress.callback:
        click.echo(f"call-back  {progress.callback}")


def _exit_by(ctx: click.Context, progress: "Progress") -> None:
    if progress.complete and progress.failed:
        ctx.exit(EXIT_FAILED_IMAGES)
