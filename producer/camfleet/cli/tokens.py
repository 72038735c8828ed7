"""camfleet tokens: who may use the gateway, and for what."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click
from msgspec import to_builtins

from camfleet.cli import options, output, values
from camfleet.cli.terminal import iso
from camfleet.contract.tokens import SCOPES, Limits, Scope, TokenRecord

F = TypeVar("F", bound=Callable[..., Any])

_COLUMNS = ("id", "owner", "scopes", "state", "created", "expires")
DAYS = 90
_EMPTY = "no token; make one: camfleet tokens create --owner NAME"


def _limit(name: str, text: str, kind: click.ParamType[int] | None = None) -> Callable[[F], F]:
    return click.option(f"--most-{name}", name, type=kind or click.IntRange(1), help=text)


@click.group()
def tokens() -> None:
    """Create, list and revoke tokens of the HTTP gateway."""


@tokens.command()
@click.option("--owner", required=True, help="Who it's for: owners see only their own jobs.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it allows; repeat for several.  [default: all but admin]",
)
@click.option(
    "--days",
    type=values.Real(0, 36500, min_open=True),
    default=None,
    help=f"How long it's valid.  [default: {DAYS}]",
)
@click.option("--forever", is_flag=True, help="Valid until revoked, instead of --days.")
@_limit("requests", "Most images being explained or uploaded at a time.")
@_limit("jobs", "Most jobs that haven't ended.")
@_limit("images", "Most images, times models, that these jobs still have to explain.")
@_limit("bytes", "Most bytes of images and manifests uploaded within 24 hours.", values.Bytes())
@options.as_json
def create(
    *,
    owner: str,
    scopes: tuple[Scope, ...],
    days: float | None,
    forever: bool,
    as_json: bool,
    **most: int | None,
) -> None:
    """Create a token and print it, only this once.

    The bucket keeps only its digest. Limits that you don't give are those of the gateway's
    settings.
    """
    from camfleet.gateway.access.tokens import Tokens

    if forever and days is not None:
        raise click.UsageError("give --days or --forever, not both")
    lasting = None if forever else days or DAYS
    chosen = scopes or tuple(scope for scope in SCOPES if scope != "admin")
    with output.client() as client:
        tokens = Tokens(client.storage)
        text, record = tokens.create(owner, chosen, lasting, Limits(**most))
    if as_json:
        output.dump({"token": text, **_plain(record)})
    else:
        click.echo(text)


@tokens.command(name="list")
@options.as_json
def list_(*, as_json: bool) -> None:
    """List all tokens, including revoked and expired ones."""
    from camfleet.gateway.access.tokens import Tokens

    with output.client() as client:
        rows = [_plain(record) for record in Tokens(client.storage).list()]
    if as_json:
        output.dump(rows)
        return
    shown = ({**row, "scopes": " ".join(row["scopes"])} for row in rows)
    output.table(shown, _COLUMNS, whole=("id", "state"), optional=("created",), empty=_EMPTY)


@tokens.command()
@click.argument("token_id", metavar="ID")
@options.as_json
def revoke(*, token_id: str, as_json: bool) -> None:
    """Revoke a token; gateways notice within 5 seconds."""
    from camfleet.gateway.access.tokens import Tokens

    with output.client() as client:
        record = Tokens(client.storage).revoke(token_id)
    if as_json:
        output.dump(_plain(record))
    else:
        click.echo(f"revoked: token {record.id} of {record.owner}")


def _plain(record: TokenRecord) -> dict[str, Any]:
    valid = record.is_valid(time.time())
    state = "revoked" if record.revoked_at else "valid" if valid else "expired"
    return {
        "id": record.id,
        "owner": record.owner,
        "scopes": list(record.scopes),
        "state": state,
        "created": _time(record.created_at),
        "expires": _time(record.expires_at),
        "limits": {name: most for name, most in to_builtins(record.limits).items() if most},
    }


def _time(seconds: float | None) -> str | None:
    return iso(seconds) if seconds is not None else None
