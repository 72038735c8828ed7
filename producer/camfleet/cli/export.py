"""camfleet export: a job's results for annotation tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import EXIT_FAILED_IMAGES, filters, options, output, values
from camfleet.cli.terminal import count as words
from camfleet.errors import ObjectMissing

if TYPE_CHECKING:
    from camfleet.exports.job import Exported

EXPORT_FORMATS = ("coco", "coco-results", "label-studio", "voc", "yolo", "cvat", "fiftyone")


@click.command()
@options.JOB
@click.option("--format", "form", required=True, type=values.Needed(EXPORT_FORMATS))
@click.option(
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="A new or empty folder; files appear there once everything is written.",
)
@click.option(
    "--shape",
    type=click.Choice(["box", "polygon", "rle"]),
    help="rle: masks.  [default: one that the format takes and the job has, never rle]",
)
@click.option("--heat", is_flag=True, help="Also the heatmap: label-studio, fiftyone.")
@options.LABELS
@click.option(
    "--config",
    type=options.FILE,
    metavar="FILE",
    help="Label Studio's label config; for coco-results, the ground truth whose ids to use.",
)
@options.ROOT
@click.option(
    "--prefix",
    default="",
    metavar="TEXT",
    help="With --root: what to put before the name so that the tool finds the image: label-studio, "
    "fiftyone.",
)
@click.option(
    "--per-file",
    type=click.IntRange(1),
    help="Most images per file: coco, coco-results, label-studio, cvat.  [default: 10000]",
)
@filters.filter_options
@options.as_json_written
@click.pass_context
def export(ctx: click.Context, /, job_id: str, **given: Any) -> None:
    """Write a job's results into a folder for an annotation tool.

    A box, polygon or mask says where the model looked: where the heat of its map reaches the job's
    threshold. It's not an object's outline. Places are those of the upright image.

    The filters are those of `camfleet results`. Failed images are listed in failed.jsonl; rows
    without evidence have no shape; those of not: are left out.

    Exit code 1 if results are missing or the job hasn't ended, 3 if images failed.
    """
    done = _export(job_id, given)
    found, coverage, shape = done.count, done.coverage, done.shape
    if given["as_json"]:
        output.dump(
            {
                "job_id": job_id,
                "output": str(given["output"]),
                "shape": shape,
                "images": found.images,
                "annotations": found.annotations,
                "failed": found.failed,
                "without_evidence": found.without_evidence,
                "counter": found.counter,
                "unlabelled": found.unlabelled,
                "files": found.files,
            }
        )
    else:
        shapes = words(found.annotations, shape or "shape")
        click.echo(f"{given['output']}: {words(found.images, 'image')}, {shapes}")
        output.say("these say where the model looked; they're not outlines of objects")
        if found.failed:
            output.say(f"{words(found.failed, 'image')} failed: failed.jsonl says why")
        if found.counter:
            output.say(f"left out, for they speak against a class: {words(found.counter, 'row')}")
        if given["form"] == "label-studio":
            say_on_disk(found.on_disk)
    for note in coverage.notes:
        output.say(note)
    if coverage.lost or not coverage.whole:
        if given["as_json"] and coverage.lost:
            output.error(ObjectMissing.code, coverage.notes[-1], as_json=True)
        ctx.exit(1)
    if found.failed:
        ctx.exit(EXIT_FAILED_IMAGES)


def say_on_disk(images: int) -> None:
    """Say that Label Studio can't open so many images, if there are any, and what to do."""
    if images:
        output.say(
            f"Label Studio can't open {words(images, 'image')} by a path on disk: if it serves "
            "these files, give --root and --prefix, such as --root / --prefix "
            "'/data/local-files/?d='"
        )


def _export(job_id: str, given: dict[str, Any]) -> "Exported":
    from camfleet.exports.job import export_job, options_of, unused_option

    names = ("shape", "heat", "labels", "config", "root", "prefix", "per_file")
    said = {name: given[name] for name in names}
    options.refuse_unused(unused_option(given["form"], said))
    asked, _ = options_of(given["form"], said)
    wanted = filters.of(given)
    with output.client() as client:
        job = client.job(job_id)
        with output.bar(job.record().parts, "exporting", "part") as bar:
            path: Path = given["output"]
            return export_job(job, client.storage, asked, wanted, path, lambda _: bar.update())
