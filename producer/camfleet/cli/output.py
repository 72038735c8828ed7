"""What commands print: rows, errors, JSON and progress; and the client they ask."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli.tables import table
from camfleet.cli.terminal import bar, clean, waiting, width, wrap
from camfleet.contract.outputs import PICTURES

if TYPE_CHECKING:
    from camfleet import Client

__all__ = [
    "answers",
    "bar",
    "client",
    "dump",
    "error",
    "name_failures",
    "result_row",
    "say",
    "table",
    "waiting",
]

_PREFIX = "camfleet: "
RESULT_COLUMNS = ("image", "model", "class", "probability", "layer", "status", "heatmap")
RESULT_OPTIONAL = ("layer", "heatmap")  # where a terminal is narrow


@contextmanager
def client() -> "Iterator[Client]":
    """Give the client of the environment's settings and close it at the end."""
    from camfleet import Client

    with Client.from_environ() as made:
        yield made


def result_row(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result, as plain data, as a line of the table."""
    return {
        "image": _name(result),
        "model": result["model_id"],
        "class": result["class_name"],
        "probability": result["probability"],
        "layer": result["layer"],
        "status": result["status"],
        "heatmap": result["heatmap_uri"]
        or result["overlay_uri"]
        or result.get("thumbnail_uri")  # absent from answers without one
        or _packed(result.get("pack"))
        or result["error_code"]
        or result["error_message"],
    }


def results(rows: Iterable[Mapping[str, Any]], *, empty: str = "nothing") -> None:
    """Print results, as plain data, as a table."""
    table(map(result_row, rows), RESULT_COLUMNS, optional=RESULT_OPTIONAL, empty=empty)


def answers(rows: Sequence[Mapping[str, Any]], *, whole: bool = False) -> None:
    """Print results as a table; on a terminal the pictures' URIs stand below it, whole.

    `whole`: they do so everywhere, all of them, with the secrets in them, which were asked for.
    """
    if width(sys.stdout) is None and not whole:
        results(rows)
        return
    columns = [name for name in RESULT_COLUMNS if name != "heatmap"]
    table(map(result_row, rows), columns, optional=RESULT_OPTIONAL)
    for row in rows:
        for uri in _pictures(row) if whole else _pictures(row)[:1]:
            click.echo(uri)


def name_failures(rows: Iterable[Mapping[str, Any]]) -> None:
    """Say on stderr why rows failed: for each error code the first message."""
    messages: dict[str, list[str]] = {}
    for row in rows:
        if row["error_code"]:
            messages.setdefault(row["error_code"], []).append(row["error_message"] or "")
    room = width(sys.stderr)
    for code, found in messages.items():
        others = len(found) - 1
        gap = "\n" + " " * len(_PREFIX) if room else " "
        more = f"{gap}(and {others} more with this code)" if others else ""
        text = wrap(f"{code}: {found[0]}", len(_PREFIX), room)
        click.echo(f"{_PREFIX}{text}{more}", err=True)


def say(text: str) -> None:
    """Print a message on stderr, for people; none of its lines but the first begins one."""
    gap = "\n" + " " * len(_PREFIX)
    click.echo(_PREFIX + gap.join(map(clean, text.splitlines())), err=True)


def error(code: str, message: str, *, as_json: bool) -> None:
    """Print an error: as a message on stderr, or as JSON on stdout."""
    if as_json:
        dump({"error": {"code": code, "message": message}})
    else:
        say(message)


def dump(data: Any) -> None:
    """Print data as one line of JSON on stdout."""
    click.echo(json.dumps(data, ensure_ascii=False))


def _pictures(row: Mapping[str, Any]) -> list[str]:
    """Return the URIs of a row's pictures; an answer leaves some of them out."""
    return [row[f"{kind}_uri"] for kind in PICTURES if row.get(f"{kind}_uri")]


def _packed(pack: str | None) -> str | None:
    """Return where packed pictures lie, of a row whose structs are JSON."""
    return f"in {json.loads(pack)['uri']}" if pack else None


def _name(result: Mapping[str, Any]) -> str:
    """Return an image's name: of an uploaded file its own."""
    uri: str = result["image_uri"]
    uploaded = "/uploads/" in uri and uri.startswith("s3://")
    return result["item_id"] or uri if uploaded else uri
