"""camfleet models: add, check, convert, show."""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from camfleet.cli import options, output, values, versions
from camfleet.cli.model_report import print_classes, print_report
from camfleet.registry.changes import CHAMPION

if TYPE_CHECKING:
    from camfleet import ModelRef


@click.group()
def models() -> None:
    """Register, check and promote models."""


for command in versions.COMMANDS:
    models.add_command(command)


@models.command()
@click.argument("card", type=click.Path(path_type=Path), metavar="CARD.toml")
@click.option("--id", "model_id", help="Overrides the card's id.")
@click.option("--version", help="Overrides the card's version.")
@click.option("--replace", is_flag=True, help="Overwrite an existing version.")
@click.option("--promote", is_flag=True, help="Make this the version that the bare id means.")
@click.option(
    "--alias", "aliases", multiple=True, help="Also name it ID@ALIAS; repeat for several."
)
@versions.reason_option
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="FILE|URI",
    help="Also measure on this picture how much bf16 changes; repeat for several.",
)
@click.option(
    "--timeout",
    type=values.SECONDS,
    default=300,
    show_default=True,
    help="Seconds to wait for the check.",
)
@options.as_json
def add(card: Path, *, as_json: bool, **options: Any) -> None:
    """Register a model: upload it and have a worker check it.

    The bare id means a model's first version, until another is promoted: with --promote, or with
    camfleet models promote.
    """
    with output.waiting(f"adding {card}", told=True) as say, output.client() as client:
        ref, report = client.models.add(card, **options, on_step=say)
        aliases = client.models.aliases(ref.id)
    report["choices"] = _choices(card)
    if options["images"] and "bf16" not in report:
        output.say(
            "--image did nothing: what bf16 costs is measured on it, and no live worker computes "
            "in bf16, for which it takes a CPU with AVX512-BF16 or AMX"
        )
    if as_json:
        named = [alias for alias, other in aliases.items() if other == ref]
        plain = {"id": ref.id, "version": ref.version, "digest": ref.digest, "aliases": named}
        output.dump({**plain, "report": report})
        return
    click.echo(f"{ref.id} version {ref.version} is registered; {_meaning(ref, aliases)}")
    click.echo(f"{'digest':13} {ref.digest}")
    print_report(report)


@models.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--card", type=click.Path(path_type=Path), help="The card of a model file.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also print the top classes of this picture, and measure how much bf16 changes on it; "
    "repeat for several.",
)
@options.as_json
@click.pass_context
def check(
    ctx: click.Context, /, path: Path, card: Path | None, images: tuple[Path, ...], *, as_json: bool
) -> None:
    """Report whether a model can be explained, where and why.

    PATH is a card (.toml) or a model file (.keras, .h5, .hdf5). Needs no server. Exit code 1 if the
    model can't be explained.
    """
    if card and path.suffix == ".toml":
        raise click.UsageError(f"--card is for a model file, and {path} is a card itself")
    words = ["--card", str(card)] if card else []
    words += [word for image in images for word in ("--image", str(image))]
    report = _plain_refusal(path) or _run("models.model_report", [str(path), *words])
    if as_json:
        output.dump(report)
        ctx.exit(1 if "error" in report else 0)
    _refuse(report)
    print_report(report)
    for picture in report.get("images", ()):
        print_classes(picture)


@models.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="SRC")
@click.argument("target", type=click.Path(path_type=Path), metavar="DST.keras")
@click.option("--size", type=int, nargs=2, metavar="H W", help="Input size, if SRC leaves it open.")
@click.option("--force", is_flag=True, help="Overwrite DST.")
@options.as_json
@click.pass_context
def convert(
    ctx: click.Context,
    /,
    source: Path,
    target: Path,
    *,
    size: tuple[int, int] | None,
    force: bool,
    as_json: bool,
) -> None:
    """Convert an old model into a .keras file, and verify it.

    SRC is a SavedModel folder or a .h5 or .keras file that TF-Keras can read (needs the extra
    `legacy`). Nothing is written if the predictions differ.
    """
    words = ["--force"] * force + (["--size", *map(str, size)] if size else [])
    done = _run("legacy.convert", [str(source), str(target), *words])
    if as_json:
        output.dump(done)
        ctx.exit(1 if "error" in done else 0)
    _refuse(done)
    click.echo(
        f"{done['written']}: predicts as {source}, largest difference {done['difference']:.1e}"
    )


