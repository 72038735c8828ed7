"""The `camfleet` command. Data goes to stdout, progress and messages to stderr.

Exit codes: 0 ok, 1 error, 2 usage, 3 finished with failed images, 4 a verdict against the model,
130 stopped by Ctrl-C.
"""

import difflib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Any

import click

EXIT_FAILED_IMAGES = 3
_EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # as shells say it: 128 and the signal's number

_COMMANDS = {
    "up": "camfleet.cli.up:up",
    "setup": "camfleet.cli.setup:setup",
    "models": "camfleet.cli.models:models",
    "explain": "camfleet.cli.explain:explain",
    "submit": "camfleet.cli.submit:submit",
    "status": "camfleet.cli.jobs:status",
    "watch": "camfleet.cli.watch:watch",
    "results": "camfleet.cli.results:results",
    "export": "camfleet.cli.export:export",
    "push": "camfleet.cli.push:push",
    "get": "camfleet.cli.pictures:get",
    "render": "camfleet.cli.pictures:render",
    "gallery": "camfleet.cli.pictures:gallery",
    "report": "camfleet.cli.report:report",
    "compare": "camfleet.cli.compare:compare",
    "faithfulness": "camfleet.cli.faithfulness:faithfulness",
    "review": "camfleet.cli.reviews:review",
    "jobs": "camfleet.cli.jobs:jobs",
    "usage": "camfleet.cli.usage:usage",
    "cancel": "camfleet.cli.jobs:cancel",
    "resume": "camfleet.cli.resume:resume",
    "retry": "camfleet.cli.jobs:retry",
    "verify": "camfleet.cli.jobs:verify",
    "delete": "camfleet.cli.retention:delete",
    "prune": "camfleet.cli.retention:prune",
    "worker": "camfleet.cli.worker:worker",
    "workers": "camfleet.cli.workers:workers",
    "health": "camfleet.cli.workers:health",
    "serve": "camfleet.cli.serve:serve",
    "tokens": "camfleet.cli.tokens:tokens",
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
        if args[0] not in _COMMANDS and near:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # click's signature
        **extra: Any,
    ) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        if not standalone_mode:
            return super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
        with _report_errors(as_json=_wants_json(words)):
            code = super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
        sys.exit(code if isinstance(code, int) else 0)


def _wants_json(words: Sequence[str]) -> bool:
    """Return whether JSON is asked for, also where the words are wrong otherwise."""
    return "--json" in words or "--format json" in " ".join(words).replace("=", " ")


@contextmanager
def _report_errors(*, as_json: bool) -> Iterator[None]:
    """Print what the block raises, with `as_json` as JSON on stdout, and exit by it."""
    from camfleet.cli import output
    from camfleet.errors import CamfleetError, InternalError, InvalidRequest
    from camfleet.foreign import without_secrets

    try:
        yield
    except CamfleetError as error:
        output.error(error.code, error.message, as_json=as_json)
        sys.exit(_EXIT_ERROR)
    except click.ClickException as error:
        if as_json:
            output.error(InvalidRequest.code, error.format_message(), as_json=True)
        else:
            error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("camfleet: stopped by Ctrl-C", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # a bug: shown without the secrets of URLs
        import traceback

        click.echo(without_secrets(traceback.format_exc()), err=True, nl=False)
        if as_json:
            bug = InternalError(f"{type(error).__name__}: {error}")
            output.error(bug.code, bug.message, as_json=True)
        sys.exit(_EXIT_ERROR)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("camfleet"), prog_name="camfleet")
def group() -> None:
    """Show which parts of an image made a classifier decide as it did, for one image or millions.

    Exit codes: 0 ok, 1 error, 2 usage, 3 finished with failed images, 4 a verdict against the model
    (compare, faithfulness, review), 130 stopped by Ctrl-C. With --json, errors are printed to
    stdout as {"error": {"code", "message"}}.

    Settings come from the environment (CAMFLEET_*); `camfleet up` writes them to a file.
    """


def main() -> None:
    """Run the command line."""
    from camfleet.cli.screen import guard

    guard()
    group(prog_name="camfleet")
