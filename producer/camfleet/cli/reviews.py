"""camfleet review: whether new versions of a model look elsewhere, on a frozen set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import options, output, values
from camfleet.cli import review_rows as rows
from camfleet.cli.terminal import clean
from camfleet.contract import unused
from camfleet.contract.outputs import DEFAULT_LAYER, DEFAULT_METHOD, FUSES, METHODS

if TYPE_CHECKING:
    from camfleet.client import Client
    from camfleet.contract.reviews import Review

_EXIT = {"pass": 0, "moved": 4}
_SHARE = values.SHARE
_name = click.argument("name", metavar="NAME")
_reason = click.option("--reason", help="Why; shown by camfleet review history.")
_model = click.option(
    "--model", metavar="ID@VERSION", help="The version.  [default: the one that the review names]"
)


@click.group()
def review() -> None:
    """Check that new versions of a model look where the old did.

    A review is a set of images, frozen with the classes that the baseline gave them. Each run
    explains them with a new version and compares the maps.
    """


@review.command()
@_name
@click.argument("source", nargs=-1, required=True)
@click.option("--baseline", required=True, metavar="ID@VERSION", help="The version in use.")
@click.option(
    "--model",
    metavar="ID[@ALIAS]",
    help="What to review; a bare ID is the version added last.  [default: the baseline's ID]",
)
@click.option("--every", metavar="CRON", help="When to run, such as '30 6 * * MON'.")
@click.option(
    "--timezone", default="UTC", show_default=True, help="For --every, such as Europe/Berlin."
)
@click.option("--on-register", is_flag=True, help="Review each version when it's added.")
@click.option("--callback", metavar="URL", help="URL to notify of each verdict, signed.")
@click.option(
    "--limit", type=_SHARE, help="How far maps may move.  [default: 0.3, or more if accepted]"
)
@click.option("--limit-flips", type=_SHARE, help="Share of first answers that may differ.")
@click.option(
    "--limit-lost", type=_SHARE, help="Share of pairs that may lose their evidence.  [default: 0.1]"
)
@click.option(
    "--limit-classes",
    type=_SHARE,
    help="Share of classes that may move more than the others.  [default: 0 if one has 20 images]",
)
@options.LIMIT_PLACES
@click.option(
    "--floor",
    metavar="IMAGES",
    type=click.IntRange(1, 5000),
    default=200,
    show_default=True,
    help="Measure noise on copies of this many images.",
)
@click.option("--method", type=click.Choice(METHODS), default=DEFAULT_METHOD, show_default=True)
@click.option(
    "--layer",
    type=values.LAYERS,
    default=DEFAULT_LAYER,
    show_default=True,
    help="As in camfleet submit.",
)
@click.option("--fuse", type=click.Choice(FUSES), help="As in camfleet submit.")
@click.option("--upload", is_flag=True, help="Send local images to the bucket.")
@options.as_json
@click.pass_context
def create(
    ctx: click.Context, /, name: str, source: tuple[str, ...], *, as_json: bool, **given: Any
) -> None:
    """Create a review: freeze images with a baseline's answers.

    Workers explain SOURCE with the baseline and measure noise, while the command waits. After
    Ctrl-C, run the same command again to continue.
    """
    if not given["every"]:
        options.refuse_given(ctx, ["timezone"], "does nothing without --every, which it's about")
        given.pop("timezone")
    options.refuse_unused(unused.of_layers(given["fuse"], given["layer"]))
    warnings: list[str] = []
    with output.client() as client, _steps(client) as on_step:
        told = warnings.append
        made = client.reviews.create(name, source, on_step=on_step, on_warning=told, **given)
    for warning in warnings:
        output.say(warning)
    if as_json:
        output.dump(rows.plain(made))
        return
    rows.say_made(name, made)


@review.command()
@_name
@_model
@click.option("--if-new", is_flag=True, help="Accept an existing verdict on the version.")
@click.option("--wait", is_flag=True, help="Wait for the verdict; it decides the exit code.")
@click.option("--timeout", type=values.SECONDS, help="Seconds to wait at most, then exit with 1.")
@options.as_json
@click.pass_context
def run(
    ctx: click.Context,
    name: str,
    *,
    model: str | None,
    if_new: bool,
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Explain the set with the version to review, and compare.

    Without --wait, a worker compares at the end. With it, the command does; if it's cut off, run it
    again to continue.

    Exit codes with --wait: 0 pass, 4 moved, 1 anything else: what hasn't been measured never
    passes.
    """
    if not wait:
        options.refuse_given(ctx, ["timeout"], "does nothing without --wait, which it ends")
    with output.client() as client, _steps(client) as on_step:
        if not wait:
            started = client.reviews.start(name, model=model, if_new=if_new)
            plain = {"job_id": started.job_id, "model": rows.called(started.model)}
            said = f"{plain['model']} is explained by job {plain['job_id']}"
            output.dump(plain) if as_json else click.echo(said)
            return
        verdict = client.reviews.run(
            name, model=model, if_new=if_new, timeout=timeout, on_step=on_step
        )
    if as_json:
        output.dump(rows.plain(verdict))
    else:
        rows.say_verdict(verdict)
    ctx.exit(_EXIT.get(verdict.verdict, 1))


