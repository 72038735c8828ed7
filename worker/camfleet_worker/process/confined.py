"""Work on what strangers made, in a process apart that has limits and may die of it.

`run` starts `python -m camfleet_worker.process.confined MODULE`, which confines itself and then
calls the module's `answer` with the request. The request comes from this process and is trusted;
what comes back is read as a stranger's, because the process may be under another's control by then.
"""

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from camfleet import errors
from camfleet.contract.messages import ErrorInfo
from camfleet.errors import CallerError, CamfleetError, InternalError, ModelRefused
from camfleet.settings import Settings
from camfleet_worker.process import confinement
from camfleet_worker.process.confinement import Limits, confine

_REPLY = "reply.json"
_LARGEST_REPLY = 2**24  # bytes
_LONGEST_MESSAGE = 4096
_PROBE_SECONDS = 20.0
_OOM_KILLS = Path("/proc/vmstat")
# Two of a module at a time, as each may take all the memory and time that the limits allow. What
# takes minutes, such as converting a model, keeps nothing waiting that takes a second.
_AT_A_TIME = 2
_turns: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(_AT_A_TIME))
# What the process finds in its environment; anything else may be a secret.
_KEPT = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "TZ")
_KEPT_OF = ("COVERAGE_", "KERAS_", "LC_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "TF_", "XDG_")
_CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
_OF_MEMORY = ("MemoryError", "_ArrayMemoryError", "ResourceExhaustedError")
_LIMIT = "A limit of the confined process was hit."  # a note that errors carry
_HINT = "models are loaded without network, in a process that starts no others and writes nowhere"


class _Reply(msgspec.Struct):
    """What a module has answered, or why it hasn't; `error` is none where memory ran out."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: ErrorInfo | None = None
    out_of_memory: bool = False


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.model_load_memory, settings.model_load_seconds)


def without_secrets(settings: Settings) -> Settings:
    """Return settings as a confined process may have them."""
    secret: dict[str, Any] = {one.name: one.default for one in fields(settings) if not one.repr}
    return replace(settings, **secret)


def run(module: str, request: bytes, *, folder: Path, limits: Limits, name: str) -> bytes:
    """Return what a module's `answer` makes of `request`, as JSON, in a confined process.

    `folder` is empty, and all that the process can write to; `name` is the model's, for errors.
    Raises the error that `answer` raises, `ModelRefused` where the process crashed or hit a limit,
    and `InternalError` where it was killed.
    """
    amounts = (str(limits.memory), str(limits.seconds))
    command = [sys.executable, "-P", "-m", __name__, module, *amounts]
    with _turns[module]:
        kills = oom_kills()
        ended = _run(command, request, folder, limits.seconds)
    reply = _read(folder / _REPLY)
    if reply is None or ended != 0:
        raise _death(ended, name, limits, killed_for_memory=oom_kills() > kills)
    if reply.out_of_memory:
        raise _limit_hit(_too_large(name, limits))
    if reply.error:
        raise _translated(reply.error, name)
    return bytes(reply.result)


def hit_limit(error: ModelRefused) -> bool:
    """Return whether an error says that a model needs more memory or time than is allowed."""
    return _LIMIT in getattr(error, "__notes__", ())


def environment(given: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment without secrets, whose temporary folder is `folder`."""
    kept = {
        name: text for name, text in given.items() if name in _KEPT or name.startswith(_KEPT_OF)
    }
    return {
        **kept,
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "TMPDIR": str(folder.absolute()),
    }


@cache
def missing() -> tuple[str, ...]:
    """Return what the kernel doesn't allow of the confinement, tried once, in words."""
    command = [sys.executable, "-P", "-S", "-m", confinement.__name__]
    environ = environment(os.environ, Path("/"))
    try:
        done = subprocess.run(  # noqa: S603  # ourselves
            command, env=environ, capture_output=True, timeout=_PROBE_SECONDS, check=True
        )
        return tuple(msgspec.json.decode(done.stdout, type=list[str]))
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        return (f"whether models are loaded in a confined process can't be told: {error}",)


def _run(command: list[str], request: bytes, folder: Path, seconds: float) -> int | None:
    """Run a command and return its exit code, None if its time ran out."""
    with subprocess.Popen(  # noqa: S603  # ourselves
        command,
        stdin=subprocess.PIPE,
        stdout=2,
        cwd=folder,
        env=environment(os.environ, folder),
        start_new_session=True,
    ) as process:
        try:
            process.communicate(request, timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()
    return process.returncode


def _read(path: Path) -> _Reply | None:
    """Return a reply that is whole; None if there's none."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            data = file.read(_LARGEST_REPLY + 1)
        return msgspec.json.decode(data, type=_Reply) if len(data) <= _LARGEST_REPLY else None
    except (OSError, RecursionError, msgspec.DecodeError):
        return None


def _translated(error: ErrorInfo, name: str) -> CamfleetError:
    """Return an error as the process may raise it: the caller's fault, or a bug."""
    made = errors.from_code(error.code, error.message[:_LONGEST_MESSAGE])
    broke = InternalError(f"loading model {name} broke: {made}")
    return made if isinstance(made, CallerError) else broke


def _death(
    code: int | None, name: str, limits: Limits, *, killed_for_memory: bool
) -> CamfleetError:
    """Return how a process without a reply ended, as an error; its code is None if time ran out."""
    if code is None or code == -signal.SIGXCPU:
        return _limit_hit(
            f"loading model {name} took longer than {limits.seconds:g} s and was ended; if that's "
            "what it needs, raise CAMFLEET_MODEL_LOAD_SECONDS"
        )
    if -code in _CRASHES:
        return _limit_hit(
            f"the process that loaded model {name} was ended by {signal.Signals(-code).name}: the "
            "file is damaged or made to do that, or it needs more memory than "
            f"{_size(limits.memory)} (CAMFLEET_MODEL_LOAD_MEMORY)"
        )
    if code == -signal.SIGKILL and killed_for_memory:
        return _limit_hit(
            f"loading model {name} took all memory of this machine or container, so the system "
            "ended it: give it more, or lower CAMFLEET_MODEL_LOAD_MEMORY "
            f"({_size(limits.memory)}) to refuse such models earlier"
        )
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited: {code}"
    return InternalError(
        f"the process that loaded model {name} {how}: it was out of memory, or a library failed "
        "(see the worker's log)"
    )


def _limit_hit(message: str) -> ModelRefused:
    error = ModelRefused(message)
    error.add_note(_LIMIT)
    return error


def _too_large(name: str, limits: Limits) -> str:
    return (
        f"loading model {name} needs more memory than {_size(limits.memory)}; if that's what it "
        "needs, raise CAMFLEET_MODEL_LOAD_MEMORY"
    )


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"


def oom_kills() -> int:
    """Return how many processes the system has ended for want of memory since its start."""
    with suppress(OSError, ValueError):
        for line in _OOM_KILLS.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


# From here on: what happens in the process.


def _main(module: str, memory: str, seconds: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the worker needs the result to stop properly
    request = sys.stdin.buffer.read()
    folder = Path.cwd()
    confine(folder, Limits(int(memory), float(seconds)))
    reply = _reply(module, request)
    (folder / "partial").write_bytes(msgspec.json.encode(reply))
    (folder / "partial").rename(folder / _REPLY)


def _reply(module: str, request: bytes) -> _Reply:
    try:
        return _Reply(msgspec.Raw(msgspec.json.encode(import_module(module).answer(request))))
    except Exception as error:  # noqa: BLE001  # whoever waits reports it, whatever it is
        chain = list(_chain(error))
        if any(type(one).__name__ in _OF_MEMORY or "bad_alloc" in str(one) for one in chain):
            return _Reply(out_of_memory=True)
        forbidden = any(isinstance(one, PermissionError) for one in chain)
        if not isinstance(error, CamfleetError):
            traceback.print_exc()
            kind = ModelRefused if forbidden else InternalError
            error = kind(f"{type(error).__name__}: {str(error)[:300]}")
        hint = f" ({_HINT})" if forbidden else ""
        return _Reply(error=ErrorInfo(code=error.code, message=error.message + hint))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came from."""
    seen: set[int] = set()
    while error and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    _main(*sys.argv[1:])
