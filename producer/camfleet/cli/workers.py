"""camfleet workers, health: which workers there are, and whether they can take work."""

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import options, output
from camfleet.cli.terminal import duration, iso

if TYPE_CHECKING:
    from camfleet.broker.heartbeats import WorkerState

_WHOLE = ("state", "version")
_OPTIONAL = ("device", "version", "up", "images")  # where a terminal is narrow
_EMPTY = "no live worker; start one: celery -A camfleet_worker worker, or camfleet up"
_COLUMNS = ("worker", "version", "state", "device", "images/s", "images", "models", "in work", "up")


@click.command()
@options.as_json
def workers(*, as_json: bool) -> None:
    """List the live workers.

    Shows their devices, models in memory, chunks in progress, and images per second.
    """
    from camfleet.contract.codec import encode

    with output.client() as client:
        found = client.workers()
    if as_json:
        output.dump([{**encode(worker), "started": iso(worker.started_at)} for worker in found])
        return
    output.table(map(_row, found), _COLUMNS, whole=_WHOLE, optional=_OPTIONAL, empty=_EMPTY)
    for problem in _problems(found):
        output.say(problem)


@click.command()
@click.option("--host", help="Check the workers of this host.  [default: of this machine]")
@options.as_json
@click.pass_context
def health(ctx: click.Context, /, *, host: str | None, as_json: bool) -> None:
    """Report whether a host's workers are making progress.

    Exit code 1 if not. A worker that answers a ping but gets no messages isn't healthy, nor is one
    that only waits, for example for a full store. It also notes what a worker's machine lacks in
    safety (parts of the confinement for loading models, security fixes of Python), reviews that are
    overdue or came to nothing, and work that waits for bf16 workers while none is alive.
    """
    from camfleet.broker.backlog import BacklogReader
    from camfleet.broker.heartbeats import of_host
    from camfleet.errors import ServiceError
    from camfleet.jobs.fleet import Fleet

    found: list[WorkerState] = []
    waiting: list[str] = []
    with output.client() as client:
        try:
            client.ping()
            alive = client.workers()
            found = of_host(alive, host)
            with closing(BacklogReader(client.settings)) as backlog:
                waiting += Fleet(alive, "").unserved(backlog.read().queues)
            troubles = _problems(found)
            waiting += [_late(name, seconds) for name, seconds in client.reviews.late().items()]
            waiting += [f"review {name}: {why}" for name, why in client.reviews.troubles().items()]
            if not found:
                troubles = [f"no worker on {host or 'this host'} has reported in the last 15 s"]
        except ServiceError as error:
            troubles = [str(error)]
    names = [worker.name for worker in found]
    notes = [f"{worker.name}: {lack}" for worker in found for lack in worker.lacks or ()]
    notes += waiting
    if as_json:
        output.dump(
            {"healthy": not troubles, "workers": names, "troubles": troubles, "notes": notes}
        )
    elif not troubles:
        click.echo(f"healthy: {', '.join(names)}")
    for trouble in troubles:
        output.say(f"unhealthy: {trouble}")
    for note in [] if as_json else notes:
        output.say(f"note: {note}")
    if troubles:
        ctx.exit(1)


def _problems(found: "list[WorkerState]") -> list[str]:
    troubles = [f"{worker.name}: {worker.trouble}" for worker in found if worker.trouble]
    return troubles + [f"{at.name} waits: {at.waits_for}" for at in found if at.waits_for]


def _late(name: str, seconds: float) -> str:
    return f"review {name} has been due for {duration(seconds)}, and no worker has taken it"


def _state(worker: "WorkerState") -> str:
    return "in trouble" if worker.trouble else "waits" if worker.waits_for else "well"


def _row(worker: "WorkerState") -> dict[str, Any]:
    chunks = [
        f"{chunk.job_id} {chunk.model}:{chunk.part} ({chunk.explained})" for chunk in worker.chunks
    ]
    asked = [f"{worker.interactive} interactive"] if worker.interactive else []
    return {
        "worker": worker.name,
        "version": worker.version,
        "state": _state(worker),
        "device": worker.device,
        "images/s": round(worker.images_per_second, 1),
        "images": worker.images,
        "models": ", ".join(worker.models) or None,
        "in work": ", ".join(chunks + asked) or None,
        "up": duration(time.time() - worker.started_at),
    }