@review.command(name="list")
@options.as_json
def list_(*, as_json: bool) -> None:
    """List all reviews, with their latest verdict."""
    with output.client() as client:
        found = client.reviews.list()
    if as_json:
        output.dump([rows.status(one) for one in found])
        return
    output.table(
        map(rows.row, found),
        ("review", "baseline", "last", "verdict", "movement", "next"),
        whole=("review", "verdict"),
        optional=("movement", "next"),
        empty="no reviews yet; make one: camfleet review create NAME SOURCE --baseline ID@VERSION",
    )


@review.command()
@_name
@options.as_json
def show(name: str, *, as_json: bool) -> None:
    """Show a review and its current state."""
    with output.client() as client:
        found = client.reviews.show(name)
    if as_json:
        output.dump(rows.status(found))
        return
    for word, value in rows.lines(found):
        if value:
            click.echo(f"{word:<10}{clean(value)}")
    if found.verdict:
        click.echo()
        rows.say_verdict(found.verdict)


@review.command()
@_name
@click.option("--model", metavar="ID@VERSION", help="The version.  [default: the latest verdict's]")
@click.option("--first", is_flag=True, help="The comparison with the first baseline.")
@click.option(
    "--output",
    "folder",
    metavar="DIR",
    type=values.FOLDER,
    help="The folder to write into.  [default: camfleet-review-NAME]",
)
@options.as_json
def page(name: str, *, model: str | None, first: bool, folder: str | None, as_json: bool) -> None:
    """Download the page of the latest verdict.

    It compares the version with the baseline; comparison.json and pairs.parquet come with it. The
    command prints where the page is.
    """
    place = folder or f"camfleet-review-{name}"
    with output.client() as client:
        written = client.reviews.fetch_page(name, place, model=model, first=first)
    output.dump({"review": name, "page": written}) if as_json else click.echo(written)


@review.command()
@_name
@options.as_json
def history(name: str, *, as_json: bool) -> None:
    """Print a review's changes and verdicts, newest first."""
    with output.client() as client:
        found = client.reviews.history(name)
    if as_json:
        output.dump([rows.plain(one) for one in found])
        return
    found_rows = map(rows.entry, found)
    columns = ("when", "what", "model", "movement", "by", "reason")
    output.table(found_rows, columns, whole=("when", "what"), optional=("movement",))


@review.command()
@_name
@_model
@_reason
@options.as_json
def accept(name: str, *, model: str | None, reason: str | None, as_json: bool) -> None:
    """Make a reviewed version the new baseline.

    By default that's the version of the last run. If no verdict was possible (undecidable,
    set_changed), you must give a --reason.
    """
    with output.client() as client, _steps(client) as on_step:
        made = client.reviews.accept(name, model=model, reason=reason, on_step=on_step)
    _done(made, f"review {name}: the baseline is {rows.called(made.baseline.model)} now", as_json)


@review.command()
@_name
@_reason
@options.as_json
def pause(name: str, *, reason: str | None, as_json: bool) -> None:
    """Stop a review's automatic runs."""
    with output.client() as client:
        made = client.reviews.pause(name, reason=reason)
    _done(made, f"review {name} is paused", as_json)


@review.command()
@_name
@_reason
@options.as_json
def resume(name: str, *, reason: str | None, as_json: bool) -> None:
    """Resume a review's automatic runs."""
    with output.client() as client:
        made = client.reviews.resume(name, reason=reason)
    _done(made, f"review {name} runs by itself again", as_json)


@review.command()
@_name
@options.as_json
def delete(name: str, *, as_json: bool) -> None:
    """Delete a review with its set, verdicts and history.

    Its jobs stay.
    """
    with output.client() as client:
        client.reviews.delete(name)
    output.dump({"deleted": name}) if as_json else click.echo(f"review {name} is deleted")


@contextmanager
def _steps(client: "Client") -> Iterator[Callable[[str, int, int], None]]:
    """Say on a terminal what is going on; give what is told of each step."""
    if not client.workers():
        output.say("no worker is alive: this waits until one starts")
    with output.waiting("asking") as say:

        def on_step(what: str, done: int, total: int) -> None:
            number = f" ({done} of {total})" if total else f" ({done})" if done else ""
            say(what + number)

        yield on_step


def _done(made: "Review", said: str, as_json: bool) -> None:
    output.dump(rows.plain(made)) if as_json else click.echo(said)
