"""camfleet push: a job's results into an annotation tool, through its API."""

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import EXIT_FAILED_IMAGES, filters, options, output
from camfleet.cli.export import say_on_disk
from camfleet.cli.terminal import count as words
from camfleet.errors import (
    BrokerUnavailable,
    ConfigurationError,
    InvalidRequest,
    ObjectMissing,
    ServiceError,
    StorageUnavailable,
)

if TYPE_CHECKING:
    from camfleet import Client
    from camfleet.contract.records import JobRecord
    from camfleet.jobs.job import Job
    from camfleet.label_studio.api import Api
    from camfleet.label_studio.pushing import Pushed
    from camfleet.results.coverage import Coverage


@click.group()
def push() -> None:
    """Push a job's results into an annotation tool."""


@push.command("label-studio")
@options.JOB
@click.option("--project", required=True, type=click.IntRange(1), help="The project's number.")
@click.option("--url", metavar="URL", help="[default: CAMFLEET_LABEL_STUDIO_URL]")
@click.option(
    "--token-from-env",
    "variable",
    default="CAMFLEET_LABEL_STUDIO_TOKEN",
    show_default=True,
    metavar="NAME",
    help="The environment variable that holds an access token of a user there.",
)
@click.option(
    "--shape",
    type=click.Choice(["box", "polygon", "rle"]),
    help="rle: masks.  [default: one that the project and the job have, never rle]",
)
@click.option("--heat", is_flag=True, help="Also the heatmap.")
@options.LABELS
@options.ROOT
@click.option(
    "--prefix",
    default="",
    metavar="TEXT",
    help="With --root: what to put before the name so that Label Studio finds the image.",
)
@filters.filter_options
@click.option("--json", "as_json", is_flag=True, help="Print what was pushed as JSON.")
@click.pass_context
def label_studio(ctx: click.Context, /, job_id: str, **given: Any) -> None:
    """Push a job's results into a Label Studio project.

    Tasks of the same images get predictions; for other images, tasks are created. Predictions of
    the same model version are left alone, so if a push was cut off, run the same command again.

    A box, polygon or mask says where the model looked. It's not an object's outline.

    Exit code 1 if results are missing or the job hasn't ended, 3 if images failed.
    """
    try:
        pushed, coverage = _push(job_id, given)
    except ServiceError as error:
        if isinstance(error, BrokerUnavailable | StorageUnavailable):
            raise
        raise type(error)(f"{error}; the same command goes on where this one ended") from error
    _tell(pushed, job_id, given)
    for note in coverage.notes if coverage else ():
        output.say(note)
    if coverage and (coverage.lost or not coverage.whole):
        if given["as_json"] and coverage.lost:
            output.error(ObjectMissing.code, coverage.notes[-1], as_json=True)
        ctx.exit(1)
    if pushed.failed:
        ctx.exit(EXIT_FAILED_IMAGES)


def _tell(pushed: "Pushed", job_id: str, given: dict[str, Any]) -> None:
    if given["as_json"]:
        output.dump(
            {
                "job_id": job_id,
                "project": given["project"],
                "made": pushed.made,
                "written": pushed.written,
                "there": pushed.there,
                "doubled": pushed.doubled,
                "failed": pushed.failed,
            }
        )
    else:
        made, written = words(pushed.made, "new task"), words(pushed.written, "prediction")
        click.echo(f"project {given['project']}: {made}, {written} of tasks that were there")
        if pushed.doubled:
            output.say(f"taken out, for they were there twice: {pushed.doubled}")
        if pushed.there:
            output.say(f"left alone, for they have one: {words(pushed.there, 'task')}")
        if pushed.failed:
            output.say(f"{words(pushed.failed, 'image')} failed, and aren't there")


def _push(job_id: str, given: dict[str, Any]) -> "tuple[Pushed, Coverage | None]":
    from camfleet.exports.job import unused_option

    places = {name: given[name] for name in ("root", "prefix")}
    options.refuse_unused(unused_option("label-studio", places))
    wanted = filters.of(given)
    with output.client() as client:
        api = _api(client, given)
        job = client.job(job_id)
        record = job.record()
        if record.follow_ups and record.follow_ups.label_studio:
            return _push_back(client, record, api, given, wanted), None
        return _push_tasks(client, job, record, api, given, wanted)


