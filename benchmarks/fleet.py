"""The local servers and worker processes of a benchmark, started as operators start them."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM
from types import TracebackType
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from camfleet import Client
from camfleet.contract.outputs import DEFAULT_OUTPUTS
from camfleet.jobs.job import Job
from camfleet.local import process
from camfleet.local.stack import LocalStack

# One picture an image, as those that are compared with make; the default is two.
OVERLAYS = replace(DEFAULT_OUTPUTS, kinds=("overlay",))
NO_PICTURES = replace(DEFAULT_OUTPUTS, kinds=())

if TYPE_CHECKING:
    import subprocess

START_SECONDS = 120.0
_STOP = ((SIGTERM, 3.0), (SIGQUIT, 30.0))
_TICKS = os.sysconf("SC_CLK_TCK")
_POLL_SECONDS = 0.01
_SLOW_POLL_SECONDS = 0.1  # to ask how far a job is takes time of the cores that are measured


class Worker:
    """One worker process; `module` holds its Celery app, `words` are further options."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        module: str = "camfleet_worker",
        words: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        command = [sys.executable, "-m", "celery", "-A", module, "worker", "-l", "INFO", *words]
        self.process: subprocess.Popen[bytes] = process.spawn(
            command, log=self.log, cwd=None, environ=environ
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def ready(self) -> Self:
        """Return when it takes work."""
        self.says(" ready.")
        return self

    def says(self, text: str, *, since: int = 0, seconds: float = START_SECONDS) -> None:
        """Return when its log holds `text` after so many characters."""
        wait_until(lambda: text in self.said()[since:] or self.process.poll() is not None, seconds)
        if text not in self.said()[since:]:
            raise RuntimeError(f"the worker ended:\n{process.tail(self.log)}")

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self.process.send_signal(SIGKILL)

    def stop(self) -> None:
        process.stop([self.process], *_STOP)


class Fleet:
    """Valkey and SeaweedFS of a folder, a client, and workers as they're asked for."""

    def __init__(self, folder: Path, **overrides: str) -> None:
        self._folder = folder
        self._stack = LocalStack(folder / "stack", worker=False, overrides=overrides)
        self._workers = 0

    def __enter__(self) -> Self:
        self._stack.start()
        for name in [each for each in os.environ if each.startswith(("AWS_", "CAMFLEET_"))]:
            del os.environ[name]
        os.environ.update(self._stack.environ)
        self.client = Client(self._stack.settings)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        self._stack.stop()

    @property
    def servers(self) -> dict[str, int]:
        """Return the servers' process ids."""
        return {name: each.pid for name, each in self._stack.processes.items()}

    @contextmanager
    def worker(
        self, module: str = "camfleet_worker", words: Sequence[str] = (), **environ: str
    ) -> Iterator[Worker]:
        """Start a worker for a block; it isn't ready yet."""
        self._workers += 1
        folder = self._folder / f"worker{self._workers}"
        made = Worker(folder, {**os.environ, **environ}, module, words)
        try:
            yield made
        except BaseException:
            print(f"the end of a worker's log:\n{process.tail(made.log)}", file=sys.stderr)
            raise
        finally:
            made.stop()


def wait_until(true: Callable[[], object], seconds: float, *, pause: float = _POLL_SECONDS) -> None:
    """Return as soon as `true` says so; raise `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(pause)


def finish(job: Job, seconds: float = 900, *, pause: float = _SLOW_POLL_SECONDS) -> None:
    """Return when a job is complete; raise where an image of it failed."""
    wait_until(lambda: job.status().complete, seconds, pause=pause)
    progress = job.status()
    if progress.failed:
        raise RuntimeError(f"{progress.failed} images failed: {progress.failures}")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """Return a process's resident memory now, or at its highest (`VmHWM`)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(field)
