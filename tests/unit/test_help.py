"""What `--help` prints, at 80 columns."""

import click
import pytest
from click.testing import CliRunner

from camfleet.cli import group

WIDTH = 80


def words_of_commands(command=group, words=()):
    """Yield the words of every command and every group, the group of all first."""
    yield words
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            yield from words_of_commands(command.get_command(ctx, name), (*words, name))


def help_of(words):
    done = CliRunner().invoke(group, [*words, "--help"], prog_name="camfleet", terminal_width=WIDTH)
    assert done.exit_code == 0, done.output
    return done.output


COMMANDS = [pytest.param(words, id="-".join(("camfleet", *words))) for words in words_of_commands()]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_help_fits_and_says_of_each_command_what_it_does_to_the_end(words):
    lines = help_of(words).splitlines()
    assert max(map(len, lines)) <= WIDTH
    below = lines[lines.index("Commands:") + 1 :] if "Commands:" in lines else []
    assert not [line for line in below if line.endswith("...")]


def test_the_help_of_all_has_every_exit_code_of_a_verdict():
    said = " ".join(help_of(()).split())
    assert "4 a verdict against the model (compare, faithfulness, review)" in said
