"""Several worker processes on one machine: started, restarted when they die, stopped in order.

It's the parent of all of them, and fit to be process 1 of a container: signals aren't handled but
awaited, one after the other, and every child that ends is waited for, also those that came from a
worker that died. Each worker leads a session of its own, so Ctrl-C reaches it through here only.
SIGHUP that's ignored when it starts stays so: that's what `nohup` is for.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from camfleet.local.machine import Share

STOPS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a restart, doubled each time
LIVED = 60.0  # seconds after which a death is the first one again
GIVE_UP_AFTER = 5  # deaths of one process in a row
_AWAITED = STOPS | {signal.SIGCHLD}
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


@dataclass
class _Child:
    """One of the processes, and how it fared."""

    number: int
    share: Share
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0  # in a row
    due: float = field(default=0.0)  # when it's to start


class Arbiter:
    """Runs `command` once for each share until it's told to stop.

    `command` and `environ` are asked for the process of a number. On the first signal all are told
    to stop (SIGTERM), once; on a second one, or `patience` seconds later, they're killed. `say`
    is told what happens.
    """

    def __init__(
        self,
        shares: Sequence[Share],
        command: Callable[[int], Sequence[str]],
        environ: Callable[[int], Mapping[str, str]],
        *,
        patience: float,
        say: Callable[[str], None],
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._children = [_Child(number, share) for number, share in enumerate(shares)]
        self._command = command
        self._environ = environ
        self._patience = patience
        self._say = say
        self._first_pause = first_pause
        self._stopping: float | None = None  # since when
        self._failed = False

    def run(self) -> int:
        """Return the exit code: 0 if all ended as they were told, 1 if a process kept dying."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, no child could be waited for
        awaited = _awaited()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
        try:
            while not self._ended:
                self._start_what_is_due()
                self._act_on(signal.sigtimedwait(awaited, self._seconds()))
                self._reap()
        finally:
            self._kill()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return int(self._failed)

    @property
    def _ended(self) -> bool:
        return self._stopping is not None and not any(child.process for child in self._children)

    def _seconds(self) -> float:
        """Return how long nothing is to be done unless a signal comes."""
        now = time.monotonic()
        if self._stopping is not None:
            return max(0.01, self._stopping + self._patience - now)
        due = [child.due for child in self._children if child.process is None]
        return max(0.01, min(due, default=now + LONGEST_PAUSE) - now)

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        if self._stopping is not None:
            if now >= self._stopping + self._patience:
                self._say(f"not ended within {self._patience:g} s; killed")
                self._failed = True
                self._kill()
            return
        for child in self._children:
            if child.process is None and now >= child.due:
                child.process = self._spawn(child)
                child.started = now

    def _spawn(self, child: _Child) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  # our own command line
            self._command(child.number),
            stdin=subprocess.DEVNULL,
            env=dict(self._environ(child.number)),
            start_new_session=True,
            preexec_fn=_prepared(os.getpid(), child.share.cores),  # noqa: PLW1509  # system calls
        )

    def _act_on(self, found: signal.struct_siginfo | None) -> None:
        if found is None or found.si_signo not in STOPS:
            return
        if self._stopping is None:
            self._say("stopping; a second signal kills")
            self._stop()
        else:
            self._say("killed by a second signal")
            self._failed = True
            self._kill()

    def _stop(self) -> None:
        self._stopping = time.monotonic()
        for child in self._children:
            if child.process:
                _send(child.process.pid, signal.SIGTERM)

    def _kill(self) -> None:
        for child in self._children:
            if child.process:
                _send(-child.process.pid, signal.SIGKILL)
                child.process.wait()
                child.process = None

    def _reap(self) -> None:
        """Wait for all that have ended; those that aren't ours were left to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for child in self._children:
                if child.process and child.process.pid == pid:
                    child.process.returncode = os.waitstatus_to_exitcode(status)
                    self._note_end(child)

    def _note_end(self, child: _Child) -> None:
        assert child.process is not None
        code, pid = child.process.returncode, child.process.pid
        child.process = None
        _send(-pid, signal.SIGKILL)  # whatever it has left behind
        if self._stopping is not None:
            return
        now = time.monotonic()
        child.deaths = 1 if now - child.started > LIVED else child.deaths + 1
        if child.deaths >= GIVE_UP_AFTER:
            self._say(
                f"worker process {child.number} died {child.deaths} times in a row ({_how(code)}; "
                "its log says why): all stop"
            )
            self._failed = True
            self._stop()
            return
        pause = min(LONGEST_PAUSE, self._first_pause * 2 ** (child.deaths - 1))
        child.due = now + pause
        self._say(
            f"worker process {child.number} died ({_how(code)}; its log says why); another one "
            f"starts in {pause:g} s"
        )


def worker_command(name: str, words: Sequence[str], number: int) -> list[str]:
    """Return the command of a worker process, whose node has a name of its own on this host."""
    celery = [sys.executable, "-P", "-m", "celery", "-A", "camfleet_worker", "worker"]
    return [*celery, "-n", f"{name}-{number}@%h", *words]


def worker_environ(
    environ: Mapping[str, str], share: Share, metrics_port: int, number: int
) -> dict[str, str]:
    """Return a worker process's environment: its GPU and threads, and its own metrics port."""
    own = dict(environ)
    if not share.cores:
        own.setdefault("CAMFLEET_CPU_THREADS", str(share.threads))
    if share.gpu is not None:
        own["CUDA_VISIBLE_DEVICES"] = share.gpu
    if metrics_port:
        own["CAMFLEET_METRICS_PORT"] = str(metrics_port + number)
    return own


def _awaited() -> set[signal.Signals]:
    """Return the signals to act on; one that's blocked would be delivered even if it's ignored."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return set(_AWAITED - {signal.SIGHUP} if ignored else _AWAITED)


def _prepared(parent: int, cores: Sequence[int]) -> Callable[[], None]:
    """Return what a child calls before it becomes the program.

    It's told to stop when its parent dies, also by `kill -9`.
    """
    prctl = ctypes.CDLL(None).prctl  # looked up here: a forked child had better not load anything

    def prepare() -> None:
        prctl(_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        if cores:
            os.sched_setaffinity(0, cores)

    return prepare


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
