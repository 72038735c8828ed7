"""camfleet workers, health: who works, and whether they can."""

import time
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import output

if TYPE_CHECKING:
    from camfleet.broker.heartbeats import WorkerState

_COLUMNS = ("worker", "state", "device", "images/s", "images", "models", "in work", "up")


@click.command()
@output.as_json
def workers(*, as_json: bool) -> None:
    """List the live workers: device, models in memory, chunks in work, images per second."""
    from camfleet.contract.codec import encode

    with output.client() as client:
        found = client.workers()
    if as_json:
        output.dump([encode(each) for each in found])
        return
    output.table(map(_row, found), _COLUMNS)
    for each in found:
        if each.trouble:
            click.echo(f"camfleet: {each.name}: {each.trouble}", err=True)


@click.command()
@click.option("--host", help="The workers of that host.  [default: of this one]")
@output.as_json
@click.pass_context
def health(ctx: click.Context, /, *, host: str | None, as_json: bool) -> None:
    """Say whether the workers of a host can take work; exit code 1 if not.

    A worker that answers a ping but gets no messages isn't well.
    """
    from camfleet.broker.heartbeats import of_host
    from camfleet.errors import ServiceError

    found: list[WorkerState] = []
    with output.client() as client:
        try:
            found = of_host(client.workers(), host)
            troubles = [f"{each.name}: {each.trouble}" for each in found if each.trouble]
            if not found:
                troubles = [f"no worker of {host or 'this host'} has told of itself lately"]
        except ServiceError as error:
            troubles = [str(error)]
    if as_json:
        output.dump(
            {"healthy": not troubles, "workers": [w.name for w in found], "troubles": troubles}
        )
    elif not troubles:
        click.echo(f"healthy: {', '.join(each.name for each in found)}")
    for trouble in troubles:
        click.echo(f"camfleet: unhealthy: {trouble}", err=True)
    if troubles:
        ctx.exit(1)


def _row(worker: "WorkerState") -> dict[str, Any]:
    chunks = [
        f"{each.job_id} {each.model}:{each.part} ({each.explained})" for each in worker.chunks
    ]
    asked = [f"{worker.interactive} interactive"] if worker.interactive else []
    return {
        "worker": worker.name,
        "state": "in trouble" if worker.trouble else "well",
        "device": worker.device,
        "images/s": f"{worker.images_per_second:.1f}",
        "images": worker.images,
        "models": ", ".join(worker.models) or None,
        "in work": ", ".join(chunks + asked) or None,
        "up": f"{time.time() - worker.started_at:.0f} s",
    }
