"""camfleet worker: several worker processes on this machine."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from camfleet.local.machine import Machine, Share

_LAST_PORT = 65_535
_PATIENCE = 60.0  # seconds, besides CAMFLEET_STOP_SECONDS


class _Processes(click.ParamType[int | None]):
    """A number of processes, None for `auto`."""

    name = "processes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value is None or value == "auto":
            return None
        try:
            number = int(value)
        except ValueError:
            number = 0
        if not 1 <= number <= 1024:
            self.fail(f"{value!r} is neither auto nor a number from 1 to 1024", param, ctx)
        return number


class _Worker(click.Command):
    """Says where Celery's options stand, whoever gives them as our own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            ctx.fail(
                f"No such option: {error.option_name}. Options of Celery's worker come after --: "
                f"camfleet worker -- {error.option_name} ..."
            )


@click.command(cls=_Worker)
@click.option(
    "--processes",
    type=_Processes(),
    metavar="N|auto",
    help="How many processes.  [default: auto, as many as cores, memory and GPUs allow]",
)
@click.option(
    "--gpus",
    metavar="all|none|0,1",
    help="GPUs, one for each process.  [default: all]",
)
@click.option(
    "--name", default="celery", show_default=True, help="What the nodes' names begin with."
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- CELERY_OPTION...]")
def worker(*, processes: int | None, gpus: str | None, name: str, words: tuple[str, ...]) -> None:
    """Run worker processes on this machine.

    They run until SIGTERM or Ctrl-C; a second signal kills them. Each process has its own cores,
    one GPU, and the metrics port CAMFLEET_METRICS_PORT plus its number. A process that dies is
    restarted after a pause, which doubles each time. Options after -- are Celery's: camfleet worker
    -- -l INFO.
    """
    import os
    import sys
    from importlib.util import find_spec

    from camfleet.errors import ConfigurationError
    from camfleet.local import arbiter
    from camfleet.local.machine import Machine, share_out
    from camfleet.settings import Settings

    if find_spec("camfleet_worker") is None or find_spec("celery") is None:
        raise ConfigurationError(
            "camfleet_worker isn't installed here: install camfleet's wheel with the extra "
            "`worker` and `cpu` or `worker-gpu`"
        )
    settings = Settings.from_environ(os.environ)
    machine = Machine.here(os.environ)
    shares = share_out(machine, processes, gpus)
    port = settings.metrics_port
    if port and port + len(shares) - 1 > _LAST_PORT:
        raise ConfigurationError(
            f"CAMFLEET_METRICS_PORT={port}: {len(shares)} processes take as many ports from there "
            f"on, and the last one is {_LAST_PORT}"
        )
    _say(_plan(machine, shares))
    made = arbiter.Arbiter(
        shares,
        lambda number: arbiter.worker_command(name, words, number),
        lambda number: arbiter.worker_environ(os.environ, shares[number], port, number),
        patience=settings.stop_seconds + _PATIENCE,
        say=_say,
    )
    sys.exit(made.run())


def _plan(machine: "Machine", shares: "list[Share]") -> str:
    """Return what is started, and of what."""
    gpus = sorted({share.gpu for share in shares if share.gpu})
    count = f"{len(shares)} worker process{'es' if len(shares) > 1 else ''}"
    on = f"GPUs {', '.join(gpus)}" if gpus else "CPUs"
    free = machine.memory / 2**30
    return f"{count} on {on}: {machine.width} cores, {free:.1f} GiB of memory free"


def _say(text: str) -> None:
    click.echo(f"camfleet: {text}", err=True)
