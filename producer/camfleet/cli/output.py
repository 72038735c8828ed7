"""What commands print: tables, JSON and progress bars; and the client they ask."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from camfleet import Client, Progress

RESULT_COLUMNS = ("image", "model", "class", "probability", "layer", "status", "heatmap")


@contextmanager
def client() -> "Iterator[Client]":
    """Give the client of the environment's settings and close it at the end."""
    from camfleet import Client

    with Client.from_environ() as made:
        yield made


def result_row(result: Mapping[str, Any]) -> dict[str, Any]:
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

    cells = [[row.get(column) for column in columns] for row in rows]
    formats = [".4f" if column == "probability" else "g" for column in columns]
    text = [number for number, name in enumerate(columns) if name != "probability"]
    if not cells:
        click.echo("nothing", err=True)
        return
    click.echo(tabulate(cells, columns, floatfmt=formats, missingval="-", disable_numparse=text))


def progress_fields(progress: "Progress") -> dict[str, Any]:
    """Return a job's progress as plain data."""
    import msgspec

    return {**msgspec.to_builtins(progress), "done": progress.done}


def dump(data: Any) -> None:
    """Print data as one line of JSON on stdout."""
    click.echo(json.dumps(data, ensure_ascii=False))


def bar(total: int | None, what: str, unit: str = "image", *, silent: bool = False) -> Any:
    """Return a progress bar on stderr, silent where that's no terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total, desc=what, unit=unit, disable=silent or None, file=sys.stderr, leave=False
    )
