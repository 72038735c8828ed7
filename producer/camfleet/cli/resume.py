"""camfleet resume: run what a job still lacks, or all jobs that Redis has forgotten."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import options, output, progress, values
from camfleet.cli.terminal import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from camfleet import StoredJob

_LEFT_ALONE = {
    "complete": "complete",
    "cancelled": "cancelled",
    "foreign": "another fleet's",
    "pruned": "without their results",
    "deleting": "being deleted",
    "unfinished": "never submitted to the end",
}
_COLUMNS = ("job", "to run", "chunks")


@click.command()
@click.argument("job_id", metavar="[JOB]", type=values.JOB, required=False)
@click.option("--cancelled", is_flag=True, help="Also a cancelled job that Redis has forgotten.")
@click.option(
    "--all-stored",
    is_flag=True,
    help="All jobs that Redis has forgotten, except complete and cancelled ones.",
)
@click.option("--dry-run", is_flag=True, help="Only say what --all-stored would resume.")
@click.option(
    "--of-fleet",
    metavar="FLEET",
    help="With --all-stored: this other fleet's, too, whose Redis is gone.",
)
@options.as_json
@click.pass_context
def resume(
    ctx: click.Context,
    /,
    job_id: str | None,
    *,
    cancelled: bool,
    all_stored: bool,
    dry_run: bool,
    of_fleet: str | None,
    as_json: bool,
) -> None:
    """Run what a job still lacks.

    Object storage says what that is, so Redis may be empty. Damaged results parts are recreated.
    --all-stored does so with every job that was under way when Redis lost everything. Exit code 1
    if some of these can't be read or resumed.
    """
    if (job_id is None) != all_stored:
        raise click.UsageError("name a JOB, or --all-stored")
    if job_id is None:
        if cancelled:
            raise click.UsageError("--cancelled is for one JOB at a time")
        _resume_all(ctx, dry_run=dry_run, of_fleet=of_fleet, as_json=as_json)
        return
    if dry_run or of_fleet is not None:
        raise click.UsageError("--dry-run and --of-fleet go with --all-stored")
    _resume_one(job_id, cancelled=cancelled, as_json=as_json)


def _resume_one(job_id: str, *, cancelled: bool, as_json: bool) -> None:
    with output.client() as client, output.waiting(f"reading the results of {job_id}"):
        job = client.resume(job_id, cancelled=cancelled)
        now = job.status()
    if job.note:
        output.say(f"{job_id} {job.note}")
    if as_json:
        output.dump(progress.fields(now))
        return
    left = now.total - now.done
    queued = f"{left} queued again" if left else "nothing is missing"
    click.echo(f"{job_id}: {now.done} of {now.total} images are done, {queued}")
    if now.report and now.report.state == "waiting":
        click.echo(f"its report follows: camfleet status {job_id} says where it lies")


def _resume_all(ctx: click.Context, *, dry_run: bool, of_fleet: str | None, as_json: bool) -> None:
    seen: Counter[str] = Counter()
    told: list[StoredJob] = []
    with output.client() as client, output.bar(None, "looking into the bucket", unit="job") as bar:
        found = client.resume_stored(
            dry_run=dry_run,
            of_fleet=of_fleet,
            on_progress=lambda number: bar.update(number - bar.n),
        )
        told.extend(_to_tell(found, seen))
    if as_json:
        output.dump(_fields(told, seen, dry_run=dry_run))
    else:
        _show(told, seen, dry_run=dry_run)
    if seen["unreadable"] or seen["failed"]:
        ctx.exit(1)


def _to_tell(found: "Iterable[StoredJob]", seen: Counter[str]) -> "Iterator[StoredJob]":
    """Count jobs by what became of them; yield those that people are told of one by one."""
    for job in found:
        seen[job.outcome] += 1
        if job.needs_somebody or job.outcome in ("resumed", "foreign"):
            yield job


def _fields(told: "list[StoredJob]", seen: Counter[str], *, dry_run: bool) -> dict[str, Any]:
    names = ("job_id", "chunks", "to_run", "note")
    of: dict[str, list[dict[str, Any]]] = {
        outcome: [
            {name: getattr(job, name) for name in names} for job in told if job.outcome == outcome
        ]
        for outcome in ("resumed", "foreign", "unreadable", "failed")
    }
    return {"dry_run": dry_run, **of, "jobs": dict(sorted(seen.items()))}


def _show(told: "list[StoredJob]", seen: Counter[str], *, dry_run: bool) -> None:
    resumed = [job for job in told if job.outcome == "resumed"]
    if resumed:
        rows = [{"job": job.job_id, "to run": job.to_run, "chunks": job.chunks} for job in resumed]
        output.table(rows, _COLUMNS, whole=("job",))
    for job in told:
        if job.needs_somebody:
            output.say(f"{job.job_id} can't be resumed: {job.note}")
    for fleet, jobs in Counter(job.note for job in told if job.outcome == "foreign").items():
        output.say(f"left to another fleet, {count(jobs, 'job')}: {fleet}")
    would = "would be " if dry_run else ""
    said = [f"{count(len(resumed), 'job')} {would}resumed"]
    said += [f"{seen[one]} {text}" for one, text in _LEFT_ALONE.items() if seen[one]]
    said += [f"{seen[one]} {one}" for one in ("unreadable", "failed") if seen[one]]
    click.echo("; ".join(said))
    if seen["foreign"]:
        output.say(
            "where that's what this Redis was before it was emptied: repeat this after half a "
            "minute, or name it with --of-fleet"
        )
