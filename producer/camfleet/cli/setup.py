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
    """Create the bucket if needed, and check the store and Redis.

    Tests what camfleet relies on, such as conditional writes and listing, with a
    few small objects below uploads/ that it deletes again, and reads the
    configuration of Redis. If something essential is missing, it says what that
    means, and the exit code is 1; lesser shortcomings are noted.
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
