"""camfleet up: the local stack in the foreground."""

from typing import TYPE_CHECKING, Any, NoReturn

import click

from camfleet.cli import options, output

if TYPE_CHECKING:
    from camfleet.local.stack import LocalStack

_WORKER_SECONDS = 180
_WATCH_SECONDS = 0.5
_WORKER_DEATHS = 3  # within a minute: then everything stops


@click.command()
@click.option(
    "--data",
    default=".camfleet",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder that keeps everything; delete it to start afresh.",
)
@click.option(
    "--allow",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="Folder that the worker may read images from; repeatable.  [default: this folder]",
)
@click.option("--no-worker", is_flag=True, help="Start the servers only.")
@options.as_json
def up(*, data: str, allow: tuple[str, ...], no_worker: bool, as_json: bool) -> None:
    """Start Valkey, SeaweedFS and a worker on this machine and keep them until Ctrl-C.

    Everything listens on loopback only. The environment that producers need is in DATA/env as long
    as the stack runs; --json prints it.
    """
    import signal
    import sys
    from pathlib import Path

    from camfleet.local.stack import LocalStack

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # also where `&` made the shell ignore it
    roots = tuple(Path(folder) for folder in allow or (".",))
    stack = LocalStack(Path(data), file_roots=roots, worker=not no_worker, say=_say)
    with stack:
        if not no_worker:
            stack.wait_for_worker(_WORKER_SECONDS)
        try:
            output.dump(_facts(stack)) if as_json else click.echo(_text(stack))
            sys.stdout.flush()
            _watch(stack)
        except KeyboardInterrupt:
            _say("stopping; Ctrl-C again kills")
    _say("stopped")


def _watch(stack: "LocalStack") -> NoReturn:
    """Restart a worker that dies; raise `StackError` if a server does, or workers often."""
    import time

    deaths: list[float] = []
    while True:
        if stack.poll() == "worker" and len(deaths) < _WORKER_DEATHS:
            deaths = [death for death in deaths if death > time.monotonic() - 60]
            deaths.append(time.monotonic())
            _say("the worker died (its log says why); starting another")
            stack.restart_worker()
        stack.check()
        time.sleep(_WATCH_SECONDS)


def _say(text: str) -> None:
    click.echo(f"camfleet: {text}", err=True)


def _facts(stack: "LocalStack") -> dict[str, Any]:
    return {
        "data": str(stack.data),
        "redis": stack.settings.redis_url,
        "s3_endpoint": stack.settings.s3_endpoint,
        "bucket": stack.settings.bucket,
        "file_roots": [str(root) for root in stack.settings.file_roots],
        "pids": {name: process.pid for name, process in stack.processes.items()},
        "environment": stack.environ,
    }


def _text(stack: "LocalStack") -> str:
    import shlex

    from camfleet import addresses

    settings = stack.settings
    worker = stack.data / "logs" / "worker.log" if "worker" in stack.processes else "none"
    return "\n".join(
        [
            f"Ready, until Ctrl-C. Everything is kept in {stack.data}",
            "",
            f"  broker, results   Valkey at {addresses.name_of(settings.redis_url)}",
            f"  object store      {settings.s3_endpoint}, bucket {settings.bucket}",
            f"  worker's log      {worker}",
            f"  readable folders  {', '.join(map(str, settings.file_roots))}",
            "",
            "The environment, with passwords, is in a file; for another terminal:",
            "",
            f"source {shlex.quote(str(stack.data / 'env'))}",
        ]
    )
