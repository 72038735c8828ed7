"""What a process writes past its log becomes lines of the log, up to its last words."""

import json
import signal
import subprocess
import sys

import pytest

START = """
import ctypes, os, sys, threading, warnings
from camfleet_worker.process import logs, stdio
logs.setup("json", "WARNING", None)
give_back = stdio.adopt()
native = ctypes.PyDLL(None)  # holds the interpreter's lock, as an extension module may
def say(text): native.write(2, text, len(text))
"""


def run(code):
    """Run a program; return its exit code and the lines of its log."""
    done = subprocess.run(
        [sys.executable, "-c", START + code], capture_output=True, timeout=60, check=False
    )
    assert done.stdout == b""
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


def test_prints_and_native_words_become_lines():
    code, lines = run("print('printed', flush=True); say(b'libpng warning: odd\\n\\nhalf a line')")
    assert code == 0
    assert [line["message"] for line in lines] == ["printed", "libpng warning: odd", "half a line"]
    assert {line["level"] for line in lines} == {"WARNING"}
    assert {(line["job"], line["image"], line["thread"]) for line in lines} == {(None, None, None)}


def test_lines_that_name_their_level_keep_it():
    _, lines = run("say(b'I0000 00:00:1.2 1 a.cc:1] on\\nE0000 00:00:1.2 1 a.cc:2] off\\n')")
    assert [(line["level"], line["message"][-3:]) for line in lines] == [("ERROR", "off")]


def test_the_last_words_of_a_crash_are_lines_too():
    code, lines = run("say(b'Check failed: x > 0\\n'); native.abort()")
    assert code == -signal.SIGABRT
    messages = [line["message"] for line in lines]
    assert messages[:2] == ["Check failed: x > 0", "Fatal Python error: Aborted"]
    assert 'File "<string>"' in messages[-1]


def test_native_code_that_floods_its_stderr_stops_nobody():
    code, lines = run("say((b'x' * 99 + b'\\n') * 20_000)")
    assert (code, len(lines)) == (0, 20_000)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_to_the_whole_group_loses_no_line(number):
    code, lines = run(
        f"import signal; signal.signal(signal.{number}, lambda *_: say(b'stopping\\n'))\n"
        f"os.setpgrp(); os.killpg(0, signal.{number}); say(b'stopped\\n')"
    )
    assert code == 0
    assert [line["message"] for line in lines] == ["stopping", "stopped"]


def test_given_back_both_streams_are_the_old_ones():
    done = subprocess.run(
        [sys.executable, "-c", f"{START}give_back(); give_back(); print('plain'); say(b'too')"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"plain\n", b"too")


def test_an_error_that_ends_a_thread_is_one_record():
    _, (line,) = run(
        "thread = threading.Thread(target=lambda: 1 / 0, name='t'); thread.start(); thread.join()"
    )
    assert (line["level"], line["message"]) == ("CRITICAL", "t ended by an error")
    assert line["exception"].endswith("ZeroDivisionError: division by zero")
