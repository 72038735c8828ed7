"""The examples of schedulers that run reviews: their commands exist, with these options."""

import ast
import re
import shlex
import subprocess

import click
import pytest

from camfleet import Reviews
from camfleet.cli import group
from helpers.documents import ROOT

FOLDER = ROOT / "examples" / "reviews"
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix != ".py" and path.is_file())


def commands(text):
    """Yield the words of every camfleet command in a file."""
    for found in re.findall(r"camfleet (?:review|models) [^|#'\n]*", text):
        yield shlex.split(found)[1:]
    for found in re.findall(r"\[camfleet, (.*)\]", text):
        yield [word.strip(' "') for word in found.split(",")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_command_is_one_with_its_options(path):
    found = [words for words in commands(path.read_text()) if words[1:2] != ["weekly"]]
    assert found
    for words in found:
        context = click.Context(group)
        command, rest = group, words
        while isinstance(command, click.Group):
            command, rest = command.get_command(context, rest[0]), rest[1:]
        command.make_context(words[0], rest)


def test_the_airflow_task_calls_what_there_is():
    tree = ast.parse((FOLDER / "airflow_dag.py").read_text())
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "client.reviews.run"
    ]
    known = Reviews.run.__annotations__
    assert [word.arg for word in call.keywords if word.arg not in known] == []


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("code", [0, 4, 1])
@pytest.mark.parametrize("has_environment", [True, False])
def test_the_line_for_cron_sends_a_mail_unless_the_verdict_is_a_pass(
    code, has_environment, tmp_path
):
    (line,) = [one for one in (FOLDER / "crontab").read_text().splitlines() if one[0] != "#"]
    assert line.split()[:5] == ["30", "6", "*", "*", "MON"]
    assert "%" not in line, "cron takes that for a line's end"
    command = line.split(maxsplit=5)[5]
    program(tmp_path, "camfleet", 'test "$CAMFLEET_BUCKET" = mine || exit 9\nexit $CODE')
    program(tmp_path, "mail", f"cat > {tmp_path}/mail.txt")
    if has_environment:
        (tmp_path / ".camfleet.env").write_text("CAMFLEET_BUCKET=mine\n")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "CODE": str(code)}
    subprocess.run(["/bin/sh", "-c", command], env=env, check=False, stderr=subprocess.DEVNULL)
    mail = tmp_path / "mail.txt"
    if code == 0 and has_environment:
        assert not mail.exists()
    else:
        assert mail.read_text().startswith("review weekly: exit ")
    if has_environment and code:
        assert mail.read_text() == f"review weekly: exit {code}\n"
