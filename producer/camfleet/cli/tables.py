"""Tables on stdout that fit the terminal: cells are shortened there, and whole in a pipe."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from camfleet.cli import terminal

_GAP = 2
_LEAST = 12  # columns that a shortened text keeps
_LEAST_PATH = 20
_LEAST_FIRST = 28  # of the first column, which says what a row is about
_FLOATS = {"probability": ".4f"}
_PROSE = ("error_message",)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ|-")


def table(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    whole: Sequence[str] = (),
    optional: Sequence[str] = (),
    empty: str = "nothing",
) -> None:
    """Print rows as a table on stdout, or `empty` on stderr.

    Where a terminal is too narrow texts are shortened, but times and `whole` columns; then the
    `optional` columns are left out, the last first; at last each row becomes lines of its own.
    """
    found = list(rows)
    if not found:
        click.echo(empty, err=True)
        return
    room = terminal.width(sys.stdout)
    names = [*columns]
    for left_out in (None, *reversed(optional)):
        names = [name for name in names if name != left_out]
        made = [
            _Column(name, [row.get(name) for row in found], is_first=name == columns[0])
            for name in names
        ]
        if room is None or _shrink(made, room, whole):
            click.echo(_text(made))
            return
    click.echo(_records(made, room))


class _Column:
    """A column's cells as text, and how wide it is."""

    def __init__(self, name: str, values: Sequence[Any], *, is_first: bool) -> None:
        self.name = name
        self.cells = [_cell(name, value) for value in values]
        self.is_number = all(isinstance(value, int | float | None) for value in values)
        self.width = max(map(terminal.columns, (name, *self.cells)))
        path = any("/" in cell for cell in self.cells)
        times = all(map(_TIME.fullmatch, self.cells))  # of which no half says anything
        least = _LEAST_FIRST if is_first else _LEAST_PATH if path else _LEAST
        self.least = self.width if times else max(least, terminal.columns(name))
        self.shorten = terminal.shorten_prose if name in _PROSE else terminal.shorten

    def line(self, cell: str) -> str:
        """Return a cell as wide as the column: numbers to the right."""
        text = self.shorten(cell, self.width)
        pad = " " * (self.width - terminal.columns(text))
        return pad + text if self.is_number else text + pad


def _cell(name: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return format(value, _FLOATS.get(name, "g"))
    return terminal.clean(str(value))


def _shrink(made: list[_Column], room: int, whole: Sequence[str]) -> bool:
    """Narrow the widest texts until the table fits; return whether it does."""
    excess = sum(column.width + _GAP for column in made) - _GAP - room
    texts = [column for column in made if not column.is_number and column.name not in whole]
    while excess > 0:
        loose = [column for column in texts if column.width > column.least]
        if not loose:
            return False
        max(loose, key=lambda column: column.width).width -= 1
        excess -= 1
    return True


def _text(made: list[_Column]) -> str:
    lines = [[column.line(column.name) for column in made], ["-" * column.width for column in made]]
    lines += map(list, zip(*(map(column.line, column.cells) for column in made), strict=True))
    return "\n".join((" " * _GAP).join(line).rstrip() for line in lines)


def _records(made: list[_Column], room: int | None) -> str:
    """Return each row as lines of name and value."""
    indent = max(terminal.columns(column.name) for column in made) + _GAP
    rows = zip(*(column.cells for column in made), strict=True)
    return "\n\n".join(
        "\n".join(
            f"{column.name:{indent}}{column.shorten(cell, max(_LEAST, (room or 80) - indent))}"
            for column, cell in zip(made, row, strict=True)
        )
        for row in rows
    )
