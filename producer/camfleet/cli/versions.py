"""camfleet models: list, promote, rollback, unalias, history, remove."""

from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import options, output
from camfleet.cli.terminal import count, iso, moment
from camfleet.registry.changes import CHAMPION

if TYPE_CHECKING:
    from camfleet import ModelChange, ModelVersion, Promoted

_JOBS = 100  # after which the number of jobs that were looked at is shown anew

alias_option = click.option(
    "--alias", default=CHAMPION, show_default=True, help="The alias to move."
)
reason_option = click.option("--reason", help="Why; shown by camfleet models history.")


@click.command(name="list")
@options.as_json
def list_(*, as_json: bool) -> None:
    """List all versions of all models; a bare id means its champion."""
    from camfleet.contract.codec import encode

    with output.client() as client:
        found = client.models.list()
    if as_json:
        output.dump([{**encode(version), "added": iso(version.added_at)} for version in found])
        return
    rows = [
        {
            "id": version.id,
            "version": version.version,
            "aliases": _aliases(version),
            "digest": version.digest[:12],
            "added": moment(version.added_at),
        }
        for version in found
    ]
    output.table(
        rows,
        ("id", "version", "aliases", "digest", "added"),
        whole=("id", "version"),
        optional=("digest", "added"),
        empty="no models yet; add one: camfleet models add CARD.toml",
    )


@click.command()
@click.argument("name", metavar="ID@VERSION")
@alias_option
@reason_option
@options.as_json
def promote(name: str, *, alias: str, reason: str | None, as_json: bool) -> None:
    """Make a version the one that the bare id means.

    Jobs keep the version that they began with; requests get the new one within 5 seconds. With
    --alias, another alias is moved instead, such as ID@candidate.
    """
    with output.client() as client:
        done = client.models.promote(name, alias=alias, reason=reason)
    _say(done, as_json=as_json)


@click.command()
@click.argument("model_id", metavar="ID")
@alias_option
@reason_option
@options.as_json
def rollback(model_id: str, *, alias: str, reason: str | None, as_json: bool) -> None:
    """Undo the last promotion of a model.

    Repeat it to go back one more promotion.
    """
    with output.client() as client:
        done = client.models.rollback(model_id, alias=alias, reason=reason)
    _say(done, as_json=as_json)


@click.command()
@click.argument("name", metavar="ID@ALIAS")
@reason_option
@options.as_json
def unalias(name: str, *, reason: str | None, as_json: bool) -> None:
    """Remove an alias from the version that it names."""
    with output.client() as client:
        ref = client.models.unalias(name, reason=reason)
    if as_json:
        output.dump({"id": ref.id, "version": ref.version, "digest": ref.digest})
    else:
        click.echo(f"{name} named version {ref.version}, and names nothing now")


@click.command()
@click.argument("model_id", metavar="ID")
@options.as_json
def history(model_id: str, *, as_json: bool) -> None:
    """Print who changed a model's versions, when and why.

    The newest change comes first. --json also has the machines where they were made.
    """
    from camfleet.contract.codec import encode

    with output.client() as client:
        found = list(client.models.history(model_id))
        if not found:
            client.models.find(model_id)
    if as_json:
        output.dump([{**encode(change), "changed": iso(change.changed_at)} for change in found])
        return
    rows = [
        {
            "when": moment(change.changed_at),
            "action": _action(change),
            "version": change.version,
            "by": change.user,
            "reason": change.reason,
        }
        for change in found
    ]
    output.table(
        rows,
        ("when", "action", "version", "by", "reason"),
        whole=("when", "version"),
        empty=f"{model_id} was added before changes were recorded",
    )


@click.command()
@click.argument("name", metavar="ID@VERSION")
@click.option("--force", is_flag=True, help="Remove it even if jobs name it. Their results stay.")
@reason_option
@options.as_json
def remove(name: str, *, force: bool, reason: str | None, as_json: bool) -> None:
    """Remove a version, with its card and model file.

    Refused while an alias, a review or a job names it. Without their model, jobs can't be resumed
    or retried, nor their maps redrawn.
    """
    with output.waiting(f"removing {name}") as say, output.client() as client:

        def on_progress(jobs: int) -> None:
            if jobs % _JOBS == 1:
                say(f"removing {name}: {count(jobs, 'job')} looked at")

        done = client.models.remove(name, force=force, reason=reason, on_progress=on_progress)
    if as_json:
        plain = {"id": done.ref.id, "version": done.ref.version, "digest": done.ref.digest}
        output.dump({**plain, "objects": done.objects, "bytes": done.nbytes})
    else:
        freed = f"{count(done.objects, 'object')}, {done.nbytes / 2**20:.1f} MiB"
        click.echo(f"{name} is removed: {freed}")


def means(alias: str, model_id: str, version: str) -> str:
    """Return what an alias names, in words."""
    name = f"{model_id} means" if alias == CHAMPION else f"{model_id}@{alias} names"
    return f"{name} version {version}"


def _say(done: "Promoted", *, as_json: bool) -> None:
    """Print what an alias names now."""
    ref, before = done.ref, done.before
    was = before.version if before else None
    if as_json:
        plain: dict[str, Any] = {"id": ref.id, "version": ref.version, "digest": ref.digest}
        output.dump({**plain, "alias": done.alias, "before": was})
        return
    now = means(done.alias, ref.id, ref.version)
    if before == ref:
        click.echo(f"{now} already")
    else:
        click.echo(f"{now} now" + (f", before: version {was}" if was else ""))


def _action(change: "ModelChange") -> str:
    """Return what was done, and to which alias, unless it's what the bare id means."""
    other = change.alias if change.alias != CHAMPION else None
    return f"{change.action} ({other})" if other else change.action


def _aliases(version: "ModelVersion") -> str | None:
    """Return what a version is called besides, and what is going on with it."""
    former = [f"{alias} (before it was replaced)" for alias in version.former]
    removing = ["(being removed)"] if version.removing else []
    return ", ".join((*version.aliases, *former, *removing)) or None


COMMANDS = (list_, promote, rollback, unalias, history, remove)
