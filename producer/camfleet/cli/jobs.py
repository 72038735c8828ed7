"""camfleet jobs, status, watch, cancel, resume, retry, verify: follow jobs and act on them."""

from typing import TYPE_CHECKING

import click

from camfleet.cli import EXIT_FAILED_IMAGES, options, output

if TYPE_CHECKING:
    from camfleet import Progress


_COLUMNS = ("job", "state", "done", "total", "ok", "no evidence", "failed")


@click.command()
@options.as_json
def jobs(*, as_json: bool) -> None:
    """List the jobs that Redis knows, newest first."""
    with output.client() as client:
        found = list(client.jobs())
    if as_json:
        output.dump([output.progress_fields(progress) for progress in found])
        return
    rows = [
        {
            "job": progress.job_id,
            "state": progress.state,
            "done": progress.done,
            "total": progress.total,
            "ok": progress.ok,
            "no evidence": progress.no_evidence,
            "failed": progress.failed,
        }
        for progress in found
    ]
    output.table(rows, _COLUMNS)


@click.command()
@click.argument("job_id", metavar="JOB")
@options.as_json
@click.pass_context
def status(ctx: click.Context, /, job_id: str, *, as_json: bool) -> None:
    """Print how far a job is. Exit code 3 if it's complete and images failed."""
    with output.client() as client:
        progress = client.job(job_id).status()
    _print_progress(progress, as_json=as_json)
    _exit_by(ctx, progress)


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--timeout", type=float, help="Seconds after which to stop watching (exit 1).")
@options.as_json
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
                    output.dump(output.progress_fields(progress))
    if not as_json:
        _print_progress(progress, as_json=False)
    if not progress.ended:
        raise AnswerTimeout(f"job {job_id} is not complete after {timeout:g} s")
    _exit_by(ctx, progress)


@click.command()
@click.argument("job_id", metavar="JOB")
@options.as_json
def cancel(job_id: str, *, as_json: bool) -> None:
    """Stop a job within one batch. What's done stays and counts; resume continues it."""
    with output.client() as client:
        job = client.job(job_id)
        job.cancel()
        progress = job.status()
    if as_json:
        output.dump(output.progress_fields(progress))
    else:
        click.echo(f"{job_id} is {progress.state}: {progress.done} of {progress.total} done")


@click.command()
@click.argument("job_id", metavar="JOB")
@options.as_json
def resume(job_id: str, *, as_json: bool) -> None:
    """Run what a job still lacks, as object storage knows it; Redis may be empty."""
    with output.client() as client:
        progress = client.resume(job_id).status()
    if as_json:
        output.dump(output.progress_fields(progress))
    else:
        left = progress.total - progress.done
        click.echo(f"{job_id}: {progress.done} of {progress.total} were done, {left} to go")


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--code", "codes", multiple=True, help="Only this error code; repeat for several.")
@options.as_json
def retry(job_id: str, *, codes: tuple[str, ...], as_json: bool) -> None:
    """Run a complete job's failed images again; the old rows are kept as history."""
    with output.client() as client:
        job, images = client.retry(job_id, codes)
        progress = job.status()
    if as_json:
        output.dump({"images": images, **output.progress_fields(progress)})
    elif images:
        click.echo(f"{job_id}: {images} failed images run again; camfleet watch {job_id}")
    else:
        of = f" with {', '.join(codes)}" if codes else ""
        click.echo(f"{job_id}: no image failed{of}; nothing was done")


@click.command()
@click.argument("job_id", metavar="JOB")
@options.as_json
@click.pass_context
def verify(ctx: click.Context, /, job_id: str, *, as_json: bool) -> None:
    """Verify that every image of a job has its result exactly once. Exit code 1 if not."""
    from camfleet.contract.codec import encode

    with output.client() as client:
        found = client.job(job_id).verify()
    if as_json:
        output.dump({**encode(found), "passed": found.passed})
    else:
        click.echo(
            f"{job_id}: {found.images} images; {found.ok} ok, {found.no_evidence} no evidence, "
            f"{found.failed} failed"
        )
        for fault in found.faults:
            click.echo(f"camfleet: {fault}", err=True)
        if found.passed:
            click.echo("every image has its result exactly once")
    if not found.passed:
        ctx.exit(1)


def _position(progress: "Progress") -> int:
    """Return how far the bar is; a retry's images are counted already, by their old results."""
    return progress.chunks_done if progress.retry else progress.done + progress.in_work


def _print_progress(progress: "Progress", *, as_json: bool) -> None:
    if as_json:
        output.dump(output.progress_fields(progress))
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
        click.echo(f"callback   {progress.callback}")


def _exit_by(ctx: click.Context, progress: "Progress") -> None:
    if progress.complete and progress.failed:
        ctx.exit(EXIT_FAILED_IMAGES)
