"""camfleet serve: the HTTP gateway."""

import ipaddress
import os
import re
import socket
from pathlib import Path

import click

from camfleet.cli import options, output
from camfleet.errors import ConfigurationError, InvalidRequest
from camfleet.settings import Settings

_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
_BACKLOG = 2048
_ORIGIN = re.compile(r"https?://([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:\d{1,5})?")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]{1,64}){0,8}")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8100, show_default=True)
@click.option(
    "--host-name",
    "names",
    multiple=True,
    metavar="NAME",
    help="A host name to answer under; repeat for several. Others are refused.",
)
@click.option(
    "--behind-tls",
    is_flag=True,
    help="Confirm that a proxy in front terminates TLS. Without it, camfleet listens on loopback "
    "only, because tokens would travel in clear text.",
)
@click.option(
    "--root-path",
    default="",
    metavar="PATH",
    help="The path below which a proxy in front serves it, such as /camfleet.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="An origin whose pages may read responses, such as https://app.example, or * for all; "
    "repeat for several. Pages need a token of their own.  [default: none]",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Port for Prometheus metrics.  [default: none]",
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Its address.")
@click.option(
    "--labels",
    multiple=True,
    metavar="MODEL=FILE",
    help="Names for a model's classes in Label Studio, in a file as for camfleet export --labels; "
    "repeat for several models.",
)
def serve(
    *,
    host: str,
    port: int,
    names: tuple[str, ...],
    behind_tls: bool,
    root_path: str,
    origins: tuple[str, ...],
    metrics_port: int | None,
    metrics_host: str,
    labels: tuple[str, ...],
) -> None:
    """Serve the HTTP gateway and the web page.

    It runs until SIGTERM or Ctrl-C. Every request needs a token: see camfleet tokens. Any number of
    gateways may run side by side.
    """
    try:
        from camfleet.gateway import server
        from camfleet.gateway.services import open_services
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} isn't installed: install camfleet with the extra gateway, as in "
            "docs/gateway.md"
        ) from error
    if metrics_port is None:
        ctx = click.get_current_context()
        options.refuse_given(ctx, ["metrics_host"], "does nothing without --metrics-port")
    _refuse_clear_text(host, behind_tls=behind_tls)
    _check_prefix(root_path)
    _check_origins(origins)
    files = _files(labels)
    settings = Settings.from_environ(os.environ)
    ear = _listen(host, port)
    port = ear.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    hosts = (*_LOCAL_NAMES, shown, *names)
    with open_services(
        settings, hosts, root_path=root_path, behind_tls=behind_tls, labels=files
    ) as services:
        if metrics_port:
            services.metrics.serve(metrics_host, metrics_port)
        output.say(f"serving on http://{shown}:{port}, with SIGTERM or Ctrl-C as the end")
        server.serve(services, [ear], origins)


def _refuse_clear_text(host: str, *, behind_tls: bool) -> None:
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise InvalidRequest(f"--host {host}: give an IP address, or localhost") from None
    if not (local or behind_tls):
        raise InvalidRequest(
            f"--host {host} is reached from other machines, and tokens would travel there in clear "
            "text: listen on 127.0.0.1, or put a proxy with TLS in front and say --behind-tls"
        )


def _check_prefix(path: str) -> None:
    if not _PREFIX.fullmatch(path):
        raise InvalidRequest(
            f"--root-path {path}: give a path as in /camfleet or /tools/camfleet, without a slash "
            "at its end"
        )


def _files(labels: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of names by the model's id; raise `InvalidRequest`."""
    found: dict[str, Path] = {}
    for word in labels:
        model, sign, name = word.partition("=")
        if not sign or not model or "@" in model or model in found:
            raise InvalidRequest(
                f"--labels {word}: give MODEL=FILE, once for a model, whose id has no version"
            )
        if not Path(name).is_file():
            raise InvalidRequest(f"--labels {word}: there's no file {name!r}")
        found[model] = Path(name)
    return found


def _check_origins(origins: tuple[str, ...]) -> None:
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise InvalidRequest(
                f"--allow-origin {origin}: give scheme and host in lower case, with a port other "
                "than the usual one and without a slash at the end, as https://app.example"
            )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InvalidRequest(
            f"--host {host} --port {port}: can't listen there: {error.strerror or error}; "
            "choose a free port (--port) at an address of this machine (--host)"
        ) from error
