"""Decodes image files: here what's quick, in processes apart what may take long or crash.

From its header, before any pixel is decoded, each file gets a bound of the time that it may take. A
file whose bound is low is decoded right here. All others go to a process whose time and memory are
limited, and which is ended where it exceeds them or nobody wants its picture any more.
"""

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Self

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
from camfleet_worker.pictures.cost import UNKNOWN, Cost, Slow
from camfleet_worker.pictures.decoder import Reply, Request
from camfleet_worker.pictures.decoder_process import POLL_SECONDS, DecoderProcess, Ended
from camfleet_worker.pictures.load import Loaded, Wanted, load
from camfleet_worker.pictures.turns import Turns
from camfleet_worker.process.confined import oom_kills

_QUICK = 0.5  # seconds of computing: how long an urgent image may have to wait for a core
_BRIEF = 0.25  # of one of many images, as others of the kind wait for it
_BASE_BYTES = 2**29  # of a process with its libraries
_IDLE_BYTES = 2**26  # of them that aren't shared
_PIXEL_BYTES = 24  # at most, of any kind
_FILE_COPIES = 3
_SPARE_BYTES = 2**25
_CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
_CRASHED = "a library that decodes it ended with"


class _NeedsMore(Exception):
    """An image may need more memory than it had; `error` says so, if there is no more."""

    def __init__(self, error: CamfleetError) -> None:
        super().__init__(error)
        self.error = error


class _Job(NamedTuple):
    """An image file, what to make of it, and how to ask whether it's still wanted."""

    data: bytes
    wanted: Wanted
    uri: str
    check: Callable[[], None]


def _check_nothing() -> None:
    pass


