"""How a job's progress is printed: as fields, as a paragraph, as one line."""

import sys
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import terminal
from camfleet.cli.terminal import duration, moment
from camfleet.contract.records import DEFAULT_PRIORITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from camfleet import ForgottenJob, Job, Progress
    from camfleet.contract.follow_ups import FollowUp

_INDENT = 14
_FOLLOWS = {
    "waiting": "waits for a worker",
    "in_work": "in work",
    "failed": "failed",
    "dropped": "none",
}


def fields(progress: "Progress | ForgottenJob") -> dict[str, Any]:
    """Return a job's progress, or what is known of a forgotten one, as plain data."""
    import msgspec

    return {**msgspec.to_builtins(progress), "done": progress.done}


def first_failures(job: "Job", progress: "Progress") -> dict[str, str]:
    """Return a message for each error code, as far as object storage can be asked."""
    from camfleet.errors import CamfleetError

    try:
        return job.first_failures() if progress.failures else {}
    except CamfleetError:  # what Redis says is enough to go on
        return {}


def show(progress: "Progress", messages: dict[str, str], waiting: "Sequence[str]" = ()) -> None:
    """Print a job's progress for people."""
    lines = [
        ("job", f"{progress.job_id}: {progress.state}"),
        ("submitted", moment(progress.submitted_at)),
        (progress.state if progress.ended else "", moment(progress.ended_at)),
        ("pruned", _pruned(progress)),
        ("images", f"{progress.done} of {progress.total} done"),
        ("", f"{progress.ok} ok, {progress.no_evidence} no evidence, {progress.failed} failed"),
    ]
    _print(lines)
    _print_failures(progress.failures, messages)
    rate, left = progress.images_per_second, progress.seconds_left
    _print(
        [
            ("chunks", f"{progress.chunks_done} of {progress.chunks}"),
            ("speed", f"{rate:.1f} images/s" if rate else None),
            ("ran" if progress.ended else "running", _running(progress)),
            ("time left", f"about {duration(left)}" if left else None),
            ("retries", progress.retry or None),
            ("priority", progress.priority if progress.priority != DEFAULT_PRIORITY else None),
            ("callback", _callback(progress)),
            *_follow_up("faithfulness", progress.faithfulness, progress),
            *_follow_up("review", progress.review, progress),
            *_follow_up("report", progress.report, progress),
            *_follow_up("label studio", progress.label_studio, progress),
        ]
    )
    room = terminal.width(sys.stdout)
    said = [("trouble", text) for text in progress.troubles] + [("waits", text) for text in waiting]
    for name, text in said:
        click.echo(f"{name:{_INDENT}}{terminal.wrap(text, _INDENT, room, lines=6)}")


def line(progress: "Progress") -> str:
    """Return a job's progress in one line, for a log."""
    said = [f"{progress.done + progress.in_work} of {progress.total} images", *_pace(progress)]
    return f"{progress.job_id} is {progress.state}: {', '.join(said)}"


def postfix(progress: "Progress") -> str:
    """Return what stands behind a progress bar, which puts a comma before it."""
    return ", ".join(_pace(progress))


def _pace(progress: "Progress") -> list[str]:
    rate, left = progress.images_per_second, progress.seconds_left
    said = [f"{rate:.1f}/s" if rate else None, f"{duration(left)} left" if left else None]
    said.append(f"{progress.failed} failed" if progress.failed else None)
    return [text for text in said if text]


def _follow_up(
    name: str, follow_up: "FollowUp | None", progress: "Progress"
) -> list[tuple[str, str | None]]:
    """Return the lines that say how far something is that follows the job's end."""
    if follow_up is None:
        return []
    if follow_up.state == "done":
        return [(name, follow_up.uri or "done"), ("", follow_up.note)]
    said = _FOLLOWS[follow_up.state] if progress.ended else "follows the job's end"
    study = progress.faithfulness
    if study is not None and study.state == "in_work" and follow_up.state == "waiting":
        said = "waits until the faithfulness is measured"
    elif follow_up is study and study.state == "in_work":
        said = "is being measured"
    return [(name, f"{said}: {follow_up.note}" if follow_up.note else said)]


def _callback(progress: "Progress") -> str | None:
    at = moment(progress.callback_sent_at)
    return f"sent {at}" if at else progress.callback


def _pruned(progress: "Progress") -> str | None:
    at = moment(progress.pruned_at)
    return f"{at}: its results were deleted, its report was kept" if at else None


def _running(progress: "Progress") -> str | None:
    return duration(progress.seconds_running) if progress.started_at else None


def _print(lines: list[tuple[str, Any]]) -> None:
    for name, text in lines:
        if text is not None:
            click.echo(f"{name:{_INDENT}}{terminal.clean(str(text))}")


def _print_failures(failures: dict[str, int], messages: dict[str, str]) -> None:
    """Print each error code with its number, the most frequent first, and its first message."""
    room = terminal.width(sys.stdout)
    digits = max((len(str(number)) for number in failures.values()), default=0)
    for code, number in sorted(failures.items(), key=lambda pair: -pair[1]):
        head = f"{'':{_INDENT}}{number:{digits}} {code}"
        if code not in messages:
            click.echo(head)
            continue
        said = f"e.g. {messages[code]}" if number > 1 else messages[code]
        if room is None:
            click.echo(f"{head}: {terminal.clean(said)}")
            continue
        indent = _INDENT + digits + 1
        text = terminal.wrap(f"{code}: {said}", indent, room)
        click.echo(f"{'':{_INDENT}}{number:{digits}} {text}")
