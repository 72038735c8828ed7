"""`python -m tests.fuzz MINUTES`: every target in its turn, on new input each time.

A target that fails isn't tried again; the others go on. What failed is kept in `.fuzz/` and comes
first in the next run, and the report has the line that repeats it.
"""

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.runs import FOLDER

HERE = Path(__file__).parent
_MOST = 5  # times as many examples in a round as in the suite, for less waiting for victims


def main(minutes: float, folder: Path = HERE) -> int:
    targets = sorted(folder.glob("test_*.py"))
    share = minutes / len(targets)
    failed = [target for target in targets if not _holds(target, share)]
    for target in failed:
        print(f"failed: {target.name}; see {_report(target)}", flush=True)
    return 1 if failed else 0


def _holds(target: Path, minutes: float) -> bool:
    """Run a target round by round until its time is over; return whether all rounds passed."""
    end, rounds = time.monotonic() + minutes * 60, 0
    factor = max(1, min(int(minutes), _MOST))
    while time.monotonic() < end or not rounds:
        rounds += 1
        seed = secrets.randbits(32)
        if not _passes(target, seed, factor):
            print(f"{target.name}: round {rounds} fails with --hypothesis-seed={seed}", flush=True)
            return False
    print(f"{target.name}: {rounds} rounds", flush=True)
    return True


def _passes(target: Path, seed: int, factor: int) -> bool:
    FOLDER.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-x", f"--hypothesis-seed={seed}", target]
    with _report(target).open("wb") as report:
        return not subprocess.run(
            command,
            stdout=report,
            stderr=subprocess.STDOUT,
            env={**os.environ, "FUZZ_EXAMPLES": str(factor)},
            check=False,
        ).returncode


def _report(target: Path) -> Path:
    return FOLDER / f"{target.stem}.txt"


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
