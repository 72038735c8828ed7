"""The `camfleet` command. Data goes to stdout, progress and messages to stderr.

Exit codes: 0 ok, 1 error, 2 usage, 3 finished with failed images.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

import click

EXIT_FAILED_IMAGES = 3

_COMMANDS = {
    "up": "camfleet.cli.up:up",
    "setup": "camfleet.cli.setup:setup",
    "models": "camfleet.cli.models:models",
    "explain": "camfleet.cli.explain:explain",
    "submit": "camfleet.cli.submit:submit",
    "status": "camfleet.cli.jobs:status",
    "watch": "camfleet.cli.jobs:watch",
    "results": "camfleet.cli.results:results",
    "jobs": "camfleet.cli.jobs:jobs",
    "cancel": "camfleet.cli.jobs:cancel",
    "resume": "camfleet.cli.jobs:resume",
    "retry": "camfleet.cli.jobs:retry",
    "verify": "camfleet.cli.jobs:verify",
    "workers": "camfleet.cli.workers:workers",
    "health": "camfleet.cli.workers:health",
}


class _Lazy(click.Group):
    """A group that imports a command's module when it's needed and reports our errors plainly."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        from camfleet.errors import CamfleetError

        try:
            return super().invoke(ctx)
        except CamfleetError as error:
            click.echo(f"camfleet: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("camfleet"), prog_name="camfleet")
def group() -> None:
    """Explain image classifiers at queue scale: which pixels made the model decide so.

    Exit codes: 0 ok, 1 error, 2 usage, 3 finished with failed images.

    Settings come from the environment (CAMFLEET_*); `camfleet up` prints a set that works.
    """


def main() -> None:
    """Run the command line."""
    group(prog_name="camfleet")
