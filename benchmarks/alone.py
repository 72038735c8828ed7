"""A model with nothing around it, in a process with a worker's settings: explained, or run only.

The process answers each line `explain SECONDS` or `forward SECONDS` with how fast it was, so that
it can be measured in turn with a worker.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec


class Alone:
    """The process, seen from the benchmark."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def explain(self, seconds: float = 10) -> dict[str, float]:
        """Return images per second and CPU milliseconds per image.

        Decoded images in, maps out, in batches as in a job.
        """
        return dict(self._ask("explain", seconds))

    def forward(self, seconds: float = 2) -> list[float]:
        """Return the seconds of bare forward passes of one image each."""
        return list(self._ask("forward", seconds)["seconds"])

    def _ask(self, what: str, seconds: float) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what} {seconds}\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline())


@contextmanager
def alone(card: Path, photos: Path) -> Iterator[Alone]:
    """Start the process for a block: the model of a card, with the photographs of a folder."""
    command = [sys.executable, "-m", "benchmarks.alone", str(card), str(photos)]
    with subprocess.Popen(  # noqa: S603  # ours
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Alone(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve(card_path: Path, folder: Path) -> None:
    from camfleet.registry import cards
    from camfleet.settings import Settings
    from camfleet_worker.process import runtime

    settings = Settings.from_environ(os.environ)
    runtime.configure(settings)
    from camfleet_worker.models.build import ModelKey, build_explainer
    from camfleet_worker.models.choose import EngineSelector
    from camfleet_worker.pictures.decode import open_image
    from camfleet_worker.pictures.prepare import prepare

    card = cards.load_card(card_path)
    made = build_explainer(
        card,
        card_path.parent / card.artifact,
        key=ModelKey("", "auto", None),
        golden=None,
        selector=EngineSelector(settings),
    )
    photos = [
        prepare(
            open_image(path.read_bytes(), max_pixels=10**7, uri=path.name),
            card.input,
            card.preprocessing,
        )[0]
        for path in sorted(folder.iterdir())
    ]
    ways = {"explain": _explaining(made, photos), "forward": _forward(made, photos)}
    for line in sys.stdin:
        what, seconds = line.split()
        print(msgspec.json.encode(ways[what](float(seconds))).decode(), flush=True)


def _explaining(made: Any, photos: list[Any]) -> Callable[[float], dict[str, Any]]:
    import numpy as np

    from camfleet.contract.targets import parse_target

    size = made.batch_size
    batches = [
        np.stack(photos[start : start + size]) for start in range(0, len(photos) - size + 1, size)
    ]
    targets = [parse_target("top")] * size

    def way(seconds: float) -> dict[str, Any]:
        start, used, done = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - start < seconds:
            made.explain(batches[done // size % len(batches)], targets, "gradcam")
            done += size
        return {
            "images_per_second": done / (time.perf_counter() - start),
            "cpu_ms_per_image": 1e3 * (time.process_time() - used) / done,
        }

    return way


def _forward(made: Any, photos: list[Any]) -> Callable[[float], dict[str, Any]]:
    def way(seconds: float) -> dict[str, Any]:
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            made.engines[0].forward(photos[len(taken) % len(photos)][None], ())
            taken.append(time.perf_counter() - start)
        return {"seconds": taken}

    return way


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]))
