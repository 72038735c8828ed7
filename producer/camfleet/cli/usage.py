"""camfleet usage: what the bucket holds."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import options, output

if TYPE_CHECKING:
    from camfleet.jobstore.usage import Used

_OF_MAPS = 16  # digits of a model's digest in the keys of pictures


@click.command()
@click.option(
    "--jobs",
    "most_jobs",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="How many of the largest jobs to list.",
)
@options.as_json
def usage(*, most_jobs: int, as_json: bool) -> None:
    """Show what takes up space in the bucket.

    Prints bytes and objects by kind, by model and by job. It lists the whole bucket, but reads no
    object. Pictures in maps/ are shared by jobs, so they count towards their model.
    """
    from camfleet.jobstore.usage import measure

    with output.client() as client:
        with output.bar(None, "listing the bucket", unit="object") as bar:
            found = measure(
                client.storage.objects(""),
                most_jobs=most_jobs,
                on_progress=lambda count: bar.update(count - bar.n),
            )
        names = _names(client.models.list())
    models = _merged(found.models, names)
    tables = {"kind": found.kinds, "model": models, "job": found.jobs}
    if as_json:
        output.dump({f"{of}s": [_plain(used, of) for used in rows] for of, rows in tables.items()})
        return
    for of, rows in tables.items():
        if rows:
            if of != "kind":
                click.echo()
            output.table(map(partial(_row, of), rows), (of, "objects", "MiB"), whole=(of,))


def _plain(used: "Used", of: str) -> dict[str, Any]:
    return {of: used.name, "objects": used.objects, "bytes": used.nbytes}


def _row(of: str, used: "Used") -> dict[str, Any]:
    return {of: used.name, "objects": used.objects, "MiB": round(used.nbytes / 2**20, 1)}


def _names(versions: Iterable[Any]) -> dict[str, str]:
    """Return the names of models by the first digits of their digests."""
    return {each.digest[:_OF_MAPS]: f"{each.id}@{each.version}" for each in versions}


def _merged(models: "Iterable[Used]", names: Mapping[str, str]) -> "list[Used]":
    """Return models by name, with their pictures; those that aren't registered by digest."""
    from camfleet.jobstore.usage import Used

    sums: dict[str, Used] = {}
    for used in models:
        digits = used.name[:_OF_MAPS]
        name = names.get(digits, digits)
        before = sums.get(name, Used(name, 0, 0))
        sums[name] = Used(name, before.objects + used.objects, before.nbytes + used.nbytes)
    return sorted(sums.values(), key=lambda used: -used.nbytes)
