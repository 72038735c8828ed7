"""The filters of rows, which several commands have in common."""

from collections.abc import Mapping
from typing import Any

import click

from camfleet.cli.options import add_options
from camfleet.cli.values import CLASS, CODE, SHARE
from camfleet.contract.results import Status
from camfleet.storage.place import LONGEST_URL

_FILTERS = (
    click.option(
        "--status",
        multiple=True,
        type=click.Choice(list(map(str, Status))),
        help="How the image ended.",
    ),
    click.option("--code", multiple=True, type=CODE, help="Error code of a failed image."),
    click.option("--model", multiple=True, help="A model of the job: id or id@version."),
    click.option("--class", "class_", multiple=True, type=CLASS, help="Class index or label."),
    click.option(
        "--rank",
        multiple=True,
        type=click.IntRange(0, 2**31 - 1),
        help="Rank of the target, from 0.",
    ),
    click.option("--min-probability", type=SHARE, help="Inclusive."),
    click.option("--max-probability", type=SHARE, help="Inclusive."),
    click.option("--item", multiple=True, help="An item's id."),
    click.option("--image", metavar="TEXT", help="Part of the image's URI."),
    click.option(
        "--where",
        multiple=True,
        metavar="NAME=VALUE",
        help="A column that the job kept from its manifest, such as label, and its value.",
    ),
)


presign = click.option(
    "--presign",
    type=click.IntRange(1, LONGEST_URL),
    metavar="SECONDS",
    help="Instead of the pictures' URIs, give URLs that anybody can open for this long, at most 7 "
    "days.",
)

filter_options = add_options(_FILTERS)


def of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters that were given, as keywords of the client.

    Raises `click.UsageError` for those that contradict each other.
    """
    from camfleet.results.query import Filters

    least, most = given["min_probability"], given["max_probability"]
    if least is not None and most is not None and least > most:
        raise click.UsageError(
            f"--min-probability {least:g} is more than --max-probability, {most:g}"
        )
    values = {name: given.get(name) for name in Filters.__annotations__}
    found = {name: value for name, value in values.items() if value not in (None, ())}
    if given["where"]:
        found["where"] = _where(given["where"])
    return found


def _where(texts: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the values of `--where` by the name of their column."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise click.BadParameter(f"--where {text!r} is not of the form NAME=VALUE")
        found.setdefault(name, []).append(value)
    return found
