"""What the local stack keeps in its folder: the lock, the ports, the credentials.

- `credentials.json`: made at random once, private
- `ports.json`: those of the last run, reused if they're free
- `config/`: the servers' configuration, written at every start, private
- `valkey/`, `s3/`, `models/`: the data of Valkey, SeaweedFS and the worker
- `logs/`: one log per child, of the last run
- `env`: the variables to export while the stack runs, private
- `token`: a token for the gateway, private
- `lock`: held while the stack runs
"""

import fcntl
import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from io import TextIOWrapper
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from camfleet.errors import StackError
from camfleet.local import private

HOST = "127.0.0.1"
_GRPC = 10_000  # SeaweedFS listens for gRPC at each of its ports plus this
_GATEWAY = range(8100, 8200)
_LOWEST, _HIGHEST = 10_000, 22_000  # port and gRPC port lie below those for outgoing connections

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    redis_password: str
    s3_access_key: str
    s3_secret_key: str
    signing_key: str  # between SeaweedFS' parts: nobody else may talk to its volume server

    @classmethod
    def of(cls, data: Path) -> Self:
        """Return the credentials kept in the folder, made at random when there are none."""
        path = data / "credentials.json"
        if path.exists():
            return _read(path, cls)
        made = cls(**{field.name: secrets.token_hex(20) for field in fields(cls)})
        private.write(path, msgspec.json.encode(asdict(made)).decode())
        return made


@dataclass(frozen=True, kw_only=True)
class Ports:
    valkey: int
    s3: int
    filer: int
    volume: int
    master: int
    admin: int

    @classmethod
    def of(cls, data: Path) -> Self:
        """Return the ports of the folder's last run, replacing any that is taken."""
        path = data / "ports.json"
        last = asdict(_read(path, cls)) if path.exists() else {}
        taken: dict[str, int] = {}
        for field in fields(cls):
            candidates = (last.get(field.name, 0), *_random_ports())
            taken[field.name] = _first_free(candidates, set(taken.values()))
        chosen = cls(**taken)
        private.write(path, msgspec.json.encode(asdict(chosen)).decode())
        return chosen

    def grpc(self) -> tuple[int, ...]:
        """Return the gRPC ports that SeaweedFS' S3 server needs: they answer once it does."""
        return tuple(port + _GRPC for port in (self.master, self.volume, self.filer, self.s3))

    def sockets(self) -> Iterator[Path]:
        """Yield the sockets of its gRPC ports that SeaweedFS leaves behind when it's killed."""
        for port in (*self.grpc(), self.admin + _GRPC):
            yield from filter(private.is_ours, _sockets(port))


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise StackError(f"{path} is damaged ({error}): remove that file") from error


def _sockets(port: int) -> Iterator[Path]:
    """Yield the Unix sockets of a gRPC port. SeaweedFS chooses where; anybody may put one there."""
    yield from Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock")  # noqa: S108


def _random_ports() -> Iterator[int]:
    for _ in range(1000):
        yield _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)


def _first_free(candidates: Iterable[int], taken: set[int]) -> int:
    for port in candidates:
        near = {port, port - _GRPC, port + _GRPC} & taken
        foreign = (path for path in _sockets(port + _GRPC) if not private.is_ours(path))
        if port and not near and _is_free(port) and _is_free(port + _GRPC) and not any(foreign):
            return port
    raise StackError(f"found no free port between {_LOWEST} and {_HIGHEST} on {HOST}")


def _is_free(port: int) -> bool:
    for host in (HOST, ""):  # weed refuses a port that is taken on any interface
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def gateway_port() -> int:
    """Return the first port from 8100 on that is free."""
    port = next(filter(_is_free, _GATEWAY), None)
    if port is None:
        raise StackError(f"ports {_GATEWAY[0]} to {_GATEWAY[-1]} on {HOST} are all taken")
    return port


def hold(data: Path) -> TextIOWrapper:
    """Return the locked lock file, with our process id in it; or raise `StackError`."""
    lock = os.fdopen(os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip()
        lock.close()
        raise StackError(
            f"already running (pid {owner}) on {data}; its environment is in {data / 'env'}; "
            "stop it with Ctrl-C there or name another folder with --data"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
