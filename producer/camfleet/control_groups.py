"""What Linux lets this process have: the limits of its control group, and of those above it.

A container's own group is the root of what it sees. A service of systemd is in a group below it,
whose limits are as binding. Read is version 2 of control groups (`cpu.max`, `memory.max`).
"""

import re
from collections.abc import Iterator
from pathlib import Path

_OWN = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def cores(own: Path = _OWN, root: Path = _ROOT) -> int | None:
    """Return how many cores' worth of time there is, rounded up; None without a quota."""
    found = []
    for folder in _folders(own, root):
        limit, _, period = _text(folder / "cpu.max").partition(" ")
        if limit.isdecimal() and period.isdecimal():
            found.append(max(1, -(-int(limit) // int(period))))
    return min(found, default=None)


def memory(own: Path = _OWN, root: Path = _ROOT) -> int | None:
    """Return how many bytes of memory may be taken at all; None without a limit."""
    limits = (_number(folder / "memory.max") for folder in _folders(own, root))
    return min((limit for limit in limits if limit is not None), default=None)


def free_memory(own: Path = _OWN, root: Path = _ROOT) -> int | None:
    """Return how many bytes of memory may still be taken; None without a limit.

    What the kernel keeps of files that nobody uses counts as free: it gives that back.
    """
    found = []
    for folder in _folders(own, root):
        limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit is not None and used is not None:
            files = re.search(r"^inactive_file (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
            found.append(max(0, limit - used + (int(files[1]) if files else 0)))
    return min(found, default=None)


def _folders(own: Path, root: Path) -> Iterator[Path]:
    """Yield the folders of this process's group and of those above it."""
    lines = _text(own).splitlines()
    name = next((line[3:] for line in lines if line.startswith("0::")), "").strip("/")
    folder = root / name
    while folder != root and root in folder.parents:
        yield folder
        folder = folder.parent
    yield root


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
