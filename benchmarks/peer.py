"""One way to explain images or several, in a process of its own: seen from both sides.

The process warms up and prints a line of JSON about itself; then it answers each line with a
way's name with the seconds that the way took. What it's to explain lies in a folder: `case.json`,
`model.keras` and `photos.npy`, (N, H, W, 3) float32.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

WARM_UPS = 2
_CASE = "case.json"
_PHOTOS = "photos.npy"


@dataclass(frozen=True)
class Case:
    """What all ways get: the architecture's name, the layer's, a class an image, threads."""

    name: str
    threads: int
    layer: str = ""
    classes: tuple[int, ...] = ()

    def write(self, folder: Path) -> None:
        (folder / _CASE).write_text(json.dumps(asdict(self)))


class Peer:
    """A process that explains, seen from the benchmark. `about` is what it says of itself."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.about: dict[str, Any] = self._answer()

    def seconds(self, way: str) -> float:
        """Return what one run of a way took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{way}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with code {self._process.wait()}")
        return json.loads(line)


@contextmanager
def peer(python: str, module: str, folder: Path) -> Iterator[Peer]:
    """Start `python -m module folder` for a block; raise `RuntimeError` where it ends early."""
    command = [python, "-W", "ignore", "-m", module, str(folder)]
    with subprocess.Popen(  # noqa: S603  # ours
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Peer(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def given() -> tuple[Path, Case, Any]:
    """Return the folder that this process was started with, its case and its photographs."""
    folder = Path(sys.argv[1])
    return folder, Case(**json.loads((folder / _CASE).read_text())), np.load(folder / _PHOTOS)


def serve(ways: Mapping[str, Callable[[], Any]], images: int, **about: Any) -> None:
    """Warm up, say what this process is, then run ways by name until the input ends.

    `images` is how many a run explains.
    """
    for way in ways.values():
        for _ in range(WARM_UPS):
            way()
    print(json.dumps({"ways": list(ways), "images": images, **about}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        ways[line.strip()]()
        print(time.perf_counter() - start, flush=True)
