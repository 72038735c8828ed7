"""Whom a worker's readers ask when somebody names an address, a file or an object."""

import socket
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from camfleet.errors import CamfleetError, ObjectMissing
from camfleet.jobstore.s3_roots import S3Roots
from camfleet.settings import Settings
from camfleet.storage.place import split_uri
from camfleet_worker.sources.fetch import Fetcher
from camfleet_worker.sources.files import FileReader
from camfleet_worker.sources.objects import CloudReader, ObjectReader
from camfleet_worker.sources.web import WebReader
from camfleet_worker.web.client import WebClient

# From the registries of IANA, and from what clouds say of their metadata: not the guard's own list.
_NEVER = ["168.63.129.16", "100.100.100.200", "169.254.0.0/16", "fd00:ec2::254", "fd20:ce::254"]
_PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "::1"]
_PRIVATE += ["0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24"]
_PRIVATE += ["203.0.113.0/24", "224.0.0.0/3", "fc00::/7", "fe80::/10", "ff00::/8", "::/128"]
NEVER, PRIVATE = [*map(ip_network, _NEVER)], [*map(ip_network, _PRIVATE)]
_NAMES = {"localhost": "127.0.0.1", "metadata.google.internal": "169.254.169.254"}
_ELSEWHERE = "93.184.216.34"


class Network:
    """Notes whom Python would connect to, and lets nothing through."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        sys.addaudithook(self._hook)

    def resolve(self, host: str, port: int) -> list[str]:
        """Return what a resolver would: a number's address in any spelling, or a name's."""
        name = host.lower().rstrip(".")
        try:
            found = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except (OSError, UnicodeError):
            return [_NAMES.get(name, _ELSEWHERE)]
        return [str(entry[4][0]) for entry in found]

    def _hook(self, event: str, args: tuple) -> None:
        if event == "socket.connect":
            self.asked.append(str(args[1][0]))
            raise ConnectionRefusedError("there's no network here")


class Bucket:
    """Stands for the store: notes which objects are asked for, and has none."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def get(self, uri: str, *, limit: int | None = None) -> None:  # noqa: ARG002
        self.asked.append(split_uri(uri))
        raise ObjectMissing(f"there's no {uri}")


def within(address: str) -> set[IPv4Address | IPv6Address]:
    """Return an address, and every IPv4 address that may be meant by it."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv4Address):
        return {found}
    number, inner = int(found), set()
    if number >> 32 in (0, 0xFFFF) or found in ip_network("64:ff9b::/96"):
        inner.add(IPv4Address(number & 0xFFFFFFFF))
    if found in ip_network("2002::/16"):
        inner.add(IPv4Address(number >> 80 & 0xFFFFFFFF))
    if found in ip_network("2001::/32"):
        inner.add(IPv4Address(~number & 0xFFFFFFFF))
    return {found, *inner}


def reader(folder: Path) -> Callable[[bytes], None]:
    """Return what fetches a URI as workers do, and asserts that only what is open is touched."""
    root, network, bucket = folder / "open", Network(), Bucket()
    (root / "deep").mkdir(parents=True)
    (folder / "secret").write_bytes(b"secret")
    for path in ("a.png", "deep/b c.png", "deep/%2e%2e"):
        (root / path).write_bytes(b"inside")
    (root / "link").symlink_to(folder / "secret")
    environ = {"CAMFLEET_REDIS_URL": "redis://localhost", "CAMFLEET_BUCKET": "own"}
    closed = CloudReader(Settings.from_environ(environ))
    fetchers = {
        private: Fetcher(
            objects=ObjectReader(bucket, S3Roots("own", ("other/photos",))),  # type: ignore[arg-type]
            clouds=closed,
            web=WebReader(
                WebClient(
                    Settings.from_environ(
                        {**environ, "CAMFLEET_ALLOW_PRIVATE_HOSTS": str(int(private))}
                    ),
                    resolve=network.resolve,
                )
            ),
            files=FileReader((root,)),
            max_bytes=1000,
        )
        for private in (False, True)
    }

    def run(data: bytes) -> None:
        uri = data.decode("utf-8", "surrogateescape").replace("FOLDER", str(folder))
        refused = None
        for private, fetcher in fetchers.items():
            network.asked.clear()
            bucket.asked.clear()
            try:
                assert fetcher.fetch(uri).data == b"inside", uri
            except CamfleetError as error:
                refused = error
            closed = NEVER if private else [*NEVER, *PRIVATE]
            for address in network.asked:
                for inner in within(address):
                    assert not any(inner in block for block in closed), (uri, address)
            for name, key in bucket.asked:
                assert name == "own" or (name == "other" and key.startswith("photos/")), uri
        if refused:
            raise refused

    return run
