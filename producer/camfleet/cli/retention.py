"""camfleet delete, prune: take jobs away, and what no job needs any more."""

import re
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from camfleet.cli import options, output
from camfleet.cli.terminal import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from camfleet import Retired
    from camfleet.jobs.retention.freed import OnProgress

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_STEP = 100  # jobs after which their number is shown anew
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")


class _Age(click.ParamType[timedelta]):
    """How long ago: a number and m, h, d or w."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        found = re.fullmatch(r"([0-9]{1,5})([mhdw])", str(value))
        if not found:
            self.fail(f"{value!r} is no age: a number and m, h, d or w, such as 90d", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.command()
@options.JOBS
@click.option(
    "--force", is_flag=True, help="Delete them even if a report or callback is still to come."
)
@_DRY_RUN
@options.as_json
def delete(job_ids: tuple[str, ...], *, force: bool, dry_run: bool, as_json: bool) -> None:
    """Delete ended jobs with their results and pictures.

    What other jobs need stays. If it's interrupted, run the same command again to finish.
    """
    with output.client() as client, _counting("deleting") as on_progress:
        done = client.delete(*job_ids, force=force, dry_run=dry_run, on_progress=on_progress)
    _show(done, dry_run=dry_run, as_json=as_json)


@click.command()
@click.option(
    "--older-than",
    type=_Age(),
    required=True,
    metavar="AGE",
    help="How long ago jobs ended: 30m, 12h, 90d, 2w.",
)
@click.option(
    "--keep-report", is_flag=True, help="If there's a report, keep it and delete only the results."
)
@_DRY_RUN
@options.as_json
def prune(*, older_than: timedelta, keep_report: bool, dry_run: bool, as_json: bool) -> None:
    """Delete old jobs, and what no job needs any more.

    The latter are pictures, uploads and converted models of the same age, but none younger than a
    day. Jobs that haven't ended stay. If it's interrupted, the next prune finishes the work.
    """
    with output.client() as client, _counting("pruning") as on_progress:
        done = client.prune(
            older_than, keep_report=keep_report, dry_run=dry_run, on_progress=on_progress
        )
    _show(done, dry_run=dry_run, as_json=as_json)


@contextmanager
def _counting(what: str) -> "Iterator[OnProgress]":
    """Say on stderr how far it is."""
    with output.waiting(what) as say:

        def on_progress(things: str, number: int) -> None:
            if things == "objects":
                say(f"{what}: {count(number, 'object')}")
            elif number % _STEP == 1:
                say(f"{what}: {count(number, 'job')} looked at")

        yield on_progress


def _show(done: "Retired", *, dry_run: bool, as_json: bool) -> None:
    """Print what was freed, or would be."""
    if as_json:
        freed = {
            kind: {"objects": amount.objects, "bytes": amount.nbytes}
            for kind, amount in done.freed.items()
        }
        output.dump(
            {
                "dry_run": dry_run,
                "deleted": done.jobs,
                "pruned": done.pruned,
                "freed": freed,
                "objects": done.objects,
                "bytes": done.nbytes,
                "younger": done.younger,
                "kept": done.kept,
            }
        )
        return
    rows = [
        {"kind": kind, "objects": amount.objects, "size": size(amount.nbytes)}
        for kind, amount in sorted(done.freed.items())
    ]
    if rows:
        output.table(rows, ("kind", "objects", "size"))
    for reason in done.kept:
        output.say(f"kept: {reason}")
    if done.younger:
        output.say(
            f"no job needs {count(done.younger, 'more object')}, younger than a day or than what "
            "is pruned: a later camfleet prune frees that"
        )
    would = "would be " if dry_run else ""
    said = [f"{count(len(done.jobs), 'job')} {would}deleted"]
    if done.pruned:
        said.append(f"the results of {count(len(done.pruned), 'job')} {would}deleted")
    verb = "would free" if dry_run else "freed"
    said.append(f"{verb} {count(done.objects, 'object')}, {size(done.nbytes)}")
    click.echo("; ".join(said))


def size(nbytes: int) -> str:
    """Return bytes as text."""
    return f"{nbytes / 2**20:,.1f} MiB"
