"""camfleet up: the local stack in the foreground."""

from typing import TYPE_CHECKING, Any, NoReturn

import click

from camfleet.cli import options, output

if TYPE_CHECKING:
    from camfleet.local.stack import LocalStack

_WORKER_SECONDS = 180
_CREATE = (
    *("-c", "from camfleet.cli import main; main()"),
    *("tokens", "create", "--owner", "local", "--scope", "admin", "--days", "365", "--json"),
)
_WATCH_SECONDS = 0.5
_DEATHS = 3  # within a minute: then everything stops


@click.command()
@click.option(
    "--data",
    default=".camfleet",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder that holds everything; delete it to start afresh.",
)
@click.option(
    "--allow",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="Folder that the worker may read images from; repeat for several.  [default: this folder]",
)
@click.option("--no-worker", is_flag=True, help="Don't start a worker.")
@click.option("--no-gateway", is_flag=True, help="Don't start the HTTP gateway.")
@options.as_json
def up(
    *, data: str, allow: tuple[str, ...], no_worker: bool, no_gateway: bool, as_json: bool
) -> None:
    """Run the whole stack on this machine until Ctrl-C.

    Starts Valkey, SeaweedFS and a worker, and if the extra gateway is installed, the HTTP gateway
    with its web page, whose address is printed with a token. Everything listens on loopback only.
    While it runs, DATA/env holds the environment for other commands; --json prints it.
    """
    import signal
    import sys
    from pathlib import Path

    from camfleet.local.stack import LocalStack

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Also where `&` made the shell ignore it, but not where `nohup` did.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    roots = tuple(Path(folder) for folder in allow or (".",))
    stack = LocalStack(Path(data), file_roots=roots, worker=not no_worker, say=_say)
    with stack:
        if not no_worker:
            stack.wait_for_worker(_WORKER_SECONDS)
        token = None if no_gateway else _serve(stack)
        try:
            output.dump(_facts(stack, token)) if as_json else click.echo(_text(stack, token))
            sys.stdout.flush()
            _watch(stack)
        except KeyboardInterrupt:
            _say("stopping; Ctrl-C again kills")
    _say("stopped")


def _watch(stack: "LocalStack") -> NoReturn:
    """Restart a worker or gateway that dies; raise `StackError` for a server, or many deaths."""
    import time

    deaths: list[float] = []
    while True:
        name = stack.poll()
        if name in ("worker", "gateway") and len(deaths) < _DEATHS:
            deaths = [death for death in deaths if death > time.monotonic() - 60]
            deaths.append(time.monotonic())
            _say(f"the {name} died (its log says why); starting another")
            stack.restart(name)
        stack.check()
        time.sleep(_WATCH_SECONDS)


def _serve(stack: "LocalStack") -> str | None:
    """Start the gateway, if it's installed; return a token for it that opens everything."""
    from importlib.util import find_spec

    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        return None
    stack.start_gateway()
    return _token(stack)


def _token(stack: "LocalStack") -> str:
    """Return the token of the folder, a new one where that opens nothing any more."""
    import json
    import subprocess
    import sys

    from camfleet.errors import StackError
    from camfleet.local import private

    path = stack.data / "token"
    kept = path.read_text() if path.exists() else ""
    if kept and stack.has_token(kept):
        return kept
    made = subprocess.run(  # noqa: S603  # this program, which finds the stack in its environment
        [sys.executable, "-P", *_CREATE],
        check=False,
        env=stack.child_environ(),
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise StackError(f"no token for the gateway: {made.stderr.strip()}")
    token: str = json.loads(made.stdout)["token"]
    private.write(path, token)
    return token


def _say(text: str) -> None:
    click.echo(f"camfleet: {text}", err=True)


def _facts(stack: "LocalStack", token: str | None) -> dict[str, Any]:
    return {
        **({"gateway": stack.gateway, "token": token} if token else {}),
        "data": str(stack.data),
        "redis": stack.settings.redis_url,
        "s3_endpoint": stack.settings.s3_endpoint,
        "bucket": stack.settings.bucket,
        "file_roots": [str(root) for root in stack.settings.file_roots],
        "pids": {name: process.pid for name, process in stack.processes.items()},
        "environment": stack.environ,
    }


def _text(stack: "LocalStack", token: str | None) -> str:
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
            *(
                [f"  web page, HTTP    {stack.gateway}", f"  token for it      {token}"]
                if token
                else []
            ),
            "",
            "The environment, with passwords, is in a file; for another terminal:",
            "",
            f"source {shlex.quote(str(stack.data / 'env'))}",
        ]
    )
