"""What commands share: options, the client, tables, JSON and progress bars."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from camfleet import Client, Outputs, Result

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

ROW = ("image", "model", "class", "probability", "layer", "status", "heatmap")


@contextmanager
def client() -> "Iterator[Client]":
    """Give the client of the environment's settings and close it at the end."""
    from camfleet import Client

    with Client.from_environ() as made:
        yield made


def asking(command: F) -> F:
    """Add the options that say what to explain and what to write."""
    for option in reversed(
        [
            click.option(
                "--target",
                default="top",
                show_default=True,
                help="top, top:K, a class index, or a label (label:NAME for a label of digits).",
            ),
            click.option(
                "--method",
                type=click.Choice(
                    ["gradcam", "cam", "hirescam", "layercam", "xgradcam", "gradcam++"]
                ),
                default="gradcam",
                show_default=True,
            ),
            click.option(
                "--layer",
                default="auto",
                show_default=True,
                help="auto (the card's), or a path such as backbone/layer.",
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
        ]
    ):
        command = option(command)
    return command


def outputs(kinds: Sequence[str], colormap: str, opacity: float, max_side: int) -> "Outputs":
    """Return the options of `asking` as the contract's outputs."""
    from camfleet.contract import DEFAULT_OUTPUTS, Outputs, decode

    chosen = [kind for kind in dict.fromkeys(kinds) if kind != "none"]
    fields = {"colormap": colormap, "opacity": opacity, "max_side": max_side}
    return decode({"kinds": chosen if kinds else list(DEFAULT_OUTPUTS.kinds), **fields}, Outputs)


def row(result: "Result") -> dict[str, Any]:
    """Return a result as a line of the table."""
    return {
        "image": result.image_uri,
        "model": result.model_id,
        "class": result.class_name,
        "probability": result.probability,
        "layer": result.layer,
        "status": str(result.status),
        "heatmap": result.heatmap_uri or result.overlay_uri or result.error_code,
    }


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows as a table on stdout."""
    from tabulate import tabulate

    cells = [[each.get(column) for column in columns] for each in rows]
    formats = [".4f" if column == "probability" else "g" for column in columns]
    text = [number for number, name in enumerate(columns) if name != "probability"]
    click.echo(tabulate(cells, columns, floatfmt=formats, missingval="-", disable_numparse=text))


def dump(data: Any) -> None:
    """Print data as one line of JSON on stdout."""
    click.echo(json.dumps(data, ensure_ascii=False))


def bar(total: int | None, what: str, unit: str = "image") -> Any:
    """Return a progress bar on stderr, silent where that's no terminal."""
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit=unit, disable=None, file=sys.stderr, leave=False)
