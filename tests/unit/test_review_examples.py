"""The examples of schedulers that run reviews: their commands exist, with these options."""

import ast
import re
import shlex

import click
import pytest

from camfleet import Reviews
from camfleet.cli import group
from helpers.documents import ROOT

FOLDER = ROOT / "examples" / "reviews"
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix != ".py" and path.is_file())


def commands(text):
    """Yield the words of every camfleet command in a file."""
    for found in re.findall(r"camfleet (?:review|models) [^|#\n]*", text):
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
