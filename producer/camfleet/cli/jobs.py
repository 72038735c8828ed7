"""camfleet jobs, status, cancel, retry, verify: look at jobs and act on them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from camfleet.cli import EXIT_FAILED_IMAGES, options, output, progress, values
from camfleet.cli.left_out import say_left_out
from camfleet.cli.terminal import count, moment

if TYPE_CHECKING:
    from camfleet import ForgottenJob, Progress

_NEVER = datetime.min.replace(tzinfo=UTC)
_COLUMNS = ("job", "state", "done", "total", "ok", "no evidence", "failed", "submitted")


@click.command()
@click.option("--redis-only", is_flag=True, help="Don't look for jobs that Redis has forgotten.")
@options.as_json
def jobs(*, redis_only: bool, as_json: bool) -> None:
    """List all jobs, newest first.

    Redis forgets a job some time after its end; such a job is "stored", and resume brings it back;
    with --all-stored all that lack something.
    """
    with output.client() as client:
        found: list[Progress | ForgottenJob] = list(client.jobs())
        if not redis_only:
            with output.bar(None, "looking into the bucket", unit="job") as bar:
                found += client.forgotten_jobs(lambda count: bar.update(count - bar.n))
    found.sort(key=lambda job: job.submitted_at or _NEVER, reverse=True)
    if as_json:
        output.dump([progress.fields(job) for job in found])
        return
    rows = [
        {
            "job": job.job_id,
            "state": job.state,
            "done": job.done,
            "total": job.total,
            "ok": job.ok,
            "no evidence": job.no_evidence,
            "failed": job.failed,
            "submitted": moment(job.submitted_at),
        }
        for job in found
    ]
    output.table(
        rows,
        _COLUMNS,
        whole=("job",),
        optional=("ok", "no evidence", "submitted"),
        empty="no jobs yet; submit one: camfleet submit SOURCE --model MODEL",
    )


@click.command()
@options.JOB
@options.as_json
@click.pass_context
def status(ctx: click.Context, /, job_id: str, *, as_json: bool) -> None:
    """Print how far a job is, and why images failed.

    Exit code 3 if the job is complete and some images failed.
    """
    from camfleet.jobs.waiting import waits_for

    with output.client() as client:
        job = client.job(job_id)
        now = job.status()
        messages = progress.first_failures(job, now)
        waits = [] if now.followed else waits_for(job, now, client.workers())
    if as_json:
        output.dump({**progress.fields(now), "failure_messages": messages, "waits": waits})
    else:
        progress.show(now, messages, waits)
    if now.complete and now.failed:
        ctx.exit(EXIT_FAILED_IMAGES)


@click.command()
@options.JOB
@options.as_json
def cancel(job_id: str, *, as_json: bool) -> None:
    """Stop a job within one batch; resume continues it.

    The results of finished chunks stay and count. Images of unfinished chunks are explained again
    on resume. Of a job that Redis has forgotten the bucket notes it.
    """
    from camfleet.errors import UnknownJob
    from camfleet.jobs.forgotten import look

    with output.client() as client:
        job = client.job(job_id)
        job.cancel()
        try:
            now = job.status()
            fields = progress.fields(now)
            text = f"{job_id} is {now.state}: {now.done} of {now.total} done"
        except UnknownJob:
            found = look(client.storage, job_id)
            if found is None:
                raise
            fields = progress.fields(found)
            text = f"{job_id}, which Redis has forgotten, is {found.state}"
    if as_json:
        output.dump(fields)
    else:
        click.echo(text)


@click.command()
@options.JOB
@click.option(
    "--code",
    "codes",
    multiple=True,
    type=values.CODE,
    help="Only this error code; repeat for several.",
)
@options.as_json
def retry(job_id: str, *, codes: tuple[str, ...], as_json: bool) -> None:
    """Run a complete job's failed images again.

    The old rows are kept as history. Images of missing or damaged results parts run again too.
    """
    with output.client() as client, output.waiting(f"reading the results of {job_id}"):
        job, images = client.retry(job_id, codes)
        now = job.status()
    if as_json:
        output.dump({"images": images, **progress.fields(now)})
    elif images:
        failed = count(images, "failed image")
        click.echo(f"{job_id}: running {failed} again; camfleet watch {job_id}")
        if now.report:
            click.echo("its report is written anew after that, to the same place")
    else:
        of = f" with {', '.join(codes)}" if codes else ""
        click.echo(f"{job_id}: no image failed{of}; nothing was done")


@click.command()
@options.JOB
@options.as_json
@click.pass_context
def verify(ctx: click.Context, /, job_id: str, *, as_json: bool) -> None:
    """Verify that each image has its result exactly once.

    Exit code 1 if not.
    """
    from camfleet.contract.codec import encode

    with output.client() as client, output.waiting(f"reading all of {job_id}"):
        found = client.job(job_id).verify()
    if as_json:
        output.dump({**encode(found), "passed": found.passed})
    else:
        click.echo(
            f"{job_id}: {found.images} images; {found.ok} ok, {found.no_evidence} no evidence, "
            f"{found.failed} failed"
        )
        for fault in found.faults:
            output.say(fault)
        if found.passed:
            click.echo("every image has its result exactly once")
        say_left_out(found.left_out)
    if not found.passed:
        ctx.exit(1)
