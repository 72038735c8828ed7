"""What commands share: options, the client, tables, JSON and progress bars."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from camfleet import Client, Progress

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

ROW = ("image", "model", "class", "probability", "layer", "status", "heatmap")


@contextmanager
def client() -> "Iterator[Client]":
    """Give the client of the environment's settings and close it at the end."""
    from camfleet import Client

    with Client.from_environ() as made:
        yield made


_ASKING = (
    click.option(
        "--target",
        default="top",
        show_default=True,
        help="top, top:K, a class index, a label (label:NAME for a label like these), above:P for "
        "every class of at least that probability; not: before it for what speaks against.",
    ),
    click.option(
        "--method",
        type=click.Choice(["gradcam", "cam", "hirescam", "layercam", "xgradcam", "gradcam++"]),
        default="gradcam",
        show_default=True,
    ),
    click.option(
        "--layer",
        default="auto",
        show_default=True,
        help="auto (the card's), a path such as backbone/layer, or several with commas.",
    ),
    click.option(
        "--fuse",
        type=click.Choice(["mean", "max"]),
        help="How the maps of several layers become one.  [default: as the card says]",
    ),
    click.option(
        "--output",
        "kinds",
        multiple=True,
        type=click.Choice(["heatmap", "overlay", "raw", "none"]),
        help="What to write; repeat for several.  [default: heatmap, overlay]",
    ),
    click.option(
        "--colormap",
        type=click.Choice(["viridis", "inferno", "turbo", "jet"]),
        default="turbo",
        show_default=True,
    ),
    click.option("--opacity", type=click.FloatRange(0, 1), default=0.5, show_default=True),
    click.option(
        "--max-side",
        type=click.IntRange(0),
        default=1024,
        show_default=True,
        help="Longest side of an overlay in pixels; 0: as the photograph.",
    ),
    click.option(
        "--shape",
        "shapes",
        multiple=True,
        type=click.Choice(["box", "rle", "polygon"]),
        help="Derive regions above the threshold; repeat for several forms.",
    ),
    click.option(
        "--threshold",
        default="0.5",
        show_default=True,
        help="Of --shape: a fraction of the map's maximum, or otsu.",
    ),
    click.option(
        "--components",
        type=click.Choice(["largest", "all"]),
        default="largest",
        show_default=True,
        help="Of --shape: which connected regions.",
    ),
)


def asking(command: F) -> F:
    """Add the options that say what to explain and what to write."""
    for option in reversed(_ASKING):
        command = option(command)
    return command


def question(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `asking` as the client's keywords."""
    from camfleet.contract.codec import decode
    from camfleet.contract.outputs import DEFAULT_OUTPUTS, Outputs

    kinds = [kind for kind in dict.fromkeys(options["kinds"]) if kind != "none"]
    limit = options["threshold"]
    regions = {
        "threshold": limit if limit == "otsu" else _fraction(limit),
        "components": options["components"],
        "shapes": options["shapes"],
    }
    outputs = {
        "kinds": kinds if options["kinds"] else DEFAULT_OUTPUTS.kinds,
        "regions": regions if options["shapes"] else None,
        **{name: options[name] for name in ("colormap", "opacity", "max_side")},
    }
    words = {name: options[name] for name in ("target", "method", "layer", "fuse")}
    return {**words, "outputs": decode(outputs, Outputs)}


def _fraction(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"--threshold {text!r} is no number, nor otsu") from None


def row(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result, as plain data, as a line of the table."""
    return {
        "image": result["image_uri"],
        "model": result["model_id"],
        "class": result["class_name"],
        "probability": result["probability"],
        "layer": result["layer"],
        "status": result["status"],
        "heatmap": result["heatmap_uri"] or result["overlay_uri"] or result["error_code"],
    }


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows as a table on stdout."""
    from tabulate import tabulate

    cells = [[each.get(column) for column in columns] for each in rows]
    formats = [".4f" if column == "probability" else "g" for column in columns]
    text = [number for number, name in enumerate(columns) if name != "probability"]
    if not cells:
        click.echo("nothing", err=True)
        return
    click.echo(tabulate(cells, columns, floatfmt=formats, missingval="-", disable_numparse=text))


def progress(made: "Progress") -> dict[str, Any]:
    """Return a job's progress as plain data."""
    import msgspec

    return {**msgspec.to_builtins(made), "done": made.done}


def dump(data: Any) -> None:
    """Print data as one line of JSON on stdout."""
    click.echo(json.dumps(data, ensure_ascii=False))


def bar(total: int | None, what: str, unit: str = "image", *, silent: bool = False) -> Any:
    """Return a progress bar on stderr, silent where that's no terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total, desc=what, unit=unit, disable=silent or None, file=sys.stderr, leave=False
    )
