"""camfleet jobs, cancel, resume, retry, verify: what operators do with jobs."""

import click

from camfleet.cli import output

_COLUMNS = ("job", "state", "done", "total", "ok", "no evidence", "failed")


@click.command()
@output.as_json
def jobs(*, as_json: bool) -> None:
    """List the jobs that Redis knows, newest first."""
    with output.client() as client:
        found = list(client.jobs())
    if as_json:
        output.dump([output.progress(each) for each in found])
        return
    rows = [
        {
            "job": each.job_id,
            "state": each.state,
            "done": each.done,
            "total": each.total,
            "ok": each.ok,
            "no evidence": each.no_evidence,
            "failed": each.failed,
        }
        for each in found
    ]
    output.table(rows, _COLUMNS)


@click.command()
@click.argument("job_id", metavar="JOB")
@output.as_json
def cancel(job_id: str, *, as_json: bool) -> None:
    """Stop a job within one batch. What is done stays and is counted; resume goes on."""
    with output.client() as client:
        job = client.job(job_id)
        job.cancel()
        progress = job.status()
    if as_json:
        output.dump(output.progress(progress))
    else:
        click.echo(f"{job_id} is {progress.state}: {progress.done} of {progress.total} done")


@click.command()
@click.argument("job_id", metavar="JOB")
@output.as_json
def resume(job_id: str, *, as_json: bool) -> None:
    """Run what is missing of a job, from object storage alone, into an empty Redis too."""
    with output.client() as client:
        progress = client.resume(job_id).status()
    if as_json:
        output.dump(output.progress(progress))
    else:
        left = progress.total - progress.done
        click.echo(f"{job_id}: {progress.done} of {progress.total} were done, {left} to go")


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--code", "codes", multiple=True, help="Only this error code; repeat for several.")
@output.as_json
def retry(job_id: str, *, codes: tuple[str, ...], as_json: bool) -> None:
    """Run the failed images of a complete job again; their rows are replaced, the old ones kept."""
    with output.client() as client:
        job, images = client.retry(job_id, codes)
        progress = job.status()
    if as_json:
        output.dump({"images": images, **output.progress(progress)})
    elif images:
        click.echo(f"{job_id}: {images} failed images run again; camfleet watch {job_id}")
    else:
        of = f" with {', '.join(codes)}" if codes else ""
        click.echo(f"{job_id}: no image failed{of}; nothing was done")


@click.command()
@click.argument("job_id", metavar="JOB")
@output.as_json
@click.pass_context
def verify(ctx: click.Context, /, job_id: str, *, as_json: bool) -> None:
    """Prove that every image of a job has its result exactly once. Exit code 1 if not."""
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
