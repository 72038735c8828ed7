"""A process of its own that takes hostile input, and what it may not do.

It may refuse with an error of camfleet's own, or take the input. Whatever else it does is a bug: to
die, to hang, to raise anything else, to take more memory or time than allowed, to open a socket, to
start a program, or to write a file outside of its folder.
"""

import json
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.runs import FOLDER

ROOT = Path(__file__).parents[2]
_START_SECONDS = 120
_HANG_SECONDS = 45  # of the clock, on a machine that does other things too


@dataclass(frozen=True)
class Limits:
    """CPU seconds and MiB that one input may take; `per_byte` is MiB per MiB of input."""

    seconds: float
    mib: float
    per_byte: float = 0


@dataclass(frozen=True)
class Outcome:
    """How one input fared: `taken` or the error it was refused with, and what that took."""

    said: str
    seconds: float
    mib: float

    @property
    def taken(self) -> bool:
        return self.said == "taken"


class Victim:
    """Feeds inputs to a process, and starts another one after it has died."""

    def __init__(self, target: str, limits: Limits, folder: Path, hang: float, kept: Path) -> None:
        self._target, self._limits, self._folder, self._hang = target, limits, folder, hang
        self._keep = kept
        self._process: subprocess.Popen[bytes] | None = None
        self._log, self._data = folder / f"{target}.log", b""

    def attack(self, data: bytes) -> Outcome:
        """Return how `data` fares; raise `AssertionError` if the victim does what it may not."""
        process, self._data = self._started(), data
        process.stdin.write(struct.pack("<L", len(data)) + data)
        process.stdin.flush()
        answer = json.loads(self._line(process, self._hang))
        allowed = self._limits.mib + self._limits.per_byte * len(data) / 2**20
        problems = [answer["trace"]] if answer["trace"] else []
        problems += [f"it does what it may not: {what}" for what in answer["seen"]]
        if answer["seconds"] > self._limits.seconds:
            problems.append(f"it takes {answer['seconds']:.1f} s")
        if answer["mib"] > allowed:
            problems.append(f"it takes {answer['mib']:.0f} MiB, {allowed:.0f} allowed")
        if problems:
            problems.append(f"the input is kept in {self._kept(data)}")
            raise AssertionError("\n".join(problems))
        return Outcome(answer["said"], answer["seconds"], answer["mib"])

    def _kept(self, data: bytes) -> Path:
        """Keep an input that does harm, and return where: the last one is the smallest."""
        self._keep.mkdir(exist_ok=True)
        path = self._keep / f"{self._target}.input"
        path.write_bytes(data)
        return path

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                pipe.close()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.fuzz.inside", self._target, self._folder],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, "TMPDIR": str(self._folder)},
                    bufsize=0,
                )
            self._line(self._process, _START_SECONDS)
        return self._process

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """Return the victim's next line; raise `AssertionError` if it dies or hangs."""
        text, end = b"", time.monotonic() + seconds
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0, end - time.monotonic()))
            block = process.stdout.read(2**16) if ready else b""
            text += block
            if not block:
                self._report(process, hangs=not ready)
        return text

    def _report(self, process: subprocess.Popen[bytes], *, hangs: bool) -> None:
        if hangs:
            process.send_signal(signal.SIGUSR1)  # faulthandler writes where it is
            select.select([process.stdout], [], [], 2)
            process.kill()
        code = process.wait()
        self.close()
        log = self._log.read_text(errors="replace")[-3000:]
        raise AssertionError(
            f"it {'hangs' if hangs else f'dies with {code}'}\n{log}\n{self._kept(self._data)}"
        )


@contextmanager
def victim(
    target: str, limits: Limits, *, hang: float = _HANG_SECONDS, kept: Path = FOLDER
) -> Iterator[Victim]:
    """Yield a victim for a block; its folder is removed afterwards.

    After `hang` seconds without an answer an input counts as one that hangs. What does harm is kept
    in `kept`.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        made = Victim(target, limits, Path(folder), hang, kept)
        try:
            yield made
        finally:
            made.close()
