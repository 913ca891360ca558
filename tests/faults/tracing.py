"""Stops and resumes a single thread of another process with ptrace. SIGSTOP stops all threads.

The same thread must call `hold` and `release`.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_DETACH = 17
WALL = 0x40000000
EPOLL_CALLS = frozenset({232, 281})
"""epoll_wait and epoll_pwait on x86-64; on other machines there are others."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def hold(tid: int) -> None:
    """Stops a thread.

    Raises:
        OSError: the thread has ended, or this process has no permission.
    """
    _trace(PTRACE_SEIZE, tid)
    _trace(PTRACE_INTERRUPT, tid)
    os.waitpid(tid, WALL)


def release(tid: int) -> None:
    """Resumes a thread. Does nothing if the thread has ended."""
    with suppress(ProcessLookupError):
        _trace(PTRACE_DETACH, tid)


def _trace(request: int, tid: int) -> None:
    if _libc.ptrace(request, tid, None, None) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace of {tid}: {os.strerror(number)}")


def polling(pid: int) -> Iterator[tuple[int, frozenset[str]]]:
    """Yields the threads that wait in epoll, each with the descriptors that it waits for, as `anon_inode:[eventfd]`."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError, ValueError, IndexError):
            number, epoll, *_ = (task / "syscall").read_text().split()
            if int(number) in EPOLL_CALLS:
                info = Path(f"/proc/{pid}/fdinfo/{int(epoll, 16)}").read_text().splitlines()
                waits = [int(line.split()[1]) for line in info if line.startswith("tfd:")]
                yield int(task.name), frozenset(str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in waits)
