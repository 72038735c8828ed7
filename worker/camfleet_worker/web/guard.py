"""Connections that can't be led into the worker's own network, nor be kept open forever.

Whoever names an image names a server, so a worker must not be tricked into reading what only it
can reach. The guard sits where the socket is made: it resolves the name, refuses addresses that
aren't public, and connects to the very address that it checked. TLS still verifies the name.
"""

import http.client
import io
import logging
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import create_connection

from camfleet.errors import CamfleetError, ImageTooLarge, SourceForbidden, SourceUnreachable

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address

_UNICAST = ip_network("2000::/3")  # all of IPv6 that is routed in public
_NAT64 = ip_network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # the middle of an address that leads into somebody's IPv4
# Neither the internet nor a private network. Listed here so that the answer doesn't depend on what
# the tables of `ipaddress` say in this Python: they changed within patch versions.
_SPECIAL = [
    *map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "169.254.0.0/16", "fe80::/10")),
    *map(ip_network, ("2001::/23", "2001:db8::/32", "3fff::/20")),
]
# What a cloud's machines ask for their credentials and settings, though it looks like the internet
# or a private network. All other clouds answer at link-local addresses, which are special anyway.
_METADATA = [
    ip_network("168.63.129.16/32"),  # Azure
    ip_network("100.100.0.0/16"),  # Alibaba: 100.100.100.200, and its own services
    ip_network("161.26.0.0/16"),  # IBM
    ip_network("166.8.0.0/14"),  # IBM
    ip_network("fd00:ec2::/32"),  # Amazon: ::254, containers' ::23
    ip_network("fd20:ce::/32"),  # Google: ::254
    ip_network("fd00:c1::/32"),  # Oracle: ::a9fe:a9fe
    ip_network("fd00:42::/32"),  # Scaleway: ::42
    ip_network("fd00:a9fe:a9fe::/48"),  # Akamai (Linode): ::1
]
_PRIVATE = [
    *map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")),
    *map(ip_network, ("fc00::/7", "127.0.0.0/8", "::1/128")),
]


def is_public(address: Address) -> bool:
    """Return whether `address`, or the IPv4 address inside it, is on the public internet."""
    inner = _inner(address)
    if inner.version == 6 and inner not in _UNICAST:
        return False
    special = inner.is_multicast or inner.is_reserved or _is_in(inner, _SPECIAL)
    return inner.is_global and not special and not _is_closed(address)


def is_private(address: Address) -> bool:
    """Return whether `address` belongs to a private network, a provider's or this machine.

    Addresses at which clouds give away credentials don't count.
    """
    return _is_in(_inner(address), _PRIVATE) and not _is_closed(address)


def _is_closed(address: Address) -> bool:
    """Return whether no setting opens `address`, although it may look public or private."""
    isatap = address.version == 6 and int(address) >> 32 & 0xFFFFFFFF in _ISATAP
    return isatap or _is_in(_inner(address), _METADATA)


def _is_in(address: Address, blocks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(address in block for block in blocks)


def _inner(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for: mapped, NAT64 or 6to4."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of `host`; raise `SourceUnreachable` if there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SourceUnreachable(f"{host} does not resolve: {error}") from error
    return [str(entry[4][0]) for entry in found]


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What connections may do: where they lead and how long answers are; urllib3 limits the time.

    `resolve` returns the addresses of a host, `permits` says which of them may be connected to.
    """

    resolve: Callable[[str, int], Iterable[str]]
    permits: Callable[[Address], bool]
    max_bytes: int

    def connect(self, connection: HTTPConnection) -> socket.socket:
        """Return a socket to the first permitted address of the host that answers.

        `SourceForbidden`: none is permitted. `SourceUnreachable`: none answers in time.
        """
        deadline = _deadline(connection)
        host = connection.host.strip("[]")
        reason: CamfleetError = SourceUnreachable(f"{host} does not resolve")
        for text in self.resolve(host, connection.port):
            address = ip_address(text)
            if not self.permits(address):
                reason = _forbidden(host, address)
                continue
            try:
                sock = create_connection(
                    (text, connection.port),
                    _left(deadline),
                    socket_options=connection.socket_options,
                )
                sock.settimeout(_left(deadline))  # for the handshake
            except OSError as error:
                reason = SourceUnreachable(f"{host} ({text}) does not answer: {error}")
            else:
                return sock
        raise reason

    def answer(self, connection: HTTPConnection) -> Any:
        """Return the class that reads the connection's next answer, by its timeout from now."""
        return partial(_Answer, deadline=_deadline(connection), max_bytes=self.max_bytes)

    def pools(self) -> dict[str, Any]:
        """Return the pool classes by scheme whose connections this guard makes."""
        guard = self

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return guard.connect(self)

            def getresponse(self) -> Any:
                self.response_class = guard.answer(self)
                return super().getresponse()

        class Encrypted(Plain, HTTPSConnection):
            pass

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class EncryptedPool(HTTPSConnectionPool):
            ConnectionCls = Encrypted

        return {"http": PlainPool, "https": EncryptedPool}


class _Answer(http.client.HTTPResponse):
    """An answer whose headers and body must arrive by a deadline, a byte at a time or not."""

    def __init__(
        self, sock: socket.socket, *args: Any, deadline: float, max_bytes: int, **options: Any
    ) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Bounded(sock, deadline, max_bytes))


class _Bounded(io.RawIOBase):
    """What arrives at a socket, limited to a deadline and a number of bytes."""

    def __init__(self, sock: socket.socket, deadline: float, max_bytes: int) -> None:
        self._sock, self._deadline, self._left = sock, deadline, max_bytes
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        count = self._raw.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise ImageTooLarge("the server sends far more than CAMFLEET_MAX_IMAGE_BYTES")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _deadline(connection: HTTPConnection) -> float:
    return time.monotonic() + (connection.timeout or 0)


def _left(deadline: float) -> float:
    """Return the seconds until `deadline`, or raise `TimeoutError`."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is over (CAMFLEET_FETCH_TIMEOUT)")
    return left


def _forbidden(host: str, address: Address) -> SourceForbidden:
    """Return the error, which doesn't tell a stranger what a name means in this network."""
    logger.info("not read: %s is %s", host, address)
    way_out = (
        "; workers with CAMFLEET_ALLOW_PRIVATE_HOSTS=1 read from private and loopback addresses"
        if is_private(address)
        else ", nor one that CAMFLEET_ALLOW_PRIVATE_HOSTS opens"
    )
    what = "is not" if host == str(address) else "does not have"
    return SourceForbidden(f"{host} {what} a public address{way_out}")
