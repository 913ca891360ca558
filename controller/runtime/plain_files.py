"""Files that a manifest or a configuration names: only regular ones of a modest size are read.

To open a device can have any effect, a FIFO waits for its writer, and some devices never end; whoever may name a file
must not stop us by it.
"""

import errno
import os
import stat
from dataclasses import dataclass

MAX_SIZE = 4 * 1024 * 1024
"""Bytes. The authorities of a whole system are about 220 KB."""

UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""No room, or no inode, left; and read-only, as a file system is after an error of its disk."""


def is_unwritable(error: OSError) -> bool:
    """Whether a file system cannot be written now, where a path that is wrong never can."""
    return error.errno in UNWRITABLE


Stamp = tuple[int, int, int, int]
"""What tells one version of a file from another: when it was written, its size, its inode and its device."""


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file, and the stamp of the very file that they were read from."""

    data: bytes
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Reading:
    """Files that were read together, with the stamps of what was read: one of authorities, or a certificate and its
    key. `number` tells this reading from others of the same files."""

    paths: tuple[str, ...]
    stamps: tuple[Stamp, ...]
    number: int


def unreadable(path: str) -> str:
    """Why a file cannot be read, or ""."""
    try:
        os.close(_opened(path, MAX_SIZE))
    except (OSError, ValueError) as error:
        return _said(error)
    return ""


def contents(path: str, limit: int = MAX_SIZE) -> bytes:
    """The bytes of a file.

    Raises:
        ValueError: it cannot be read, is no regular file, or is longer than `limit`; the message names it.
    """
    return read(path, limit).data


def read(path: str, limit: int = MAX_SIZE) -> Content:
    """The bytes of a file with its stamp, which is at least as old as they are: what is written from now on changes it.

    Raises:
        ValueError: as `contents`.
    """
    try:
        with open(_opened(path, limit), "rb") as file:
            stamp = stamp_of(os.fstat(file.fileno()))
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {_said(error)}") from None
    if len(data) > limit:
        raise ValueError(f"{path}: {_too_long(limit)}")
    return Content(data, stamp)


def stamp(path: str) -> Stamp | None:
    """The stamp of the file that has this path now; None for one that cannot be seen, or is no regular one."""
    try:
        status = os.stat(path)  # noqa: PTH116 - as in `_opened`
    except OSError:
        return None
    return stamp_of(status) if stat.S_ISREG(status.st_mode) else None


def stamp_of(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _opened(path: str, limit: int) -> int:
    """A descriptor of it. Looked at before, so that no device is opened, and after: it may be another by then."""
    _check(os.stat(path), limit)  # noqa: PTH116 - as the next line
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor), limit)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check(status: os.stat_result, limit: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    if status.st_size > limit:
        raise OSError(errno.EFBIG, _too_long(limit))


def _too_long(limit: int) -> str:
    return f"Longer than {limit // 1024} KiB"


def _said(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or "cannot be read"
