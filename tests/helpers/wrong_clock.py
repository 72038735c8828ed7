"""Clocks that are wrong: a library that's preloaded, for no namespace has a time of day of its own.

libfaketime would also change the clock by which Python waits.
"""

import shutil
import subprocess
from pathlib import Path


class WrongClocks:
    """Makes environments in which it's later, or earlier, by some seconds."""

    def __init__(self, folder):
        compiler = shutil.which("cc")
        assert compiler, "there is no C compiler: this test needs one (apt-get install gcc)"
        self._library = folder / "wrong_clock.so"
        source = Path(__file__).with_suffix(".c")
        options = ("-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-o", self._library)
        subprocess.run([compiler, *options, source, "-ldl"], check=True)

    def off_by(self, seconds):
        return {"LD_PRELOAD": str(self._library), "TEST_CLOCK_SECONDS": str(seconds)}