@models.command(name="show")
@click.argument("name", metavar="ID[@VERSION|@ALIAS]")
@options.as_json
def show_(name: str, *, as_json: bool) -> None:
    """Print a model's card and what a worker found out about it."""
    import msgspec

    from camfleet.errors import InvalidRequest
    from camfleet.registry.cards import to_toml

    with output.client() as client:
        ref = client.models.find(name)
        aliases = [a for a, other in client.models.aliases(ref.id).items() if other == ref]
        card = client.models.card(ref.digest)
        report = client.models.report(ref.digest)
    if as_json:
        plain = msgspec.to_builtins(card)
        output.dump({"digest": ref.digest, "aliases": aliases, "card": plain, "report": report})
        return
    labels = card.label_list
    brief = msgspec.structs.replace(card, labels=(*labels[:5], f"... {len(labels)} in all"))
    click.echo(f"# {ref.id}@{ref.version}: {', '.join(aliases) or 'no alias names it'}")
    click.echo(f"# digest {ref.digest}")
    click.echo(to_toml(brief if len(labels) > 6 else card).decode())
    try:
        print_report(report)
    except KeyError as missing:
        raise InvalidRequest(
            f"the report of {name} in storage has no {missing}: add the model again"
        ) from missing


def _plain_refusal(path: Path) -> dict[str, Any] | None:
    """Return the error of a path that needs no TensorFlow to be refused."""
    from camfleet.errors import CamfleetError
    from camfleet.registry.cards import artifact_path, load_card, read_golden
    from camfleet.registry.model_files import check_model_file

    try:
        if path.suffix == ".toml":
            card = load_card(path)
            read_golden(card, path.parent, path.name)
            artifact_path(card, path.parent, path.name)
        else:
            check_model_file(path)
    except CamfleetError as error:
        return {"error": {"code": error.code, "message": error.message}}
    return None


def _run(module: str, words: list[str]) -> dict[str, Any]:
    """Return what a module of the worker prints as JSON, run in a process of its own."""
    from camfleet.errors import ConfigurationError, InternalError

    if find_spec("camfleet_worker") is None or find_spec("tensorflow") is None:
        raise ConfigurationError(
            "this needs TensorFlow here: install camfleet with the extra `worker`"
        )
    command = [sys.executable, "-P", "-m", f"camfleet_worker.{module}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise InternalError(
            f"camfleet_worker.{module} broke (exit code {done.returncode}): {done.stderr}"
        ) from None
    return found


def _refuse(report: dict[str, Any]) -> None:
    """Raise the error that a report holds, if any."""
    from camfleet.errors import from_code

    if "error" in report:
        raise from_code(report["error"]["code"], report["error"]["message"])


def _choices(card: Path) -> list[dict[str, Any]]:
    """Return how a card prepares photographs, and which of that its file leaves out."""
    from camfleet.registry.cards import load_card, said_fields
    from camfleet.registry.choices import card_choices

    return [choice._asdict() for choice in card_choices(load_card(card), said_fields(card))]


def _meaning(ref: "ModelRef", aliases: Mapping[str, "ModelRef"]) -> str:
    """Return what a bare id means after a version of it was added."""
    champion = aliases.get(CHAMPION)
    way = f"camfleet models promote {ref.id}@{ref.version}"
    if not champion:
        return f"no version is promoted yet: {way}"
    means = versions.means(CHAMPION, ref.id, champion.version)
    return f"{means}" if champion == ref else f"{means} as before ({way} changes that)"
