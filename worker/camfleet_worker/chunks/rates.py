"""How fast this process explains the images of jobs, model by model, for whoever plans a job."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from camfleet_worker.process.shutdown import RunEnds

_SECONDS = 600.0  # of work, after which what came before counts half
_MOST_MODELS = 100


@dataclass(eq=False)
class TimedChunk:
    """A chunk in work, its share of the time, and how many of its images were explained.

    `waits` says that its model may still be loading.
    """

    model: str
    waits: bool
    seconds: float = 0.0
    images: int = 0


class Rates:
    """Images per second of each model. Safe to share by threads.

    Chunks that run side by side share the time. `clock` gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock()
        self._running: list[TimedChunk] = []
        self._seconds: dict[str, float] = {}
        self._images: dict[str, float] = {}

    @contextmanager
    def chunk(self, model: str) -> Iterator[TimedChunk]:
        """Measure a chunk of a model, whose `images` are to be set in the block.

        The first one to end isn't counted, and of those beside it nothing before `loaded` was
        called. One that breaks has taken its time for no image; one that is cancelled or goes back
        says nothing.
        """
        with self._lock:
            self._settle()
            chunk = TimedChunk(model, waits=model not in self._images)
            self._running.append(chunk)
        ends = False
        try:
            yield chunk
        except RunEnds:
            ends = True
            raise
        finally:
            with self._lock:
                self._settle()
                self._running.remove(chunk)
                if not ends:
                    self._count(chunk)

    def loaded(self, chunk: TimedChunk) -> None:
        """Take note that a chunk's model is loaded; may be called again."""
        if chunk.waits:
            with self._lock:
                self._settle()
                chunk.waits, chunk.seconds = False, 0.0

    def rates(self) -> dict[str, float]:
        """Return the images per second of the models of which that is known."""
        with self._lock:
            return {
                model: round(images / self._seconds[model], 2)
                for model, images in self._images.items()
                if images and self._seconds[model]
            }

    def _count(self, chunk: TimedChunk) -> None:
        model = chunk.model
        if model in self._images:
            self._images[model] += chunk.images
            self._seconds[model] += chunk.seconds
            if self._seconds[model] > _SECONDS:
                self._seconds[model] /= 2
                self._images[model] /= 2
        elif chunk.images and len(self._images) < _MOST_MODELS:
            self._images[model] = self._seconds[model] = 0.0

    def _settle(self) -> None:
        """Share the time that has passed out among the chunks in work."""
        now = self._clock()
        for chunk in self._running:
            chunk.seconds += (now - self._since) / len(self._running)
        self._since = now
