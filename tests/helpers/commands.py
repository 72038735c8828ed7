"""The camfleet command as users run it, in a process that has loaded its code already.

Python takes longer to load boto3, Celery, Arrow and camfleet itself than most commands take to run.
A server loads them once; each command is a new child of it, which has an environment, a folder,
streams and an exit code of its own. camfleet reads these when it runs, not when it's loaded.
"""

import fcntl
import gc
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
import termios
from multiprocessing import reduction
from pathlib import Path

from camfleet import cli

PLAIN = (sys.executable, "-c", "from camfleet.cli import main; main()")  # loads everything itself
_LOADED = [
    "boto3.session",
    "celery.backends.redis",
    "kombu.transport.redis",
    "pyarrow.parquet",
    "tqdm",
    "camfleet.client",
    "camfleet.jobs.waiting",
    "camfleet.jobstore.parquet",
    *(f"camfleet.cli.{found.name}" for found in pkgutil.iter_modules(cli.__path__)),
]
_EARLY = ("LANG", "LC_", "LD_", "PYTHON", "TZ")  # variables that Python reads at its own start
_SECONDS = 120


def command_line(environ):
    """Return a function that runs the command, in this or another environment."""

    def run(*words, environ=environ):
        return camfleet(*words, environ=environ)

    return run


def camfleet(*words, environ, cwd=None):
    """Run the command; return what `subprocess.run` does, with the output as text.

    In an environment that Python reads at its own start, one is started.
    """
    if _early(environ) != _early(os.environ):
        return subprocess.run(
            [*PLAIN, *map(str, words)],
            env=environ,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    with (
        Path(os.devnull).open("rb") as nothing,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        process = Command(words, environ, nothing, out, err, cwd)
        code = process.wait(_SECONDS)
        said = [(file.seek(0), file.read())[1] for file in (out, err)]
    return subprocess.CompletedProcess(["camfleet", *map(str, words)], code, *said)


class Command:
    """A camfleet command that has been started, in a session of its own, on three open files."""

    def __init__(self, words, environ, stdin, stdout, stderr, cwd=None):
        assert _early(environ) == _early(os.environ), "only a Python that is started heeds these"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_LOADED)
        files = [_Open(file) for file in (stdin, stdout, stderr)]
        words = ["camfleet", *map(str, words)]
        folder = str(cwd or Path.cwd())
        self._process = context.Process(target=_main, args=(words, dict(environ), files, folder))
        self._process.start()

    def wait(self, seconds):
        """Return the exit code; kill the command if there's none after so many seconds."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        self._process.close()
        assert code is not None, f"no end within {seconds} s"
        return code


class _Open:
    """An open file, or its number, that another process gets."""

    def __init__(self, file):
        self._file = file

    def __getstate__(self):
        return reduction.DupFd(self._file if isinstance(self._file, int) else self._file.fileno())

    def __setstate__(self, passed):
        self._file = passed.detach()

    def become(self, number):
        os.dup2(self._file, number)
        os.close(self._file)


def _early(environ):
    return {name: text for name, text in environ.items() if name.startswith(_EARLY)}


def _main(words, environ, files, folder):
    """Be the command."""
    gc.freeze()  # a collection would copy what the server has loaded
    for number, file in enumerate(files):
        file.become(number)
    os.setsid()
    if os.isatty(0):  # so that it gets Ctrl-C
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # as Python opens it itself
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    sys.argv = words
    cli.main()
