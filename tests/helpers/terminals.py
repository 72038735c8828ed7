"""A command in a terminal of its own: a real pty of a given width, and what it shows at the end."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata
from dataclasses import dataclass

from helpers.commands import Command

_STEERING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_CONTROL = re.compile(r"\x1b\[(\d*)([A-Za-z])")


@dataclass
class Shown:
    """What a command wrote to its terminal, raw, and the lines that stand there at the end."""

    returncode: int
    raw: str
    columns: int

    @property
    def lines(self):
        return _screen(self.raw)

    @property
    def text(self):
        return "\n".join(self.lines)

    @property
    def steering(self):
        """What was written that steers a terminal, or hides, but what camfleet's bars need."""
        plain = self.raw.replace("\x1b[K", "").replace("\r", "").replace("\n", "")
        return {sign for sign in plain if unicodedata.category(sign) in _STEERING}

    @property
    def widest(self):
        """The columns of the widest line that was ever drawn."""
        drawn = re.split(r"[\r\n]+", _CONTROL.sub("", self.raw))
        return max(map(width, drawn))


def width(text):
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def in_terminal(*words, press=None, after="", timeout=90, **how):
    """Run the camfleet command, or another one, in a terminal; `how` is as in `Terminal`.

    `press` is a key such as "\\x03" that is pressed once `after` has been shown.
    """
    return Terminal(*words, **how).shown(press=press, after=after, timeout=timeout)


class Terminal:
    """The camfleet command, or another one, started in a terminal; several run side by side.

    With `stdout`, a file, only stderr is the terminal.
    """

    def __init__(self, *words, environ, columns=80, stdout=None, command=None):
        self._columns = columns
        self._parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        sizes = ("COLUMNS", "LINES")  # what readline leaves in os.environ; the terminal has its own
        others = {name: value for name, value in environ.items() if name not in sizes}
        environ = {**others, "TERM": "xterm"}
        if command is None:
            self._process = Command(words, environ, child, stdout or child, child)
            os.close(child)
            return
        self._process = subprocess.Popen(
            [*command, *map(str, words)],
            env=environ,
            stdin=child,
            stdout=stdout or child,
            stderr=child,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # for Ctrl-C
        )
        os.close(child)

    def shown(self, *, press=None, after="", timeout=90):
        """Return what stands there once the command has ended."""
        raw, deadline = b"", time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not select.select([self._parent], [], [], 0.2)[0]:
                continue
            try:
                more = os.read(self._parent, 2**16)
            except OSError:  # nobody has the terminal open any more
                break
            raw += more
            if press and after.encode() in raw:
                os.write(self._parent, press.encode())
                press = None
        os.close(self._parent)
        return Shown(self._process.wait(30), raw.decode(errors="replace"), self._columns)


def _screen(raw):
    """Return the lines that stand there after carriage returns and erasures."""
    lines, place = [""], 0
    for token in re.findall(r"\x1b\[\d*[A-Za-z]|\r|\n|[^\x1b\r\n]+|\x1b", raw):
        if token == "\r":
            place = 0
        elif token == "\n":
            lines.append("")
            place = 0
        elif token == "\x1b[K":
            lines[-1] = lines[-1][:place]
        elif not token.startswith("\x1b"):
            lines[-1] = lines[-1][:place] + token + lines[-1][place + len(token) :]
            place += len(token)
    return [line.rstrip() for line in lines]
