"""Decodes image files: here what's quick, in processes apart what may take long or crash.

From its header, before any pixel is decoded, each file gets a bound of the time that it may take. A
file whose bound is low is decoded right here. All others go to a process whose time and memory are
limited, and which is ended where it exceeds them or nobody wants its picture any more.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from camfleet.errors import (
    CamfleetError,
    ImageError,
    ImageTooLarge,
    ImageTooSlow,
    ImageUnreadable,
    InternalError,
    WorkerKilled,
    from_code,
)
from camfleet.settings import Settings
from camfleet_worker.arrays import AnyArray
from camfleet_worker.pictures.decoder import Reply, Request
from camfleet_worker.pictures.decoder_process import POLL_SECONDS, DecoderProcess, Ended
from camfleet_worker.pictures.header import Slow
from camfleet_worker.pictures.load import Loaded, Wanted, load

_QUICK = 0.5  # seconds of computing: how long an urgent image may have to wait for a core
_BASE_BYTES = 2**29  # of a process with its libraries
_PIXEL_BYTES = 20  # reserved, of which not all is touched
_FILE_COPIES = 3
_CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)


def _check_nothing() -> None:
    pass


class Decoders:
    """Decodes image files. Safe to share by threads.

    Up to `size` files are decoded at the same time in processes apart, and as many urgent ones
    beside them. A process is started when it's first needed, and serves one file after another.
    """

    def __init__(self, settings: Settings, size: int) -> None:
        self._max_pixels = settings.max_image_pixels
        self._seconds = settings.decode_seconds
        self._memory = (
            _BASE_BYTES
            + _PIXEL_BYTES * settings.max_image_pixels
            + _FILE_COPIES * settings.max_image_bytes
        )
        self._slots = {urgent: threading.Semaphore(size) for urgent in (False, True)}
        self._idle: list[DecoderProcess] = []
        self._lock = threading.Lock()
        self._closed = False
        self.decoded = 0  # in processes apart

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load_quick(self, data: bytes, wanted: Wanted, *, uri: str) -> Loaded:
        """Return what's wanted of `data`; raise `ImageError`, or `Slow` if that may take long."""
        return load(data, wanted, max_pixels=self._max_pixels, uri=uri, seconds=_QUICK)

    @contextmanager
    def slot(
        self, *, urgent: bool = False, check: Callable[[], None] = _check_nothing
    ) -> Iterator[None]:
        """Wait until a process may be used for `load_slow`; `check` may raise meanwhile."""
        slots = self._slots[urgent]
        while not slots.acquire(timeout=POLL_SECONDS):
            check()
        try:
            yield
        finally:
            slots.release()

    def load_slow(
        self,
        data: bytes,
        wanted: Wanted,
        *,
        uri: str,
        check: Callable[[], None] = _check_nothing,
    ) -> Loaded:
        """Return what's wanted of `data`, from a process apart.

        `check` is called several times a second; what it raises ends the process. Raises
        `ImageError`: `ImageTooSlow` and `ImageTooLarge` where a limit is reached, `ImageUnreadable`
        if the process crashed, `WorkerKilled` if it was killed twice. `InternalError`: it can't be
        started.
        """
        request = Request(wanted, self._max_pixels, uri, self._seconds)
        for _ in range(2):
            process = self._take()
            try:
                reply, arrays = process.ask(request, data, check)
            except Ended as ended:
                if ended.code != -signal.SIGKILL:
                    raise self._death(ended.code, uri) from None
            except ValueError as error:
                process.end()
                raise ImageError(f"{uri}: the process that decodes it lies: {error}") from error
            except BaseException:
                process.end()
                raise
            else:
                self._give_back(process)
                return self._loaded(reply, arrays, uri)
        raise WorkerKilled(
            f"{uri}: the process that decodes it was killed twice; if it's short of memory, lower "
            "CAMFLEET_MAX_IMAGE_PIXELS or CAMFLEET_CPU_THREADS"
        )

    def load(self, data: bytes, wanted: Wanted, *, uri: str) -> Loaded:
        """Return what's wanted of `data`, decoded here or apart, since somebody waits for it.

        Raises `ImageError`.
        """
        try:
            return self.load_quick(data, wanted, uri=uri)
        except Slow:
            with self.slot(urgent=True):
                return self.load_slow(data, wanted, uri=uri)

    def close(self) -> None:
        """End the processes that are idle, and those in use once they become so."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _take(self) -> DecoderProcess:
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                try:
                    return DecoderProcess(self._memory)
                except OSError as error:
                    raise InternalError(
                        f"no process can be started that decodes images: {error}"
                    ) from error
            if process.lives:
                return process

    def _give_back(self, process: DecoderProcess) -> None:
        with self._lock:
            self.decoded += 1
            if not self._closed:
                self._idle.append(process)
                return
        process.end()

    def _loaded(self, reply: Reply, arrays: list[AnyArray], uri: str) -> Loaded:
        if reply.out_of_memory:
            raise ImageTooLarge(
                f"{uri} takes more than {self._memory / 2**20:.0f} MiB of memory to decode, which "
                "is enough for ordinary images of CAMFLEET_MAX_IMAGE_PIXELS"
            )
        if reply.error is not None:
            error = from_code(reply.error.code, reply.error.message)
            raise error if isinstance(error, ImageError) else ImageError(str(error))
        if reply.geometry is None:
            raise ImageError(f"{uri}: the process that decodes it says neither what it is nor why")
        return Loaded(arrays[0], reply.geometry, arrays[1] if len(arrays) > 1 else None)

    def _death(self, code: int | None, uri: str) -> CamfleetError:
        """Return how a process ended, as an error; its code is None where it was stuck."""
        self.decoded += 1
        if code is None or code == -signal.SIGPROF:
            return ImageTooSlow(
                f"{uri} takes more than {self._seconds:g} s of computing to decode "
                "(CAMFLEET_DECODE_SECONDS): save it as an ordinary JPEG or PNG"
            )
        if -code in _CRASHES:
            return ImageUnreadable(
                f"{uri} is broken: a library that decodes it ended with "
                f"{signal.Signals(-code).name}"
            )
        if code < 0:
            how = signal.Signals(-code).name
            return ImageError(f"{uri}: the process that decodes it was ended by {how}")
        return InternalError(f"a process that decodes images exited: {code} (see the worker's log)")
