"""What worker processes on this machine may use, and how it's shared out among them."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from camfleet import control_groups
from camfleet.errors import ConfigurationError

# A process feeds 350 images/s with pictures. On CPUs one takes 12 ms with a small model; what is
# done beside a GPU takes 3 ms, on no more than 1.5 cores (benchmarks/README.md, `feed`).
CORES_OF_PROCESS, CORES_BESIDE_GPU = 4, 2
BYTES_OF_PROCESS = 2**30  # with a model; benchmarks/scale.py measures it
_MEMINFO = Path("/proc/meminfo")
_DEVICES = Path("/dev")


@dataclass(frozen=True)
class Machine:
    """Cores by number, bytes of memory that are free, and GPUs as CUDA names them.

    `quota` is how many cores' worth of time a container may use, None for all of them.
    """

    cores: tuple[int, ...]
    quota: int | None
    memory: int
    gpus: tuple[str, ...]

    @classmethod
    def here(cls, environ: Mapping[str, str]) -> "Machine":
        """Return what this process may use: within its container, and the GPUs it's shown."""
        cores = tuple(sorted(os.sched_getaffinity(0)))
        free = [_available(_MEMINFO), control_groups.free_memory()]
        memory = min(found for found in free if found is not None)
        return cls(cores, control_groups.cores(), memory, _gpus(environ, _DEVICES))

    @property
    def width(self) -> int:
        """Return how many threads compute side by side."""
        return min(len(self.cores), self.quota or len(self.cores))


@dataclass(frozen=True)
class Share:
    """What one worker process has.

    Cores of its own, or none where a quota limits all of them: other containers' processes would
    be on the same ones. Then `threads` compute. `gpu` is None where that's left to the process.
    """

    cores: tuple[int, ...]
    threads: int
    gpu: str | None


def share_out(machine: Machine, processes: int | None, gpus: str | None) -> list[Share]:
    """Return the share of each of so many processes, None for as many as can be fed.

    `gpus` is `all`, `none` or a list such as `0,1`; None is all that there are. Each process has
    one GPU, and each GPU as many processes. Raises `ConfigurationError`.
    """
    devices = _chosen(machine, gpus)
    count = processes or _fed(machine, devices)
    if count < len(devices):
        raise ConfigurationError(
            f"{count} processes can't use {len(devices)} GPUs, as each uses one: "
            "--processes auto, or name fewer with --gpus"
        )
    shown = [None] if gpus is None and not devices else (devices or [""])
    return [_share(machine, number, count, shown[number % len(shown)]) for number in range(count)]


def _fed(machine: Machine, devices: Sequence[str]) -> int:
    """Return how many processes cores and memory can feed: as many for each GPU, one at least."""
    cores = CORES_BESIDE_GPU if devices else CORES_OF_PROCESS
    count = min(machine.width // cores, machine.memory // BYTES_OF_PROCESS)
    users = max(1, len(devices))
    return users * max(1, count // users)


def _chosen(machine: Machine, gpus: str | None) -> list[str]:
    if gpus in (None, "all"):
        if gpus and not machine.gpus:
            raise ConfigurationError(
                "--gpus all: this machine shows no GPU (/dev/nvidia0); leave --gpus out to compute "
                "on CPUs"
            )
        return list(machine.gpus)
    if gpus == "none":
        return []
    chosen = [name.strip() for name in (gpus or "").split(",")]
    if not all(chosen) or len(set(chosen)) < len(chosen):
        raise ConfigurationError(f"--gpus {gpus}: give all, none, or numbers such as 0,1")
    missing = [name for name in chosen if name not in machine.gpus]
    if missing:
        there = ", ".join(machine.gpus) or "none"
        raise ConfigurationError(f"--gpus {gpus}: there's no GPU {missing[0]}, there are: {there}")
    return chosen


def _share(machine: Machine, number: int, count: int, gpu: str | None) -> Share:
    """Return the share of one of `count` processes: neighbouring cores, and one at least."""
    cores = machine.cores
    if machine.width < len(cores):
        return Share((), max(1, machine.width // count), gpu)
    if count > len(cores):
        return Share((cores[number % len(cores)],), 1, gpu)
    start, end = (len(cores) * place // count for place in (number, number + 1))
    return Share(cores[start:end], end - start, gpu)


def _gpus(environ: Mapping[str, str], devices: Path) -> tuple[str, ...]:
    """Return the GPUs that this process is shown, all that there are without a word on that."""
    shown = environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return tuple(name.strip() for name in shown.split(",") if name.strip() not in ("", "-1"))
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in devices.glob("nvidia*"))
    return tuple(sorted((match[1] for match in found if match), key=int))


def _available(meminfo: Path) -> int:
    """Return the bytes of memory that the machine has left."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:  # not Linux
        found = None
    return int(found[1]) * 1024 if found else 2**63
