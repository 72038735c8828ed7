"""camfleet compare: whether a model looks elsewhere than another, with an exit code for CI."""

from typing import TYPE_CHECKING

import click

from camfleet.cli import options, output, values
from camfleet.cli.study_bars import StudyBars
from camfleet.cli.terminal import clean
from camfleet.errors import InvalidRequest

if TYPE_CHECKING:
    from camfleet.audit.comparisons.sides import Side
    from camfleet.audit.reporting import Reporter
    from camfleet.client import Client

_EXIT = {"pass": 0, "moved": 4, "undecidable": 1}
_SHARE = values.SHARE


@click.command()
@click.argument("one", metavar="JOB[:MODEL]", type=values.JOB_AND_MODEL)
@click.argument("other", metavar="[JOB[:MODEL]]", required=False, type=values.JOB_AND_MODEL)
@options.place("camfleet-comparison-JOB-JOB")
@click.option(
    "--limit",
    type=_SHARE,
    default=0.3,
    show_default=True,
    help="How far maps may move: 0 is noise, 1 is unlike.",
)
@click.option("--limit-flips", type=_SHARE, help="Share of first answers that may differ.")
@click.option(
    "--limit-lost", type=_SHARE, help="Share of pairs that may lose their evidence.  [default: 0.1]"
)
@click.option(
    "--limit-classes", type=_SHARE, help="Share of classes that may move more than the others."
)
@options.LIMIT_PLACES
@click.option(
    "--floor",
    metavar="IMAGES",
    type=click.IntRange(1, 5000),
    help="Measure noise first, on copies of this many images (200 are enough).",
)
@options.PHOTOGRAPHS
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@click.pass_context
def compare(
    ctx: click.Context,
    one: str,
    other: str | None,
    *,
    place: str | None,
    limit: float,
    limit_flips: float | None,
    limit_lost: float | None,
    limit_classes: float | None,
    limit_places: int,
    floor: int | None,
    photographs: bool,
    as_json: bool,
) -> None:
    """Compare where two models look.

    Compares two jobs, or two models of one job; MODEL is an id or id@version, for jobs with several
    models. Writes index.html, comparison.json and pairs.parquet.

    With --floor, workers first measure how much noise alone changes the first side's maps, on
    slightly changed copies of its images. That's done once; later comparisons use the same figures.

    Exit codes: 0 within the limits, 4 beyond one, 1 if no verdict is possible: what hasn't been
    measured never passes.
    """
    if other is None and ":" in one:
        raise click.UsageError("name the other side too: JOB or JOB:MODEL")
    with output.client() as client:
        reporter = client.reporter()
        from camfleet.audit.comparisons.notes import notes
        from camfleet.audit.comparisons.verdict import Limits

        sides = _sides(reporter, one, other)
        if floor:
            _measure(client, reporter, sides[0], floor)
        with output.bar(max(side.record.parts for side in sides), "comparing", "part") as bar:
            found, page = reporter.compare(
                *sides,
                place or _folder(*sides),
                limits=Limits(limit, limit_flips, limit_lost, limit_classes, limit_places),
                show=photographs,
                on_part=bar.update,
            )
    if as_json:
        said = {"verdict": found.verdict, "reasons": list(found.reasons), "page": page}
        output.dump(said | {"calibrated": found.calibrated})
    else:
        mark = "" if found.calibrated else " (uncalibrated)"
        click.echo(clean("; ".join([found.verdict + mark, *found.reasons])))
        for note in notes(found):
            click.echo(clean(note))
        click.echo(page)
    ctx.exit(_EXIT[found.verdict])


def _folder(*sides: "Side") -> str:
    """Return where a comparison goes: named after both jobs, and their models where several are."""
    names = [
        side.record.job_id + (f"-{side.ref.id}@{side.ref.version}" if several else "")
        for side in sides
        for several in (len(side.record.models) > 1,)
    ]
    return "-".join(["camfleet-comparison", *names])


def _measure(client: "Client", reporter: "Reporter", side: "Side", images: int) -> None:
    """Have workers measure the noise floor of a side."""
    if not client.workers():
        output.say("no worker is alive: this waits until one starts")
    record = side.record
    with StudyBars(record.parts, min(images, record.items), "measuring noise") as bars:
        reporter.measure_floor(side, images, bars.on_row, bars.on_part)


def _sides(reporter: "Reporter", one: str, other: str | None) -> "tuple[Side, Side]":
    """Return the sides that are named; one job alone stands for its two models."""
    from camfleet.audit.comparisons.sides import Side

    if other is None:
        record = reporter.record(one)
        if len(record.models) != 2:
            raise InvalidRequest(
                f"job {one} has {len(record.models)} models: name two of them, such as {one}:MODEL"
            )
        return Side(record, 0), Side(record, 1)
    return _side(reporter, one), _side(reporter, other)


def _side(reporter: "Reporter", name: str) -> "Side":
    from camfleet.audit.comparisons.sides import Side

    job_id, _, model = name.partition(":")
    record = reporter.record(job_id)
    names = [f"{ref.id}@{ref.version}" for ref in record.models]
    found = [
        place for place, full in enumerate(names) if model in ("", full, full.partition("@")[0])
    ]
    if len(found) == 1:
        return Side(record, found[0])
    ways = ", ".join(f"{job_id}:{full}" for full in names)
    raise InvalidRequest(f"{name}: say which model, one of {ways}")
