"""A child process of the local stack: started quietly, stopped in order, never left behind."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_TAIL_LINES = 12
_TAIL_BYTES = 8192


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    environ: Mapping[str, str],
    patient: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `command` with its output in `log`, in a session of its own: Ctrl-C passes it by.

    Other users can't read what it writes. On Linux a `patient` one never preempts a thread that
    computes.
    On Linux the kernel kills it when the calling thread ends, so that even `kill -9` of this
    process leaves nothing behind: start children in a thread that outlives them.
    """
    appended = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(appended, "ab") as output:
        return subprocess.Popen(  # noqa: S603  # our own command lines
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=dict(environ),
            start_new_session=True,
            umask=0o077,
            preexec_fn=_prepared(os.getpid(), patient),  # noqa: PLW1509  # system calls, no locks
        )


def _prepared(parent: int, patient: bool) -> Callable[[], None] | None:
    """Return what a child calls before it becomes the program; None where the kernel can't."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: a forked child had better not load anything

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)
        if patient:
            with suppress(OSError):  # forbidden in some containers
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

    return prepare


def stop(
    processes: Sequence[subprocess.Popen[bytes]], *steps: tuple[signal.Signals, float]
) -> None:
    """End the processes: each step is a signal and the seconds to wait for them, then KILL."""
    for number, patience in steps:
        running = [process for process in processes if process.poll() is None]
        for process in running:
            process.send_signal(number)
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
    for process in processes:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started; do nothing if it has ended."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads its own group
        process.wait()


def tail(log: Path) -> str:
    """Return the last lines of a log, indented."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:]) or "    (nothing)"
