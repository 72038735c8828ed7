"""What goes to stdout and stderr past the log: made lines of it.

TensorFlow, libpng and the like write to the file descriptors themselves, as do Celery when it's
told to stop and Python when it crashes. A small process reads them, so that it can still write
down what this one said last.
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
_PATIENCE = 1.0  # seconds
_ABSEIL = re.compile(r"([IWEF])\d{4} ")  # how TensorFlow's lines begin
_LEVELS = {
    "I": logging.INFO,
    "W": logging.WARNING,
    "E": logging.ERROR,
    "F": logging.CRITICAL,
}


def adopt() -> Callable[[], None]:
    """Log, line by line, what this process writes to stdout and stderr until it exits.

    Returns the function that gives both back, which may be called twice. The log must write
    elsewhere already (`logs.setup`), and no thread may run yet: this forks.
    """
    kept = {number: os.dup(number) for number in (1, 2)}
    end, start = os.pipe()
    scribe = _fork_scribe(end, start, os.getpid())
    os.close(end)
    for number in kept:
        os.dup2(start, number)
    os.close(start)
    faulthandler.enable(2)

    def give_back() -> None:
        for number, real in kept.items():
            os.dup2(real, number)
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
    """Wait until the child has written all down; not longer: somebody else may hold the pipe."""
    deadline = time.monotonic() + _PATIENCE
    with suppress(ChildProcessError):  # it has been waited for
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.005)


def _write_down(end: int, start: int, process: int) -> None:
    """Log what comes through the pipe until all have closed it, whatever is to stop meanwhile."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    os.close(start)
    with os.fdopen(end, "rb") as pipe:
        while line := pipe.readline(_LONGEST):
            _log(line.decode(errors="backslashreplace").strip(), process)


def _log(text: str, process: int) -> None:
    """Log a line as the process's; the log's level holds for lines that name their own."""
    found = _ABSEIL.match(text)
    level = _LEVELS[found[1]] if found else logging.WARNING
    if not text or (found and not logger.isEnabledFor(level)):
        return
    record = logger.makeRecord(logger.name, level, __file__, 0, "%s", (text,), None)
    record.process, record.threadName = process, None
    logger.handle(record)
