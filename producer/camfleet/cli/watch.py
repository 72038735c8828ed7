"""camfleet watch: follow a job until it ends."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from camfleet.cli import (
    EXIT_FAILED_IMAGES,
    EXIT_INTERRUPTED,
    options,
    output,
    progress,
    terminal,
    values,
)

if TYPE_CHECKING:
    from camfleet import Job, Progress

_LINE_SECONDS = 15  # between two lines where there's no terminal
_LAYOUT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit}s{postfix}"


@click.command()
@options.JOB
@click.option(
    "--timeout", type=values.SECONDS, help="Seconds after which to stop watching (exit 1)."
)
@options.as_json
@click.pass_context
def watch(ctx: click.Context, /, job_id: str, *, timeout: float | None, as_json: bool) -> None:
    """Follow a job until it's complete, then print its totals.

    Shows a progress bar on a terminal, or a line now and then elsewhere; with --json, a line per
    change. Ctrl-C leaves the job running. Exit code 3 if images failed.
    """
    from camfleet.errors import AnswerTimeout

    with output.client() as client, _let_it_run(job_id):
        job = client.job(job_id)
        last = _follow(job, timeout, as_json=as_json)
        if not as_json:
            progress.show(last, progress.first_failures(job, last))
    if not last.ended:
        raise AnswerTimeout(f"job {job_id} is not complete after {timeout:g} s")
    if last.complete and last.failed:
        ctx.exit(EXIT_FAILED_IMAGES)


@contextmanager
def _let_it_run(job_id: str) -> Iterator[None]:
    """Say after Ctrl-C that the job doesn't mind."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(err=True)  # behind the ^C
        output.say(f"job {job_id} goes on")
        output.say(f"to come back to it: camfleet watch {job_id}")
        output.say(f"to stop it: camfleet cancel {job_id}")
        sys.exit(EXIT_INTERRUPTED)


def _follow(job: "Job", timeout: float | None, *, as_json: bool) -> "Progress":
    """Show a job's progress until it ends or time is up; return the last one."""
    now = job.status()
    total, unit = (now.chunks, "chunk") if now.retry else (now.total, "image")
    seen: object = None
    with terminal.bar(total, job.id, unit, layout=_LAYOUT) as bar:
        tell = _Teller(silent=as_json or not bar.disable)
        for now in _poll(job, timeout):  # the last one is kept
            bar.set_postfix_str(progress.postfix(now), refresh=False)
            bar.update(max(0, _position(now) - bar.n))
            bar.refresh()
            tell(now)
            if as_json and seen != (seen := _state(now)):
                output.dump(progress.fields(now))
    return now


def _poll(job: "Job", timeout: float | None) -> "Iterator[Progress]":
    """Yield the progress twice a second until the job has ended or time is up."""
    from camfleet.jobs.job import POLL_SECONDS

    deadline = time.monotonic() + timeout if timeout is not None else None
    while True:
        now = job.status()
        yield now
        if now.ended or (deadline is not None and time.monotonic() > deadline):
            return
        time.sleep(POLL_SECONDS)


class _Teller:
    """Prints a line now and then, for logs."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._next = time.monotonic()

    def __call__(self, now: "Progress") -> None:
        if self._silent or now.ended or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LINE_SECONDS
        click.echo(f"{terminal.moment(time.time())} {progress.line(now)}", err=True)


def _position(now: "Progress") -> int:
    """Return how far the bar is; a retry's images are counted already, by their old results."""
    return now.chunks_done if now.retry else now.done + now.in_work


def _state(now: "Progress") -> tuple[object, ...]:
    return now.state, now.chunks_done, now.ok, now.failed, now.in_work
