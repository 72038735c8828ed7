"""Workers and producers as processes of their own, held at named points, killed, told to stop."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from helpers.waiting import wait_until

START = 120  # seconds until a program has begun, on a busy machine
COMMAND = [sys.executable, "-m", "celery", "-A", "camfleet_worker", "worker", "-l", "INFO"]
APP = "TEST_WORKER_APP"  # the variable that names another application than the worker's own

_CLIENT = "import sys\nfrom camfleet import Client\nwith Client.from_environ() as client:\n    "
SUBMIT = (
    _CLIENT + "job = client.submit(sys.argv[3:], models=[sys.argv[1]], job_id=sys.argv[2])\n"
    "    print(job.note)"
)
RETRY = _CLIENT + "print(client.retry(sys.argv[1])[1])"
CAMFLEET = "from camfleet.cli import main; main()"
RESUME = _CLIENT + "client.resume(sys.argv[1])"


def memory_of(pid):
    """Return the resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


class Points:
    """The named points of one process: a folder for CAMFLEET_FAULT_DIR."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def arm(self, point):
        (self.folder / point).touch()

    def release(self, *points):
        """Let whoever is held go on; without names at all points."""
        for point in points or [path.name for path in self.folder.iterdir()]:
            (self.folder / point).unlink(missing_ok=True)
            for held in self.folder.glob(f"{point}.*"):
                held.unlink(missing_ok=True)

    def is_held(self, point):
        return any(self.folder.glob(f"{point}.*"))


class Process:
    """A process with points of its own, some of them armed, and its output in a file.

    `before` are words of a program that runs the command.
    """

    def __init__(self, command, environ, folder, armed=(), before=()):
        self.points = Points(folder / "points")
        for point in armed:
            self.points.arm(point)
        self.log = folder / "log"
        environ = {**environ, "CAMFLEET_FAULT_DIR": str(self.points.folder)}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*before, *command],
                env=environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self):
        return self._process.pid

    @property
    def code(self):
        """The exit code, None while it runs."""
        return self._process.poll()

    def said(self):
        return self.log.read_text(errors="replace")

    def hold(self, point, timeout=START):
        """Return when the process has reached an armed point."""
        wait_until(lambda: self.points.is_held(point) or self.code is not None, timeout)
        assert self.code is None, self.said()

    def send(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """End it as the kernel does when memory is short: at once and without a word."""
        self.send(signal.SIGKILL)
        self._process.wait(30)

    def ended(self, timeout=60):
        """Return the exit code as soon as there is one."""
        return self._process.wait(timeout)

    def says(self, text, since=0, timeout=60):
        """Return when the log has `text` after so many characters."""
        wait_until(lambda: text in self.said()[since:] or self.code is not None, timeout)
        assert text in self.said()[since:], self.said()

    def close(self):
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(30)


class Worker(Process):
    """A Celery worker; `ready` waits for it."""

    def __init__(self, environ, folder, armed=(), before=()):
        app = environ.get(APP, "camfleet_worker")
        command = [app if word == "camfleet_worker" else word for word in COMMAND]
        super().__init__(command, environ, folder, armed, before)

    def ready(self, timeout=START):
        wait_until(lambda: self.code is not None or " ready." in self.said(), timeout)
        assert self.code is None, self.said()
        return self


class Producer(Process):
    """A script of the Python client with its words."""

    def __init__(self, environ, folder, script, *words, armed=(), before=()):
        super().__init__([sys.executable, "-c", script, *words], environ, folder, armed, before)
