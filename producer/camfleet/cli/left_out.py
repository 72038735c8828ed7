"""What a command says of the files that a job doesn't take."""

from typing import TYPE_CHECKING

from camfleet.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from camfleet.contract.records import LeftOut


def say_left_out(kinds: "Iterable[LeftOut]") -> None:
    """Say which files of the sources aren't in a job, a line for each kind."""
    from camfleet.sources.left_out import words

    for kind in kinds:
        output.say(f"left out: {words(kind)} ({kind.why}), such as {kind.examples[0]}")
