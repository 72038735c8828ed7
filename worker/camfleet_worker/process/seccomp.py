"""A filter of system calls: no sockets, no other processes, no looking into others' memory.

A process installs it for itself, once it needs no more than files and threads. See seccomp(2).
"""

import ctypes
import errno
import os
import platform
import sys
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

_SET_SECCOMP, _FILTER = 22, 2  # of prctl(2)
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of bpf
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # where they stand in struct seccomp_data
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_X32 = 0x40000000  # numbers from here on are x86-64's other system calls
_CLONE_THREAD = 0x00010000

_Instruction: TypeAlias = tuple[int, int, int, int]  # code, jump if true, if false, value


class _Calls(NamedTuple):
    """An architecture, and its numbers of system calls."""

    audit: int
    clone: int
    clone3: int
    own: tuple[int, ...]  # whose first argument must be this process
    refused: tuple[int, ...]


_KNOWN = {
    "x86_64": _Calls(
        audit=0xC000003E,
        clone=56,
        clone3=435,
        own=(62, 234, 302),  # kill tgkill prlimit64
        refused=(
            *(41, 425, 426, 427),  # socket io_uring_setup io_uring_enter io_uring_register
            *(57, 58, 59, 322),  # fork vfork execve execveat
            *(101, 310, 311, 438, 440),  # ptrace process_vm_readv/writev pidfd_getfd -_madvise
            *(200, 129, 297, 424),  # tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal
            *(272, 308, 165, 321, 323, 298),  # unshare setns mount bpf userfaultfd perf_event_open
            *(248, 249, 250, 29, 64, 68),  # add_key request_key keyctl shmget semget msgget
            *(90, 91, 268, 452),  # chmod fchmod fchmodat fchmodat2: Landlock doesn't cover these
            *(92, 93, 94, 260),  # chown fchown lchown fchownat
            *(132, 235, 261, 280),  # utime utimes futimesat utimensat
            *(188, 189, 190, 197, 198, 199),  # setxattr lsetxattr fsetxattr, removexattr ...
            *(53, 141, 251),  # socketpair setpriority ioprio_set
        ),
    ),
    "aarch64": _Calls(
        audit=0xC00000B7,
        clone=220,
        clone3=435,
        own=(129, 131, 261),
        refused=(
            *(198, 425, 426, 427),
            *(221, 281),  # execve execveat
            *(117, 270, 271, 438, 440),
            *(130, 138, 240, 424),
            *(97, 268, 40, 280, 282, 241),
            *(217, 218, 219, 194, 190, 186),
            *(52, 53, 452, 54, 55, 88),  # fchmod fchmodat fchmodat2 fchownat fchown utimensat
            *(5, 6, 7, 14, 15, 16, 199, 140, 30),  # xattrs, socketpair setpriority ioprio_set
        ),
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class _Filter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


def install(libc: ctypes.CDLL) -> bool:
    """Filter this thread's system calls and its later threads'; return whether that's allowed.

    The process must have given up gaining privileges (PR_SET_NO_NEW_PRIVS).
    """
    calls = _KNOWN.get(platform.machine())
    if calls is None or sys.byteorder != "little":
        return False
    instructions = list(_program(calls, os.getpid()))
    filters = (_Filter * len(instructions))(*(_Filter(*one) for one in instructions))
    program = _Program(len(instructions), ctypes.cast(filters, ctypes.c_void_p))
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def _program(calls: _Calls, process: int) -> Iterator[_Instruction]:
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, calls.audit
    yield _refuse(errno.EPERM)  # another architecture's calls have other numbers
    yield _LOAD, 0, 0, _NUMBER
    yield _AT_LEAST, 0, 1, _X32
    yield _refuse(errno.EPERM)
    for number in calls.refused:
        yield _EQUAL, 0, 1, number
        yield _refuse(errno.EPERM)
    yield _EQUAL, 0, 1, calls.clone3  # whose flags are out of sight: glibc then takes clone
    yield _refuse(errno.ENOSYS)
    yield _EQUAL, 0, 4, calls.clone
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    yield _ANY_BIT, 0, 1, _CLONE_THREAD
    yield _RETURN, 0, 0, _ALLOW
    yield _refuse(errno.EPERM)
    for number in calls.own:
        yield _EQUAL, 0, 5, number
        yield _LOAD, 0, 0, _FIRST_ARGUMENT
        yield _EQUAL, 1, 0, 0
        yield _EQUAL, 0, 1, process
        yield _RETURN, 0, 0, _ALLOW
        yield _refuse(errno.EPERM)
    yield _RETURN, 0, 0, _ALLOW


def _refuse(reason: int) -> _Instruction:
    return _RETURN, 0, 0, _ERRNO | reason
