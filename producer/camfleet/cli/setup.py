"""camfleet setup: prepare a new installation and prove that it works."""

import click

from camfleet.cli import options, output


@click.command()
@options.as_json
def setup(*, as_json: bool) -> None:
    """Make the bucket if it's missing, and prove that it and Redis can be used."""
    with output.client() as client:
        client.storage.set_up()
        client.ping()
        if as_json:
            output.dump({"bucket": client.storage.bucket, "ready": True})
        else:
            click.echo(f"ready: bucket {client.storage.bucket}, Redis answers")
