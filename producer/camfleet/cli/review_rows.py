"""What is printed of reviews and their verdicts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import output
from camfleet.cli.terminal import clean, count, iso, moment

_SOURCES = 3  # that are named; a shell may have made many of a pattern
_USUAL = 200  # images of a set, below which a verdict says little

if TYPE_CHECKING:
    from camfleet.contract.reviews import Review, ReviewChange, ReviewVerdict, Trouble
    from camfleet.jobs.reviews.looking import Entry, ReviewStatus


def called(model: Any) -> str:
    return f"{model.id}@{model.version}"


def plain(document: Any) -> dict[str, Any]:
    from camfleet.contract.codec import encode
    from camfleet.gateway.told import told_of_review

    return encode(told_of_review(document))


def status(found: "ReviewStatus") -> dict[str, Any]:
    return {
        "review": plain(found.review),
        "run": plain(found.state.run) if found.state.run else None,
        "trouble": plain(found.state.trouble) if found.state.trouble else None,
        "verdict": plain(found.verdict) if found.verdict else None,
        "due": iso(found.due) if found.due is not None else None,
    }


def say_made(name: str, made: "Review") -> None:
    """Say what a set holds, and what a verdict on it can't tell."""
    assert made.set
    click.echo(f"review {name}: {made.set.items} images, baseline {called(made.baseline.model)}")
    if made.set.left_out:
        failed = f"couldn't explain {count(made.set.left_out, 'image')}, which the set leaves out"
        why = f"camfleet results {made.baseline.job_id} --status failed says why"
        output.say(f"the baseline {failed}: {why}")
    if made.set.unwatched:
        output.say(
            f"{made.set.unwatched} images have no ETag, so that nobody can tell whether they "
            "change: use object storage, or --upload"
        )
    if made.set.items < _USUAL:
        output.say(f"{made.set.items} images are few: {_USUAL} or more make a verdict that counts")


def say_verdict(verdict: "ReviewVerdict") -> None:
    from camfleet.contract.reviews import show_movement

    mark = "" if verdict.calibrated or verdict.verdict == "failed" else " (uncalibrated)"
    click.echo(clean("; ".join([verdict.verdict + mark, *verdict.reasons])))
    name = called(verdict.model)
    for whose, moved in (
        (f"the baseline {called(verdict.baseline)}", verdict.movement),
        (f"the first baseline {called(verdict.first)}", verdict.drift),
    ):
        if moved:
            value, low, high = map(show_movement, (moved.value, moved.low, moved.high))
            interval = f"{value} ({low} to {high})"
            click.echo(f"{name} moved by {interval} from {whose}, the limit is {verdict.limit:g}")
    for page in (verdict.page, verdict.first_page):
        if page:
            click.echo(clean(page))


def _standing(found: "ReviewStatus") -> str | None:
    if found.verdict:
        return found.verdict.verdict
    if found.review.set is None:
        return "not complete"
    return "runs" if found.state.run else None


def row(found: "ReviewStatus") -> dict[str, Any]:
    from camfleet.contract.reviews import show_movement

    verdict, run_ = found.verdict, found.state.run
    moved = verdict.movement if verdict else None
    return {
        "review": found.review.name,
        "baseline": called(found.review.baseline.model),
        "last": called(run_.model) if run_ else None,
        "verdict": _standing(found),
        "movement": show_movement(moved.value) if moved else None,
        "next": "paused" if found.review.paused else moment(found.due),
    }


def lines(found: "ReviewStatus") -> Iterator[tuple[str, str | None]]:
    from camfleet.reviews.repeating import in_words

    own, made = found.review, found.review.set
    yield "review", own.name + (" (paused)" if own.paused else "")
    more = len(own.sources) - _SOURCES
    named = [*own.sources[:_SOURCES], *([f"{more:,} more"] if more > 0 else [])]
    yield "set", f"{made.items} images from {', '.join(named)}" if made else "not complete"
    yield "baseline", called(own.baseline.model)
    yield "first", called(own.first.model) if own.first != own.baseline else None
    yield "reviews", own.model
    yield "when", f"{own.schedule.cron} {own.schedule.timezone}" if own.schedule else None
    yield "also", "when a version is added" if own.on_register else None
    yield "next", moment(found.due)
    run_ = found.state.run
    yield "last run", f"{called(run_.model)}, job {run_.job_id}" if run_ else None
    yield "trouble", in_words(found.state.trouble) if found.state.trouble else None


def entry(found: "Entry") -> dict[str, Any]:
    """Return a line of a review's history."""
    from camfleet.contract.reviews import ReviewChange, ReviewVerdict

    if isinstance(found, ReviewChange):
        return _change(found)
    return _verdict(found) if isinstance(found, ReviewVerdict) else _trouble(found)


def _trouble(found: "Trouble") -> dict[str, Any]:
    from camfleet.reviews.repeating import in_words

    line = {"when": moment(found.at), "what": "trouble", "model": None, "movement": None}
    return {**line, "by": None, "reason": in_words(found)}


def _change(found: "ReviewChange") -> dict[str, Any]:
    from camfleet.contract.reviews import show_movement

    accepted = found.action in ("created", "accepted")
    return {
        "when": moment(found.changed_at),
        "what": found.action,
        "model": called(found.review.baseline.model) if accepted else None,
        "movement": None if found.movement is None else show_movement(found.movement),
        "by": found.user,
        "reason": found.reason,
    }


def _verdict(found: "ReviewVerdict") -> dict[str, Any]:
    from camfleet.contract.reviews import show_movement

    return {
        "when": moment(found.decided_at),
        "what": found.verdict,
        "model": called(found.model),
        "movement": show_movement(found.movement.value) if found.movement else None,
        "by": None,
        "reason": "; ".join(found.reasons) or None,
    }
