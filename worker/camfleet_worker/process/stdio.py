"""What bypasses the log on its way to stdout and stderr: turned into log lines.

TensorFlow, libpng and others write to the file descriptors directly, as do Celery when it's told to
stop and Python when it crashes. A small child process reads them, so that even the last words of a
dying process are logged.
"""

import atexit
import faulthandler
import logging
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger(__name__)

_LONGEST = 2**16
_EXIT_TIMEOUT = 1.0  # seconds
_ABSEIL = re.compile(r"([IWEF])\d{4} ")  # how TensorFlow's lines begin
_LEVELS = {
    "I": logging.INFO,
    "W": logging.WARNING,
    "E": logging.ERROR,
    "F": logging.CRITICAL,
}


def adopt() -> Callable[[], None]:
    """Log, line by line, what this process writes to stdout and stderr until it exits.

    Returns a function that restores both and may be called twice. The log must already write
    elsewhere (`logs.setup`), and no thread may run yet: this forks.
    """
    originals = {number: os.dup(number) for number in (1, 2)}
    end, start = os.pipe()
    scribe = _fork_scribe(end, start, os.getpid())
    os.close(end)
    for number in originals:
        os.dup2(start, number)
    os.close(start)
    faulthandler.enable(2)

    def give_back() -> None:
        for number, original in originals.items():
            os.dup2(original, number)
        _wait_for(scribe)

    atexit.register(give_back)
    return give_back


def _fork_scribe(end: int, start: int, process: int) -> int:
    child = os.fork()
    if not child:
        try:
            _write_down(end, start, process)
        finally:
            os._exit(0)
    return child


def _wait_for(child: int) -> None:
    """Wait until the child has logged everything, but not long: others may hold the pipe open."""
    deadline = time.monotonic() + _EXIT_TIMEOUT
    with suppress(ChildProcessError):  # it was waited for before
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.005)


def _write_down(end: int, start: int, process: int) -> None:
    """Log what comes through the pipe until everybody has closed it, whatever signals arrive."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    os.close(start)
    with os.fdopen(end, "rb") as pipe:
        while line := pipe.readline(_LONGEST):
            _log(line.decode(errors="backslashreplace").strip(), process)


def _log(text: str, process: int) -> None:
    """Log a line in the name of the process; lines that have a level obey the log's."""
    found = _ABSEIL.match(text)
    level = _LEVELS[found[1]] if found else logging.WARNING
    if not text or (found and not logger.isEnabledFor(level)):
        return
    record = logger.makeRecord(logger.name, level, __file__, 0, "%s", (text,), None)
    record.process, record.threadName = process, None
    logger.handle(record)
