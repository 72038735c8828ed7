"""camfleet faithfulness: whether what maps show matters to the model, on a sample of a job."""

from typing import TYPE_CHECKING

import click
import msgspec

from camfleet.cli import options, output
from camfleet.cli.study_bars import StudyBars
from camfleet.cli.terminal import clean
from camfleet.contract.follow_ups import MOST_SAMPLED
from camfleet.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from camfleet.audit.studies.document import ModelFaithfulness
    from camfleet.contract.records import JobRecord

_YES, _NO, _UNDECIDED = 0, 4, 1


@click.command()
@options.JOB
@click.option(
    "--sample",
    type=click.IntRange(1, MOST_SAMPLED),
    default=256,
    show_default=True,
    help="How many images to measure for each model.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    help="An id, or id@version; repeat for several.  [default: all of the job]",
)
@options.as_json
@click.pass_context
def faithfulness(
    ctx: click.Context, job_id: str, sample: int, models: tuple[str, ...], *, as_json: bool
) -> None:
    """Measure whether what maps show matters to the model.

    In a sample of images, workers fill in the cells that a map calls most relevant, and watch the
    answer; as controls they do so in random order, and from the centre. Earlier measurements are
    reused, so an interrupted command continues where it was. `camfleet report` shows the findings
    of the largest sample.

    Exit codes: 0 if the maps beat both controls, 4 if they don't, 1 if no verdict is possible.
    """
    with output.client() as client:
        reporter = client.reporter()
        record = reporter.record(job_id)
        chosen = _chosen(record, models)
        if not client.workers():
            output.say("no worker is alive: this waits until one starts")
        larger: list[ModelFaithfulness] = []
        rows = min(sample, record.items) * len(chosen)
        with StudyBars(record.parts * len(chosen), rows, "measuring") as bars:
            found = reporter.faithfulness(
                record,
                sample,
                models=chosen,
                on_part=bars.on_part,
                on_row=bars.on_row,
                on_larger=larger.append,
            )
    _say_larger(larger, sample)
    if as_json:
        output.dump(msgspec.to_builtins(found))
    names = {(record.models[one].id, record.models[one].version) for one in chosen}
    own = [one for one in found.models if (one.id, one.version) in names]
    if not as_json:
        _print(own)
    verdicts = [one.faithful for one in own]
    if "no" in verdicts:
        ctx.exit(_NO)
    ctx.exit(_UNDECIDED if "undecided" in verdicts else _YES)


def _chosen(record: "JobRecord", names: tuple[str, ...]) -> list[int]:
    """Return the numbers of the models that are named, all if none is."""
    found = {
        number
        for number, ref in enumerate(record.models)
        if not names or {ref.id, f"{ref.id}@{ref.version}"} & {*names}
    }
    there = [{ref.id, f"{ref.id}@{ref.version}"} for ref in record.models]
    for name in names:
        if not any(name in one for one in there):
            ways = ", ".join(f"{ref.id}@{ref.version}" for ref in record.models)
            raise InvalidRequest(f"job {record.job_id} has no model {name!r}; it has {ways}")
    return sorted(found)


def _say_larger(kept: "Iterable[ModelFaithfulness]", sample: int) -> None:
    """Say which findings stay with the job, for more images were measured for them."""
    from camfleet.audit.studies import wording

    for one in kept:
        which = "a larger" if one.sample > sample else "an earlier"
        output.say(
            clean(
                f"{one.id}@{one.version}: the job and its report keep what {which} sample of "
                f"{one.sample:,} images found ({wording.verdict(one)})"
            )
        )


def _print(found: "Iterable[ModelFaithfulness]") -> None:
    from camfleet.audit.studies import wording

    for one in found:
        click.echo(f"{one.id}@{one.version}: {clean(wording.verdict(one))}")
        if not one.refused:
            click.echo(wording.measured(one))
            rows = [
                {"measure": measure, "mean fill": mean, "blur fill": blur}
                for measure, mean, blur in wording.measures(one)
            ]
            output.table(rows, ["measure", "mean fill", "blur fill"])
        for name, words in wording.others(one):
            click.echo(f"{name}: {clean(words)}")
