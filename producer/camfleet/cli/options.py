"""The options that several commands share, and what they mean to the client."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource

from camfleet.cli import values
from camfleet.contract import unused
from camfleet.contract.outputs import (
    COLORMAPS,
    COMPONENTS,
    DEFAULT_LAYER,
    DEFAULT_METHOD,
    DEFAULT_OUTPUTS,
    DEFAULT_PICTURES,
    DEFAULT_TARGET,
    FUSES,
    METHODS,
    PICTURES,
    PRECISIONS,
    SHAPES,
    Regions,
    Threshold,
)

F = TypeVar("F", bound=Callable[..., Any])

_NONE = "none"  # of --picture: no picture
_REGIONS = Regions()

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
as_json_written = click.option(
    "--json", "as_json", is_flag=True, help="Print what was written as JSON."
)
JOB = click.argument("job_id", metavar="JOB", type=values.JOB)
JOBS = click.argument("job_ids", metavar="JOB...", nargs=-1, required=True, type=values.JOB)
FILE = click.Path(dir_okay=False, path_type=Path)
LABELS = click.option(  # of what goes to annotation tools, as the next one
    "--labels",
    type=FILE,
    metavar="FILE",
    help='TOML file with lines "class" = "other name"; false leaves a class out.',
)
ROOT = click.option(
    "--root", default="", metavar="URI", help="Name images by their URIs relative to this one."
)

_EXPLAIN = (
    click.option(
        "--target",
        type=values.TARGET,
        default=DEFAULT_TARGET,
        show_default=True,
        help="top, top:K, a class index, a label (label:NAME for a label like these), above:P for "
        "every class of at least that probability; not: before it for what speaks against.",
    ),
    click.option("--method", type=click.Choice(METHODS), default=DEFAULT_METHOD, show_default=True),
    click.option(
        "--layer",
        type=values.LAYERS,
        default=DEFAULT_LAYER,
        show_default=True,
        help="auto (the card's), a path such as backbone/layer, or several separated by commas.",
    ),
    click.option(
        "--fuse",
        type=click.Choice(FUSES),
        help="How the maps of several layers become one.  [default: as the card says]",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        help="bf16 is faster, and refused where it changes a model's maps too much.  [default: as "
        "the card says]",
    ),
    click.option(
        "--picture",
        "pictures",
        multiple=True,
        type=click.Choice([*PICTURES, _NONE]),
        help=f"What to write; repeat for several.  [default: {', '.join(DEFAULT_PICTURES)}]",
    ),
    click.option(  # what --picture was called in 0.1.0
        "--output",
        "old_pictures",
        multiple=True,
        type=click.Choice([*PICTURES, _NONE]),
        hidden=True,
    ),
    click.option(
        "--colormap",
        type=click.Choice(COLORMAPS),
        default=DEFAULT_OUTPUTS.colormap,
        show_default=True,
    ),
    click.option(
        "--opacity",
        type=values.SHARE,
        default=DEFAULT_OUTPUTS.opacity,
        show_default=True,
    ),
    click.option(
        "--max-side",
        type=click.IntRange(0),
        default=DEFAULT_OUTPUTS.max_side,
        show_default=True,
        help="Longest side of an overlay in pixels; 0: as the photograph.",
    ),
    click.option(
        "--shape",
        "shapes",
        multiple=True,
        type=click.Choice(SHAPES),
        help="Derive regions above the threshold; repeat for several forms.",
    ),
    click.option(
        "--threshold",
        help="With --shape: a fraction of the map's maximum, or otsu.  "
        f"[default: {_REGIONS.threshold}]",
    ),
    click.option(
        "--components",
        type=click.Choice(COMPONENTS),
        help=f"With --shape: which connected regions.  [default: {_REGIONS.components}]",
    ),
)


def refuse_given(ctx: click.Context, names: Sequence[str], why: str) -> None:
    """Raise `click.UsageError` if the user gave one of these parameters, be it with its default."""
    for name in names:
        if was_given(name):
            word = name.replace("_", "-")
            no = "no-" if ctx.params[name] is False else ""
            raise click.UsageError(f"--{no}{word} {why}")


def add_options(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """Return a decorator that adds the options to a command, in their order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def place(default: str) -> Callable[[F], F]:
    """Return the option that says where a page goes, `place`; by default a folder of that name."""
    return click.option(
        "--output",
        "place",
        metavar="DIR|S3URI",
        type=values.PLACE,
        help=f"Where to write: a folder, or s3://bucket/prefix.  [default: {default}]",
    )


explain_options = add_options(_EXPLAIN)
FOLDER = click.option(
    "--output", required=True, metavar="DIR", type=values.FOLDER, help="The folder to write into."
)
PICTURES_TIMEOUT = click.option(
    "--timeout",
    type=values.SECONDS,
    default=60,
    show_default=True,
    help="Seconds to wait for a worker's pictures.",
)
LIMIT_PLACES = click.option(
    "--limit-places",
    metavar="COUNT",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many suspicious places may be new.",
)
PHOTOGRAPHS = click.option(
    "--photographs/--no-photographs",
    default=True,
    help="Have workers make small pictures of the images that the page shows.  [default: yes]",
)


def was_given(name: str) -> bool:
    """Return whether the user gave a parameter of the command that runs, be it with its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not ParameterSource.DEFAULT


def refuse_unused(found: unused.Unused | None) -> None:
    """Raise `click.UsageError` for an option that would do nothing."""
    if found:
        option, why = found
        raise click.UsageError(f"--{option.replace('_', '-')} {why}")


def client_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `explain_options`, as the user gave them, as keywords of the client."""
    names = ("target", "method", "layer", "fuse", "precision")
    keywords = {name: options[name] for name in names}
    looks = {name: options[name] for name in unused.OF_JOBS if was_given(name)}
    pictures = options["pictures"] + _old_pictures(options["old_pictures"])
    if pictures:
        keywords["pictures"] = [name for name in pictures if name != _NONE]
        if keywords["pictures"] and _NONE in options["pictures"]:
            raise click.UsageError(f"--picture {_NONE} contradicts every other --picture")
    asked = keywords.get("pictures", DEFAULT_PICTURES)
    refuse_unused(unused.of_pictures(looks, asked, unused.OF_JOBS))
    refuse_unused(unused.of_layers(options["fuse"], options["layer"]))
    return {**keywords, **looks, **_region_keywords(options)}


def _region_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: options[name] for name in ("threshold", "components") if options[name]}
    if not options["shapes"]:
        for name in given:
            raise click.UsageError(f"--{name} needs --shape, which says what to derive")
        return {}
    if "threshold" in given:
        given["threshold"] = threshold(given["threshold"])
    return {"shapes": options["shapes"], **given}


def _old_pictures(pictures: tuple[str, ...]) -> tuple[str, ...]:
    if pictures:
        new = " ".join(f"--picture {name}" for name in dict.fromkeys(pictures))
        click.echo(f"camfleet: --output KIND has a new name here: {new}", err=True)
    return pictures


def threshold(text: str) -> float | str:
    """Return what `--threshold` says; raise `click.BadParameter`."""
    try:
        found: float | str = msgspec.convert(text, Threshold, strict=False)
    except msgspec.ValidationError:
        raise click.BadParameter(
            f"--threshold {text!r} is neither above 0 and at most 1, nor otsu"
        ) from None
    return found
