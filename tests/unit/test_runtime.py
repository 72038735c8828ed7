"""What a worker tells the system and the libraries before it computes."""

import os
import platform
import subprocess
import sys
import threading

import pytest

from camfleet.settings import Settings
from camfleet_worker.process import runtime

CONFIGURED = """
import os
import threading

from camfleet.settings import Settings
from camfleet_worker.process import runtime

runtime.configure(Settings())
found = []
thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
print(found == [os.SCHED_BATCH])
"""

ARENAS = """
import ctypes
import threading

from camfleet.settings import Settings
from camfleet_worker.process import runtime

runtime.configure(Settings(cpu_threads=2))
all_have_allocated = threading.Barrier(12)
held = []


def allocate():
    held.append([bytearray(100_000) for _ in range(10)])
    all_have_allocated.wait(30)


threads = [threading.Thread(target=allocate) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


def test_threads_are_as_set_or_at_most_one_per_core() -> None:
    assert runtime.threads(Settings(cpu_threads=3)) == 3
    assert 1 <= runtime.threads(Settings()) <= os.cpu_count()


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has this policy")
def test_the_threads_of_a_worker_wait_their_turn() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no niceness of its own")
def test_threads_that_give_way_are_nicer_than_the_others() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def start() -> int:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(niceness()))
        thread.start()
        thread.join()
        return found[0]

    before = niceness()
    assert runtime.giving_way(start) == min(before + 5, 19)
    assert niceness() == start() == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
@pytest.mark.parametrize(("environ", "most"), [({}, 4), ({"MALLOC_ARENA_MAX": "5"}, 5)])
def test_threads_share_a_few_arenas_so_that_large_images_are_not_kept_by_each(
    environ: dict[str, str], most: int
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", ARENAS],
        capture_output=True,
        text=True,
        check=True,
        env={**clean, **environ},
    )
    assert done.stdout.count("<heap nr=") == most
