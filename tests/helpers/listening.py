"""What a process listens on, as /proc tells."""

from contextlib import suppress
from pathlib import Path

LISTEN = "0A"  # of /proc/net/tcp
LISTENING = "00010000"  # the flag of /proc/net/unix


def listeners(pid):
    """Return the (hexadecimal address, port) that a process listens on."""
    inodes = set(_sockets(pid))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == LISTEN and rest[5] in inodes:
                address, _, port = local.partition(":")
                found.append((address, int(port, 16)))
    return found


def socket_files(pid):
    """Return the Unix sockets that a process listens on; without a file, they begin with `@`."""
    inodes = set(_sockets(pid))
    lines = [line.split() for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]]
    return [each[7] for each in lines if each[3] == LISTENING and each[6] in inodes]


def _sockets(pid):
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            kind, _, inode = str(link.readlink()).partition(":")
            if kind == "socket":
                yield inode.strip("[]")
