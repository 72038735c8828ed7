"""Nothing that is printed steers a terminal, whoever prints it, and by whatever way."""

import json
import os
import subprocess
import sys

import pytest

from helpers.terminals import in_terminal

EVIL = "a\x1b[2J\x1b]0;owned\x07\x9b31m\rFAKE\b\x7f\u202eb\u2066\u200b\u2028\ufeffz\tä"
START = "import json, os, sys; from camfleet.cli.screen import guard; guard(); guard(); "
WAYS = {
    "print": "print(EVIL)",
    "bytes": "sys.stdout.buffer.write(EVIL.encode()); sys.stdout.buffer.flush()",
    "bytes one by one": "[sys.stdout.buffer.write(bytes([byte])) for byte in EVIL.encode()]",
    "bytes that are not UTF-8": r"sys.stdout.buffer.write(b'\x9b31m \xff\x1b[2J')",
    "half a pair": r"print('\udc9b31m \udcff')",
    "rows": "from camfleet.cli.screen import rows_out; rows_out().write(EVIL.encode())",
    "stderr": "print(EVIL, file=sys.stderr)",
    "click": "import click; click.echo(EVIL); click.echo(EVIL.encode(), err=True)",
    "usage": "import click; click.UsageError(EVIL).show()",
    "a warning": "import warnings; warnings.warn(EVIL)",
    "a log": "import logging; logging.getLogger('x').warning('%s', EVIL)",
    "a traceback": "raise ValueError(EVIL)",
    "a thread": "import threading; threading.Thread(target=lambda: {}[EVIL]).start()",
    "exit": "sys.exit(EVIL)",
    "a bar": "from camfleet.cli import terminal; terminal.bar(3, EVIL).update()",
    "waiting": "from camfleet.cli import terminal; "
    "exec('with terminal.waiting(EVIL) as say: say(EVIL + EVIL)')",
    "a table": "from camfleet.cli.tables import table; table([{EVIL: EVIL}], [EVIL])",
}


def code(way):
    return (sys.executable, "-c", f"{START}EVIL = {EVIL!r}; {WAYS[way]}")


@pytest.mark.parametrize("way", WAYS)
def test_nothing_steers_a_terminal(way):
    shown = in_terminal(environ=dict(os.environ), command=code(way), columns=300)
    assert shown.steering == set()
    assert "\rFAKE" not in shown.raw
    assert shown.raw.replace("\r\n", "").strip(), "something is shown"


@pytest.mark.parametrize("way", sorted(WAYS.keys() - {"rows", "a bar", "waiting"}))
def test_nothing_steers_a_terminal_behind_a_pipe(way):
    done = subprocess.run(code(way), capture_output=True, check=False, timeout=60)
    text = (done.stdout + done.stderr).decode()
    assert text.replace("\n", "").isprintable()


def test_rows_go_through_a_pipe_as_they_are():
    done = subprocess.run(code("rows"), capture_output=True, check=True, timeout=60)
    assert done.stdout.decode() == EVIL


def test_json_stays_what_it_is():
    way = f"{START}print(json.dumps({[EVIL]!r}, ensure_ascii=False))"
    done = subprocess.run([sys.executable, "-c", way], capture_output=True, check=True, timeout=60)
    shown = in_terminal(environ=dict(os.environ), command=(sys.executable, "-c", way), columns=500)
    assert json.loads(done.stdout) == json.loads(shown.raw) == [EVIL]
    assert done.stdout.decode().rstrip("\n").isprintable()
    assert "ä" in shown.raw, "what can be read stays"
