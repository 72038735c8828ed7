"""Confine this process, before it reads what a stranger made: limits, no network, no processes.

Everything works without privileges and inside of containers, as far as the kernel allows it. It
must happen while the process has a single thread: later threads inherit it.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from camfleet_worker.process import seccomp

_PDEATHSIG, _NO_NEW_PRIVS = 1, 38  # of prctl(2)
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000  # of unshare(2)
_MOST_OPEN = 512  # files
_CAPABILITIES = 0x20080522  # the version of capset(2)'s arguments
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # landlock's system calls, the same on all architectures
_BENEATH = 1  # a rule of landlock about a folder
_WRITE, _REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE = 1 << 1, 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_LINK, _REFER, _TRUNCATE = 1 << 12, 1 << 13, 1 << 14
_OTHER_MAKES = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11  # devices, sockets, pipes
_TCP, _SCOPES = 0b11, 0b11  # bind and connect; abstract sockets and signals


class Limits(NamedTuple):
    """How many bytes of memory a process may take, and how many seconds, by the clock."""

    memory: int
    seconds: float


def confine(folder: Path, limits: Limits) -> tuple[str, ...]:
    """Confine this process and its later threads for good, with `folder` to write to.

    Returns what the kernel doesn't allow, in words; nothing if the confinement is whole.
    """
    _set_limits(limits)
    libc = ctypes.CDLL(None, use_errno=True)
    prctl = getattr(libc, "prctl", None)
    if prctl is None:  # not Linux
        return (_NETWORK, _PROCESSES, _FILES)
    prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    with suppress(OSError):  # if memory runs out, the kernel ends this process first
        Path("/proc/self/oom_score_adj").write_text("1000")
    prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    filtered = seccomp.install(libc)
    offline = filtered or _leave_network(libc)
    _drop_capabilities(libc)
    version = _landlock(libc, folder)
    return tuple(_missing(network=not offline, processes=not filtered, landlock=version))


_NETWORK = (
    "models are loaded with network: the kernel allows neither a filter of system calls (seccomp) "
    "nor a network namespace"
)
_OTHER_NETWORK = _NETWORK.replace("with network", "with network other than TCP")
_PROCESSES = (
    "what loads models may start processes: the kernel allows no filter of system calls (seccomp)"
)
_FILES = "what loads models may write any file of the worker's user: the kernel has no Landlock"


def _missing(*, network: bool, processes: bool, landlock: int) -> Iterator[str]:
    if network:
        yield _OTHER_NETWORK if landlock >= 4 else _NETWORK
    if processes:
        yield _PROCESSES
    if not landlock:
        yield _FILES


def _set_limits(limits: Limits) -> None:
    seconds = int(limits.seconds * (os.cpu_count() or 1)) + 1  # should nobody look at the clock
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _MOST_OPEN,
        resource.RLIMIT_FSIZE: limits.memory,
        resource.RLIMIT_DATA: limits.memory,  # RLIMIT_AS would count what's only mapped, too
        resource.RLIMIT_CPU: seconds,
    }
    for kind, limit in wanted.items():
        _, hard = resource.getrlimit(kind)
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (most, most))


def _leave_network(libc: ctypes.CDLL) -> bool:
    """Move into a network namespace that has nothing in it; return whether that's allowed."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_USER | _NEW_NET) != 0:
        return False
    with suppress(OSError):  # be who one was; nobody in particular does, too
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("process", ctypes.c_int))


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Be no more than any other user, where this is root."""
    header, nothing = _CapabilityHeader(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    libc.capset(ctypes.byref(header), ctypes.byref(nothing))


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def _landlock(libc: ctypes.CDLL, folder: Path) -> int:
    """Let this process write below `folder` only; return Landlock's version, 0 if there's none."""
    version = int(libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
    if version < 1:
        return 0
    own = _WRITE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _MAKE_LINK
    own |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    ruleset = _Ruleset(own | _OTHER_MAKES, _TCP, _SCOPES)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = libc.syscall(_CREATE, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if rules < 0:
        return 0
    try:
        _allow(libc, rules, folder, own)
        _allow(libc, rules, Path("/dev/null"), own & (_WRITE | _TRUNCATE))
        done = libc.syscall(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)
    return version if done == 0 else 0


def _allow(libc: ctypes.CDLL, rules: int, path: Path, access: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneath(access, opened)
        kind = ctypes.c_int(_BENEATH)
        libc.syscall(_ADD, ctypes.c_int(rules), kind, ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(opened)


if __name__ == "__main__":  # what's missing here, as JSON
    json.dump(confine(Path("/"), Limits(2**40, 60)), sys.stdout)