def _api(client: "Client", given: dict[str, Any]) -> "Api":
    from camfleet.label_studio.api import Api
    from camfleet.label_studio.patience import Patience
    from camfleet.variables import check_address

    settings, variable = client.settings, given["variable"]
    url = given["url"] or settings.label_studio_url
    check_address("--url", url)
    if not url:
        raise InvalidRequest(
            "which Label Studio: give --url, or set CAMFLEET_LABEL_STUDIO_URL to its address"
        )
    secret = os.environ.get(variable, "")
    if not secret:
        raise ConfigurationError(
            f"the environment variable {variable} isn't set: it holds an access token of one of "
            "Label Studio's users (Account & Settings)"
        )
    patience = Patience(_say_wait)
    return Api(url, secret, ca_file=settings.ca_file, setting=variable, patience=patience)


def _say_wait(error: Exception, seconds: float) -> None:
    output.say(f"{error}; another try in {seconds:g} s")


def _push_tasks(
    client: "Client",
    job: "Job",
    record: "JobRecord",
    api: "Api",
    given: dict[str, Any],
    wanted: dict[str, Any],
) -> "tuple[Pushed, Coverage]":
    from camfleet.exports.export import Export, Options
    from camfleet.exports.images import Count, Places
    from camfleet.exports.label_config import parse_config
    from camfleet.label_studio.patience import Patience
    from camfleet.label_studio.pushing import Pusher
    from camfleet.results import classes
    from camfleet.results.coverage import Reading

    project = api.project(given["project"])
    config = parse_config(project.label_config, f"project {given['project']}'s label config")
    options = Options(
        form="label-studio",
        shape=given["shape"],
        labels=given["labels"],
        config=config,
        places=Places(given["root"], given["prefix"]),
        heat=given["heat"],
    )
    export = Export(record, client.storage, options, wanted)
    classes.refuse_unknown(record, client.storage, export.selection, given["class_"] or None)
    reading = Reading(record, client.storage, export.selection)
    patience = Patience(_say_wait)
    count = Count()
    pusher = Pusher(api, given["project"], config.value, export.version, patience=patience)
    if project.task_number != 0:
        with output.bar(project.task_number or 0, "looking at the project", "task") as looked:
            pusher.look(looked.update)
    with (
        output.bar(record.items, "pushing", "image") as bar,
        closing(reading.tables()) as tables,
    ):
        pusher.push(export.predictions(tables, count), bar.update)
    if pusher.pushed.made and not given["as_json"]:
        say_on_disk(count.on_disk)
    return pusher.pushed, reading.coverage(job)


def _push_back(
    client: "Client",
    record: "JobRecord",
    api: "Api",
    given: dict[str, Any],
    wanted: dict[str, Any],
) -> "Pushed":
    """Write the predictions of a selection's job, which a worker was to write back."""
    from camfleet.exports.images import Count
    from camfleet.label_studio.patience import Patience
    from camfleet.label_studio.predicted import task_predictions
    from camfleet.label_studio.pushing import Pushed
    from camfleet.label_studio.writing import PredictionWriter

    assert record.follow_ups
    back = record.follow_ups.label_studio
    assert back
    asked = [name for name in ("shape", "heat", "labels", "root") if given[name]]
    if asked or wanted:
        raise InvalidRequest(
            f"job {record.job_id} is a selection of tasks, whose backend says what is shown: leave "
            "out shapes, labels, places and filters"
        )
    if (back.project, back.url) != (given["project"], api.server.url):
        raise InvalidRequest(
            f"job {record.job_id} explains tasks of project {back.project} at {back.url}: push it "
            f"there, with --project {back.project}"
        )
    count = Count()
    with output.bar(record.items, "pushing", "task") as bar:
        writer = PredictionWriter(
            api, back.project, back.version, on_tasks=bar.update, patience=Patience(_say_wait)
        )
        found = task_predictions(record, client.storage, back, count, lambda: None)
        writer.write(found)
        writer.finish()
    done = writer.count
    return Pushed(written=done.written, there=done.there, failed=count.failed, doubled=done.doubled)