class Decoders:
    """Decodes image files. Safe to share by threads.

    Up to `size` files are decoded at the same time in processes apart, and as many urgent ones
    beside them, as long as their memory fits in `CAMFLEET_DECODE_MEMORY`. A process is started when
    it's first needed, and serves one file after another. `aside` surrounds the wait for what takes
    long and is urgent, and `stops` is called meanwhile and may raise.
    """

    def __init__(
        self,
        settings: Settings,
        size: int,
        aside: Callable[[], AbstractContextManager[None]] = nullcontext,
        stops: Callable[[], None] = _check_nothing,
    ) -> None:
        self._max_pixels = settings.max_image_pixels
        self._seconds = settings.decode_seconds
        # All that the largest ordinary image takes, unless that's more than there is for all.
        self._ordinary = _memory(_PIXEL_BYTES * settings.max_image_pixels, settings.max_image_bytes)
        self._most = min(self._ordinary, settings.decode_memory)
        self._reason = (
            f"CAMFLEET_DECODE_MEMORY, {settings.decode_memory / 2**20:.0f} MiB for all images"
            if settings.decode_memory < self._ordinary
            else f"{_PIXEL_BYTES} bytes for each pixel of CAMFLEET_MAX_IMAGE_PIXELS, and "
            f"{_FILE_COPIES} times CAMFLEET_MAX_IMAGE_BYTES"
        )
        self._turns = Turns(size, settings.decode_memory)
        self._quick = threading.Semaphore(size)
        self._aside, self._stops = aside, stops
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

    def load_slow(
        self,
        data: bytes,
        wanted: Wanted,
        *,
        uri: str,
        cost: Cost = UNKNOWN,
        urgent: bool = False,
        check: Callable[[], None] = _check_nothing,
        clock: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Loaded:
        """Return what's wanted of `data`, from a process apart, when it's its turn.

        It gets the memory that it should need, and if that doesn't do, as much as any image may
        have. `check` is called several times a second, unless it's urgent; what it raises ends the
        process. `clock`
        surrounds the work itself. Raises `ImageError`: `ImageTooSlow` and `ImageTooLarge` where a
        limit is reached, `ImageUnreadable` if the process crashed, `WorkerKilled` if it was killed
        twice. `WorkerBusy`: too many urgent images wait. `InternalError`: it can't be started.
        """
        expected = min(_memory(cost.memory, len(data)), self._ordinary)
        check = self._stops if urgent else check
        job = _Job(data, wanted, uri, check)
        with self._aside() if urgent else nullcontext():
            for memory in sorted({min(expected, self._most), self._most}):
                turn = self._turns.hold(
                    memory, size=len(data), urgent=urgent, check=check, poll=POLL_SECONDS
                )
                try:
                    with turn, clock():
                        return self._decode(job, memory, is_enough=memory >= expected)
                except _NeedsMore as more:
                    error = more.error
        raise error

    def load_in_turn(
        self, data: bytes, wanted: Wanted, *, uri: str, seconds: float = _BRIEF
    ) -> Loaded:
        """Do what `load_quick` does, no more of them at a time than are decoded apart."""
        with self._quick:
            return load(data, wanted, max_pixels=self._max_pixels, uri=uri, seconds=seconds)

    def load(self, data: bytes, wanted: Wanted, *, uri: str) -> Loaded:
        """Return what's wanted of `data`, decoded here or apart, since somebody waits for it.

        Raises what `load_quick` and `load_slow` do.
        """
        try:
            return self.load_in_turn(data, wanted, uri=uri, seconds=_QUICK)
        except Slow as slow:
            cost = slow.cost
        return self.load_slow(data, wanted, uri=uri, cost=cost, urgent=True)

    def close(self) -> None:
        """End the processes that are idle, and those in use once they become so."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _decode(self, job: _Job, memory: int, *, is_enough: bool) -> Loaded:
        """Return what a process makes of an image with so many bytes; raise `_NeedsMore`.

        `is_enough`: ordinary images like this one don't need more.
        """
        request = Request(
            job.wanted, self._max_pixels, job.uri, self._seconds, memory - _IDLE_BYTES
        )
        kills = oom_kills()
        for _ in range(2):
            process = self._take()
            try:
                reply, arrays = process.ask(request, job.data, job.check)
            except Ended as ended:
                if ended.code != -signal.SIGKILL:
                    raise self._death(ended.code, job.uri, memory) from None
            except ValueError as error:
                process.end()
                raise ImageError(f"{job.uri}: the process that decodes it lies: {error}") from error
            except BaseException:
                process.end()
                raise
            else:
                self._give_back(process)
                return self._loaded(reply, arrays, job.uri, memory, is_enough=is_enough)
        raise self._killed(job.uri, for_memory=oom_kills() > kills)

    def _take(self) -> DecoderProcess:
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                try:
                    return DecoderProcess(self._most + _BASE_BYTES)
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

    def _loaded(
        self, reply: Reply, arrays: list[AnyArray], uri: str, memory: int, *, is_enough: bool
    ) -> Loaded:
        if reply.out_of_memory or (reply.unexplained and not is_enough):
            raise _NeedsMore(self._too_large(uri))
        if reply.error is not None:
            error = from_code(reply.error.code, reply.error.message)
            error = error if isinstance(error, ImageError) else ImageError(str(error))
            if reply.unexplained and memory < self._ordinary:
                most = f"{self._most / 2**20:.0f} MiB of memory to decode ({self._reason})"
                raise _NeedsMore(ImageUnreadable(f"{error}, or it takes more than {most}"))
            raise error
        if reply.geometry is None:
            raise ImageError(f"{uri}: the process that decodes it says neither what it is nor why")
        return Loaded(arrays[0], reply.geometry, arrays[1] if len(arrays) > 1 else None)

    def _too_large(self, uri: str) -> ImageTooLarge:
        return ImageTooLarge(
            f"{uri} takes more than {self._most / 2**20:.0f} MiB of memory to decode, which is all "
            f"that an image may have ({self._reason}): save it as an ordinary JPEG or PNG"
        )

    def _killed(self, uri: str, *, for_memory: bool) -> WorkerKilled:
        if for_memory:
            return WorkerKilled(
                f"{uri}: the process that decodes it was ended twice, because this machine or "
                "container ran out of memory: give it more, or lower CAMFLEET_DECODE_MEMORY "
                f"({self._turns.memory / 2**20:.0f} MiB) so that fewer images are decoded at a time"
            )
        return WorkerKilled(
            f"{uri}: the process that decodes it was killed twice; if it's short of memory, lower "
            "CAMFLEET_DECODE_MEMORY or CAMFLEET_MAX_IMAGE_PIXELS"
        )

    def _death(self, code: int | None, uri: str, memory: int) -> Exception:
        """Return how a process ended, as an error; its code is None where it was stuck."""
        self.decoded += 1
        if code is None or code == -signal.SIGPROF:
            return ImageTooSlow(
                f"{uri} takes more than {self._seconds:g} s of computing to decode "
                "(CAMFLEET_DECODE_SECONDS): save it as an ordinary JPEG or PNG"
            )
        if -code in _CRASHES:
            name, most = signal.Signals(-code).name, self._most / 2**20
            error = ImageUnreadable(
                f"{uri} is broken: {_CRASHED} {name}"
                if code != -signal.SIGABRT
                else f"{uri} is broken, or takes more than {most:.0f} MiB of memory to decode "
                f"({self._reason}): {_CRASHED} {name}"
            )
            return _NeedsMore(error) if memory < self._most else error
        if code < 0:
            how = signal.Signals(-code).name
            return ImageError(f"{uri}: the process that decodes it was ended by {how}")
        return InternalError(f"a process that decodes images exited: {code} (see the worker's log)")


def _memory(needed: float, size: int) -> int:
    """Return how many bytes to reserve for an image that needs so many besides its file."""
    found = needed + _FILE_COPIES * size + _SPARE_BYTES + _IDLE_BYTES
    return int(min(found, 2.0**62))
