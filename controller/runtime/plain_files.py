"""Reads files that a manifest or a configuration names: only regular files of limited size.

A device can have any effect when it is opened, a FIFO blocks until it has a writer, and some devices never end. A file
name in a manifest must not be able to stop this process.
"""

import errno
import os
import stat
from dataclasses import dataclass

MAX_SIZE = 4 * 1024 * 1024
"""Bytes. The CA bundle of a whole system has about 220 KB."""

UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""No space or inode is left, or the file system is read-only, for example after a disk error."""


def is_unwritable(error: OSError) -> bool:
    """Whether the file system cannot be written at present. A wrong path can never be written."""
    return error.errno in UNWRITABLE


Stamp = tuple[int, int, int, int]
"""Identifies a version of a file: its modification time, size, inode and device."""


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file, and the stamp of the version from which they were read."""

    data: bytes
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Reading:
    """Files that were read together, with their stamps: a CA bundle, a certificate and its key, or a credential.
    `number` tells this reading from others of the same files. `folder` is that of a credential, "" for other files."""

    paths: tuple[str, ...]
    stamps: tuple[Stamp, ...]
    number: int
    folder: str = ""


def unreadable(path: str) -> str:
    """Returns why a file cannot be read, "" if it can."""
    try:
        os.close(_opened(path, MAX_SIZE))
    except (OSError, ValueError) as error:
        return _error_text(error)
    return ""


def contents(path: str, limit: int = MAX_SIZE) -> bytes:
    """Returns the bytes of a file. Raises ValueError if it cannot be read, is not a regular file, or is longer than
    `limit`. The message names it."""
    return read(path, limit).data


def read(path: str, limit: int = MAX_SIZE) -> Content:
    """Returns the bytes of a file and its stamp. The stamp is read first, so every later change of the file changes it.
    Raises ValueError as `contents`."""
    try:
        with open(_opened(path, limit), "rb") as file:
            stamp = stamp_of(os.fstat(file.fileno()))
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {_error_text(error)}") from None
    if len(data) > limit:
        raise ValueError(f"{path}: {_too_long(limit)}")
    return Content(data, stamp)


def stamp(path: str) -> Stamp | None:
    """Returns the current stamp of a path, None if there is no regular file or it cannot be accessed."""
    try:
        status = os.stat(path)  # noqa: PTH116 - as in `_opened`
    except OSError:
        return None
    return stamp_of(status) if stat.S_ISREG(status.st_mode) else None


def stamp_of(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _opened(path: str, limit: int) -> int:
    """Returns a descriptor. The file is checked before (no device is opened) and after (it may have been replaced)."""
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


def _error_text(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or "cannot be read"
