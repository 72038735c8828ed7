"""What a model file could make a process do, if it found a way: for the confined process."""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np


def answer(request):
    """Do what the request names, with its arguments."""
    deed, *arguments = json.loads(request)
    return globals()[deed](*arguments)


def eat_memory():
    eaten = []
    while True:
        eaten.append(np.ones(2**24, np.uint8))


def hide_want_of_memory():
    try:
        np.ones(2**34, np.uint8)
    except MemoryError as error:
        raise ValueError("something else") from error


def spin():
    while True:
        pass


def dump_core():
    ctypes.string_at(0)


def end_by(number):
    os.kill(os.getpid(), number)


def leave(code):
    os._exit(code)


def open_socket(family):
    socket.socket(socket.AddressFamily[family])


def fork():
    if not os.fork():
        os._exit(0)


def start_a_program():
    subprocess.run([sys.executable, "--version"], check=True)


def write(path):
    Path(path).write_text("was here")


def remove(path):
    Path(path).unlink()


def adopt(path):
    Path("adopted").hardlink_to(path)


def read_the_parents_environment():
    return Path(f"/proc/{os.getppid()}/environ").read_text()


def stop_the_parent():
    os.kill(os.getppid(), signal.SIGTERM)


def lift_limits():
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def tell():
    """Return what there is to see here."""
    return {
        "environment": dict(os.environ),
        "files": [path.name for path in Path("/proc/self/fd").iterdir()],
        "folder": str(Path.cwd()),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "processes": Path("/proc/self/status").read_text(),
    }


def forge_a_reply(text):
    """Write a reply of one's own, and end before the proper one comes."""
    Path("reply.json").write_text(text)
    os._exit(0)


def forge_a_reply_and_spin():
    Path("reply.json").write_text('{"result": 1}')
    spin()


def forge_a_link(path):
    Path("reply.json").symlink_to(path)
    os._exit(0)
