"""The victim's own side: runs a target on each input, and says what happened."""

import faulthandler
import gc
import json
import os
import re
import signal
import struct
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz import targets

from camfleet.errors import CamfleetError, InternalError

_MEMORY = re.compile(r"VmHWM:\s+(\d+) kB")
_FORBIDDEN = (
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
)
_FORBIDDEN += ("os.exec", "os.fork", "os.posix_spawn", "pty.spawn", "ctypes.dlopen", "os.putenv")
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Notes what Python reports to auditors while an input is in work."""

    def __init__(self, folder: str, own: tuple[str, ...]) -> None:
        self.seen: list[str] = []
        self._folder, self._own, self._on = folder, own, False
        sys.addaudithook(self._hook)

    def begin(self) -> None:
        self.seen.clear()
        self._on = True

    def end(self) -> list[str]:
        self._on = False
        return list(self.seen)

    def _hook(self, event: str, args: tuple) -> None:
        if not self._on:
            return
        if event == "open":
            path, mode, flags = args
            writes = bool((flags or 0) & _WRITES) or any(sign in str(mode) for sign in "wax+")
            if writes and not self._is_own(path):
                self.seen.append(f"writes {path!r}")
        elif event in _CHANGES and not all(map(self._is_own, _touched(event, args))):
            self.seen.append(f"{event} {args[:2]!r}")
        elif event in _FORBIDDEN and event not in self._own:
            self.seen.append(f"{event} {str(args[:2])[:300]}")

    def _is_own(self, path: object) -> bool:
        if isinstance(path, int):
            return True  # a descriptor: its opening was seen
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
        return text == os.devnull or os.path.realpath(text).startswith(self._folder)


def _touched(event: str, args: tuple) -> list[object]:
    """Return the paths that a change is made at; in a folder that is open, under its name."""
    paths = args[:2] if event == "os.rename" else args[1:2] if "link" in event else args[:1]
    descriptors = [arg for arg in args[len(paths) :] if isinstance(arg, int) and arg >= 0]
    if event == "os.chmod":
        descriptors = descriptors[1:]  # the first is the mode
    if not descriptors:
        return list(paths)
    folder = Path(f"/proc/self/fd/{descriptors[0]}").readlink()
    return [folder / os.fsdecode(path) for path in paths]


def peak() -> float:
    """Return the most MiB that this process had in memory since the last `forget`."""
    return int(_MEMORY.search(Path("/proc/self/status").read_text())[1]) / 1024


def forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    name, folder = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    target = targets.load(name, Path(folder))
    gc.collect()
    gc.freeze()  # libraries needn't be looked at again
    watch = Watch(os.path.realpath(folder), targets.OWN.get(name, ()))
    print("ready", file=answers, flush=True)
    while head := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<L", head)[0])
        print(json.dumps(_attacked(target, data, watch)), file=answers, flush=True)


def _attacked(target: targets.Target, data: bytes, watch: Watch) -> dict:
    gc.collect()
    forget()
    before, start, said, trace = peak(), time.process_time(), "taken", ""
    watch.begin()
    try:
        target(data)
    except InternalError:
        trace = traceback.format_exc()
    except CamfleetError as error:
        said = f"{type(error).__name__}: {error}"
        trace = _unsendable(said)
    except BaseException:  # noqa: BLE001  # each is a finding
        trace = traceback.format_exc()
    seen = watch.end()
    seconds = time.process_time() - start
    return {
        "said": said[:2000],
        "trace": trace[-5000:],
        "seen": seen,
        "seconds": seconds,
        "mib": peak() - before,
    }


def _unsendable(said: str) -> str:
    """Return what is wrong with a message that has to travel as UTF-8, or nothing."""
    try:
        said.encode()
    except UnicodeEncodeError:
        return f"the message can't be sent: {traceback.format_exc()}"
    return "" if said.partition(": ")[2].strip() else "the error says nothing"


if __name__ == "__main__":
    main()
