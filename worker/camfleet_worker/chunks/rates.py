"""How fast this process explains the images of jobs, model by model, for whoever plans a job."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS = 600.0  # of work, after which what came before counts half
_MOST_MODELS = 100


class Rates:
    """Images per second of each model. Safe to share by threads.

    Chunks that run side by side share the time. `clock` gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock()
        self._chunks: Counter[str] = Counter()  # in work
        self._seconds: dict[str, float] = {}
        self._images: dict[str, float] = {}

    @contextmanager
    def chunk(self, model: str, images: int) -> Iterator[None]:
        """Measure a chunk of a model, unless it ends by an error.

        The first one of a model isn't counted: the model may have been loaded for it.
        """
        self._change(model, 1)
        try:
            yield
        except BaseException:
            self._change(model, -1)
            raise
        self._change(model, -1)
        with self._lock:
            known = model in self._images
            if not known and len(self._images) < _MOST_MODELS:
                self._images[model] = self._seconds[model] = 0.0
            elif known:
                self._images[model] += images
                if self._seconds[model] > _SECONDS:
                    self._seconds[model] /= 2
                    self._images[model] /= 2

    def rates(self) -> dict[str, float]:
        """Return the images per second of the models of which that is known."""
        with self._lock:
            self._settle()
            return {
                model: round(images / self._seconds[model], 2)
                for model, images in self._images.items()
                if images and self._seconds[model]
            }

    def _change(self, model: str, by: int) -> None:
        with self._lock:
            self._settle()
            self._chunks[model] += by
            if not self._chunks[model]:
                del self._chunks[model]

    def _settle(self) -> None:
        """Share the time that has passed out among the chunks in work."""
        now, running = self._clock(), self._chunks.total()
        for model, count in self._chunks.items():
            if model in self._seconds:
                self._seconds[model] += (now - self._since) * count / running
        self._since = now
