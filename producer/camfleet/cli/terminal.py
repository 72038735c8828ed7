"""What a terminal shows: text that fits it, bars, and a line that says what is going on."""

import itertools
import os
import re
import sys
import textwrap
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import click

from camfleet.cli.screen import Canvas
from camfleet.foreign import visible, without_secrets

_PLAIN_WIDTH = 80  # of a terminal that doesn't know its own
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_SECONDS = 0.1
_LONG_WORD = re.compile(r"\S{48,}")
_FOLDERS = re.compile(r"\S*/(?=[^/\s])")
_WORD = 44  # columns of a long word in running text


def width(stream: TextIO) -> int | None:
    """Return how many columns a stream's terminal has, None where it's no terminal."""
    if not stream.isatty():
        return None
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _PLAIN_WIDTH
    except OSError:
        return _PLAIN_WIDTH


def clean(text: str) -> str:
    """Return text for people, in one line: controls are escaped, and URLs show no secrets."""
    plain = " ".join(text.split()) if "\n" in text else text
    return visible(without_secrets(plain))


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_sign_columns, text))


def _sign_columns(sign: str) -> int:
    if unicodedata.combining(sign):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def shorten(text: str, room: int) -> str:
    """Return text of at most `room` columns.

    Of a path or URI mostly the end stays, as it says most, and of other names both ends.
    """
    if columns(text) <= room:
        return text
    head = room // 3 if "/" in text else room - 1 if " " in text else room // 2
    return _cut(text, head) + "…" + _cut(text[::-1], room - 1 - head)[::-1]


def shorten_prose(text: str, room: int) -> str:
    """Return a sentence of at most `room` columns: paths in it give way first, then its end."""
    if columns(text) <= room:
        return text
    text = _FOLDERS.sub("…/", text)
    return text if columns(text) <= room else _cut(text, room - 1) + "…"


def _cut(text: str, room: int) -> str:
    """Return as much of a text's beginning as fits."""
    sizes = itertools.accumulate(map(_sign_columns, text))
    return text[: sum(size <= room for size in sizes)]


def wrap(text: str, indent: int, room: int | None, lines: int = 3) -> str:
    """Return running text in lines that follow each other at an indent; no room: one line."""
    text = clean(text)
    if room is None:
        return text
    text = _LONG_WORD.sub(lambda word: shorten(word[0], _WORD), text)
    found = textwrap.wrap(text, max(20, room - indent), max_lines=lines, placeholder=" …")
    return ("\n" + " " * indent).join(found)


def count(number: int, thing: str) -> str:
    """Return a number of things, such as `1 chunk`, `2 chunks` or `2 boxes`."""
    ending = "" if number == 1 else "es" if thing.endswith("x") else "s"
    return f"{number} {thing}{ending}"


def moment(seconds: float | datetime | None) -> str | None:
    """Return a time as people read it: UTC, as in ids of jobs and in workers' logs."""
    if seconds is None:
        return None
    given = seconds if isinstance(seconds, datetime) else datetime.fromtimestamp(seconds, UTC)
    return f"{given.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def iso(seconds: float) -> str:
    """Return a time as programs read it."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, OSError, ValueError):  # no clock wrote that
        return str(seconds)


def duration(seconds: float) -> str:
    """Return a span of time in its two largest units."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    minutes, left = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if whole < 60:
        return f"{whole} s"
    if minutes < 60:
        return f"{minutes} min {left:02} s"
    if hours < 48:
        return f"{hours} h {minutes_left:02} min"
    return f"{hours // 24} d {hours % 24:02} h"


def bar(
    total: int | None,
    what: str,
    unit: str = "image",
    *,
    silent: bool = False,
    layout: str | None = None,
) -> Any:
    """Return a progress bar on stderr that fits its terminal; silent where that's none."""
    from tqdm import tqdm

    room = width(sys.stderr)
    return tqdm(
        total=total,
        desc=shorten(clean(what), max(12, (room or _PLAIN_WIDTH) // 3)),
        unit=f" {unit}s" if total is None else unit,
        disable=silent or room is None,
        file=Canvas(),
        leave=False,
        ncols=room,
        dynamic_ncols="COLUMNS" not in os.environ and _knows_its_size(sys.stderr),
        bar_format=layout,
    )


def _knows_its_size(stream: TextIO) -> bool:
    try:
        return os.get_terminal_size(stream.fileno()).columns > 0
    except OSError:
        return False


@contextmanager
def waiting(what: str, *, told: bool = False) -> Iterator[Callable[[str], None]]:
    """Say on stderr what is going on, as long as the block runs; gives a function that changes it.

    Where stderr is no terminal that's one line with `told`, else none.
    """
    if width(sys.stderr) is None:
        if told:
            click.echo(f"camfleet: {clean(what)}", err=True)
        yield lambda _text: None
        return
    spinner = _Spinner(what)
    try:
        yield spinner.say
    finally:
        spinner.close()


class _Spinner:
    """A line on stderr that is drawn again and again, with the seconds that it has stood there."""

    def __init__(self, what: str) -> None:
        self._canvas = Canvas()
        self._what = what
        self._since = time.monotonic()
        self._frames = itertools.cycle(_FRAMES)
        self._drawing = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def say(self, what: str) -> None:
        self._what, self._since = what, time.monotonic()
        self._draw()

    def close(self) -> None:
        """Take the line away."""
        self._over.set()
        self._thread.join()
        self._write("")

    def _spin(self) -> None:
        while not self._over.wait(_FRAME_SECONDS):
            self._draw()

    def _draw(self) -> None:
        seconds = time.monotonic() - self._since
        end = f" ({duration(int(seconds))})" if seconds >= 10 else ""
        room = (width(sys.stderr) or _PLAIN_WIDTH) - 3 - len(end)
        self._write(f"{next(self._frames)} {shorten(clean(self._what), max(10, room))}{end}")

    def _write(self, text: str) -> None:
        with self._drawing:
            self._canvas.write(f"\r\x1b[K{text}")
            self._canvas.flush()
