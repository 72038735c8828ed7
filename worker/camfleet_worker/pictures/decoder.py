"""A process that decodes image files one by one, confined, since it may be ended or crash.

`Decoders` starts it with a socket as its standard input. A request comes from the worker and is
trusted; the answer is read as a stranger's, because by then the process may be under another's
control.
"""

import os
import pickle
import re
import resource
import signal
import struct
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import msgspec

from camfleet.contract.geometry import Geometry
from camfleet.contract.messages import ErrorInfo
from camfleet.errors import ImageError, ImageUnreadable
from camfleet_worker.process.confinement import Limits, confine

REQUEST = struct.Struct("<LQ")  # bytes of the request, and of the file that follows it
REPLY = struct.Struct("<L")  # bytes of the reply; the arrays follow
_CHANNEL = 0
_STATUS = Path("/proc/self/status")
_FOR_EVER = 1e9  # seconds: each image has a limit of its own


class Request(NamedTuple):
    """What to make of the file that follows, with so many seconds of computing, and bytes."""

    wanted: Any  # load.Wanted, whose module is loaded only once the process is confined
    max_pixels: int
    uri: str
    seconds: float
    memory: int  # besides what the process takes when it has read the file


class Reply(msgspec.Struct):
    """The shapes of the arrays that follow, or why there are none, or that memory ran out."""

    geometry: Geometry | None = None
    pixels: tuple[int, ...] = ()
    canvas: tuple[int, ...] | None = None
    error: ErrorInfo | None = None
    out_of_memory: bool = False
    unexplained: bool = False  # the error, which may be want of memory that a library conceals


def main(memory: int) -> None:
    """Answer requests until the worker closes the socket or ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a worker that shuts down waits for what's in work
    confine(Path(os.devnull), Limits(memory, _FOR_EVER))
    requests: SimpleQueue[tuple[Request, bytes]] = SimpleQueue()
    threading.Thread(target=_receive, args=(requests,), daemon=True).start()
    import cv2

    cv2.setNumThreads(1)
    while True:
        _answer(*requests.get())


def _receive(requests: "SimpleQueue[tuple[Request, bytes]]") -> None:
    """Put requests into the queue; end the process, even while it decodes, with the worker."""
    try:
        while True:
            size, rest = REQUEST.unpack(_read(REQUEST.size))
            request = pickle.loads(_read(size))  # noqa: S301  # from the worker
            requests.put((request, bytes(_read(rest))))
    except (EOFError, OSError):
        os._exit(0)
    finally:
        os._exit(1)


def _answer(request: Request, data: bytes) -> None:
    reply, arrays = _reply(request, data)
    header = msgspec.json.encode(reply)
    _write(memoryview(REPLY.pack(len(header)) + header))
    for array in arrays:
        _write(array)


def _reply(request: Request, data: bytes) -> tuple[Reply, list[memoryview]]:
    from camfleet_worker.pictures.header import Refused, ran_out_of_memory
    from camfleet_worker.pictures.load import load

    _allow(request.memory)
    # Counts this process's own time, and at its end kills, whatever a library is at.
    signal.setitimer(signal.ITIMER_PROF, request.seconds)
    try:
        loaded = load(data, request.wanted, max_pixels=request.max_pixels, uri=request.uri)
    except MemoryError:
        return Reply(out_of_memory=True), []
    except ImageError as error:
        unexplained = isinstance(error, ImageUnreadable) and not isinstance(
            error.__cause__, Refused | None
        )
        info = ErrorInfo(code=error.code, message=error.message)
        return Reply(error=info, unexplained=unexplained), []
    except Exception as error:  # noqa: BLE001  # the worker reports it, whatever it is
        if ran_out_of_memory(error):
            return Reply(out_of_memory=True), []
        traceback.print_exc()
        message = f"{request.uri}: {type(error).__name__}: {str(error)[:300]}"
        return Reply(error=ErrorInfo(code=ImageError.code, message=message)), []
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _allow(None)
    arrays = [array for array in (loaded.pixels, loaded.canvas) if array is not None]
    pixels, *canvas = (array.shape for array in arrays)
    reply = Reply(loaded.geometry, pixels, canvas[0] if canvas else None)
    return reply, [memoryview(array.data).cast("B") for array in arrays]


def _allow(memory: int | None) -> None:
    """Let this process take so many bytes more, up to its limit; None: all that's allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = most
    with suppress(OSError, ValueError):
        if memory is not None:
            (used,) = re.findall(r"VmData:\s+(\d+) kB", _STATUS.read_text())
            limit = 1024 * int(used) + memory
            limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def _read(size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = os.readv(_CHANNEL, [view])
        if not count:
            raise EOFError
        view = view[count:]
    return data


def _write(view: memoryview) -> None:
    while view:
        view = view[os.write(_CHANNEL, view) :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
