"""A worker as operators start it."""

import subprocess
import sys
from contextlib import contextmanager

from helpers.waiting import wait_until


@contextmanager
def working(environ, log):
    """Run `celery -A camfleet_worker worker` for a block; its output goes to the file `log`."""
    command = [sys.executable, "-m", "celery", "-A", "camfleet_worker", "worker", "-l", "INFO"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: process.poll() is not None or b" ready." in log.read_bytes(), 90)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(60)
