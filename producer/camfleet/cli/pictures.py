"""camfleet get, render and gallery: a job's pictures as files that one can open."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import filters, options, output, values
from camfleet.cli.terminal import count
from camfleet.contract import unused
from camfleet.contract.outputs import COLORMAPS, COMPONENTS, DEFAULT_OUTPUTS, DRAWN, PICTURES

if TYPE_CHECKING:
    from camfleet import Client
    from camfleet.pictures.files import Saved

_NAMED = 20  # pictures that can't be had, of which the reason is printed
_KINDS = (*PICTURES, "original")

_WRITES = options.add_options((options.FOLDER, options.as_json_written))
_DRAWS = options.add_options((options.FOLDER, options.PICTURES_TIMEOUT, options.as_json_written))


@click.command()
@options.JOB
@filters.filter_options
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(_KINDS),
    default=("overlay",),
    help="Which pictures; repeat for several. original: the photograph.  [default: overlay]",
)
@_WRITES
@click.pass_context
def get(ctx: click.Context, /, job_id: str, kinds: tuple[str, ...], **given: Any) -> None:
    """Download a job's pictures into a folder.

    File names contain the image, the rank and the class. The filters are those of `camfleet
    results`. Pictures that are already in the folder aren't fetched again, so an interrupted
    command continues where it was.

    Exit code 1 if a picture can't be fetched or parts of the results are missing; each is named.
    """
    wanted = filters.of(given)
    with output.client() as client, _progress(client, [job_id], "fetching") as steps:
        saved = client.pictures.get(job_id, given["output"], kinds=kinds, **steps, **wanted)
    _tell(ctx, saved, [job_id], as_json=given["as_json"])


@click.command()
@options.JOB
@filters.filter_options
@click.option(
    "--picture",
    type=click.Choice(DRAWN),
    default="overlay",
    show_default=True,
    help="shapes: outlines of where the heat reaches the threshold.",
)
@click.option(
    "--colormap",
    type=click.Choice(COLORMAPS),
    help=f"[default: {DEFAULT_OUTPUTS.colormap}; a heatmap is gray]",
)
@click.option(
    "--opacity",
    type=values.SHARE,
    default=DEFAULT_OUTPUTS.opacity,
    show_default=True,
    help="The heat's share of an overlay.",
)
@click.option(
    "--max-side",
    type=click.IntRange(0),
    help="Longest side in pixels; 0: the photograph's own, except of a heatmap.  "
    f"[default: {DEFAULT_OUTPUTS.max_side}; of a heatmap the model's input]",
)
@click.option(
    "--threshold",
    default="0.5",
    show_default=True,
    help="Of shapes: a fraction of the map's maximum, or otsu.",
)
@click.option(
    "--components",
    type=click.Choice(COMPONENTS),
    default="largest",
    show_default=True,
    help="Of shapes: which connected regions.",
)
@_DRAWS
@click.pass_context
def render(ctx: click.Context, /, job_id: str, **given: Any) -> None:
    """Redraw a job's stored maps with other colours or sizes.

    Workers draw the pictures from the results and the photographs, without the model, and they're
    written into a folder. Pictures that are already there aren't drawn again. The filters are those
    of `camfleet results`.

    Exit code 1 if a picture can't be drawn or parts of the results are missing; each is named.
    """
    asked = {name: given[name] for name in unused.OF_DRAWINGS if options.was_given(name)}
    options.refuse_unused(unused.of_pictures(asked, [given["picture"]], unused.OF_DRAWINGS))
    if "threshold" in asked:
        asked["threshold"] = options.threshold(asked["threshold"])
    drawing = {"picture": given["picture"], **asked}
    wanted = filters.of(given)
    with output.client() as client, _progress(client, [job_id], "drawing") as steps:
        saved = client.pictures.render(
            job_id,
            given["output"],
            drawing=drawing,  # type: ignore[arg-type]  # by names of its fields
            timeout=given["timeout"],
            **steps,
            **wanted,
        )
    _tell(ctx, saved, [job_id], as_json=given["as_json"])


@click.command()
@options.JOBS
@filters.filter_options
@click.option(
    "--page-size",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Images on a page.",
)
@_DRAWS
@click.pass_context
def gallery(ctx: click.Context, /, job_ids: tuple[str, ...], **given: Any) -> None:
    """Write pages of overlays beside their photographs.

    The folder holds everything that index.html needs; the page has no script and needs no network.
    The filters are those of `camfleet results`. Pictures that are already there aren't fetched
    again; pictures of an earlier gallery that this one doesn't show are deleted.

    Exit code 1 if a picture can't be fetched or parts of the results are missing; each is named.
    """
    wanted = filters.of(given)
    with output.client() as client, _progress(client, job_ids, "gathering") as steps:
        saved = client.pictures.gallery(
            job_ids,
            given["output"],
            page_size=given["page_size"],
            timeout=given["timeout"],
            **steps,
            **wanted,
        )
    _tell(ctx, saved, job_ids, as_json=given["as_json"])


@contextmanager
def _progress(client: "Client", job_ids: Any, what: str) -> Iterator[dict[str, Any]]:
    """Show the parts that were read and the pictures that were written; gives what to tell."""
    parts = sum(client.job(job_id).record().chunks for job_id in job_ids)
    with output.bar(parts, what, "part") as bar:
        pictures = 0

        def on_picture(more: int) -> None:
            nonlocal pictures
            pictures += more
            bar.set_postfix_str(count(pictures, "picture"), refresh=False)
            bar.update(0)

        yield {"on_part": bar.update, "on_picture": on_picture}


def _tell(ctx: click.Context, saved: "Saved", job_ids: Any, *, as_json: bool) -> None:
    """Say what was written and what is missing; exit with 1 where something is."""
    if as_json:
        found = {"job_ids": list(job_ids), "output": saved.folder, "page": saved.page}
        numbers = ("pictures", "fetched", "without", "failed", "missing_parts")
        found |= {name: getattr(saved, name) for name in numbers}
        output.dump(found | {"failures": [one._asdict() for one in saved.failures]})
    else:
        click.echo(saved.page or saved.folder)
        output.say(
            f"{count(saved.pictures, 'picture')} in {saved.folder}, {saved.fetched} of them new"
        )
    for one in saved.failures[:_NAMED]:
        output.say(f"{one.name}: {one.reason}")
    if saved.failed > _NAMED:
        output.say(f"{saved.failed - _NAMED} more can't be had (--json names up to 1000)")
    if saved.without:
        output.say(f"{count(saved.without, 'row')} without such a picture, such as failed ones")
    if saved.missing_parts:
        output.say(
            f"{count(saved.missing_parts, 'part')} of the results missing: the job hasn't ended, "
            f"or camfleet resume {job_ids[0]} runs them again"
        )
    if not saved.whole:
        ctx.exit(1)
