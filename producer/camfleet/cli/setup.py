"""camfleet setup: prepare a new installation and prove that it works."""

import sys

import click

from camfleet.cli import options, output
from camfleet.cli.terminal import clean, width, wrap

_INDENT = 9


@click.command()
@options.as_json
@click.pass_context
def setup(ctx: click.Context, /, *, as_json: bool) -> None:
    """Make the bucket if it's missing, and try what camfleet relies on.

    Conditional writes, lists and the like are tried with a few small objects
    below uploads/, which go again; of Redis it reads the configuration. What is
    missing comes with what that costs, and the exit code is 1; what only costs
    something is noted.
    """
    from camfleet.contract.codec import encode

    with output.client() as client:
        client.storage.set_up()
        client.ping()
        with output.waiting("trying the store and Redis"):
            found = [*client.checks()]
        bucket = client.storage.bucket
    ready = not any(check.missing for check in found)
    if as_json:
        output.dump({"bucket": bucket, "ready": ready, "checks": [*map(encode, found)]})
    else:
        for check in found:
            mark = "missing" if check.missing else "note" if check.costs else "ok"
            _show(mark, f"{check.what}: {check.found}")
            if check.costs:
                _show("", check.costs)
        click.echo(f"{'ready' if ready else 'not ready'}: bucket {bucket}, Redis answers")
    if not ready:
        ctx.exit(1)


def _show(mark: str, text: str) -> None:
    room = width(sys.stdout)
    click.echo(f"{mark:<{_INDENT}}{wrap(clean(text), _INDENT, room, lines=9)}")
