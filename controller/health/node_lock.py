"""One controller for each node, by a lock on a local file. If a process gets the lock, its predecessor is dead.

The file also has the id of the process that holds the lock and of the Consul session that it publishes with. The next
process continues with that session. The file is never removed: otherwise two processes could each hold a lock on a file
of the same name.
"""

import errno
import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

from controller.runtime.start_error import StartError

SUFFIX = ".lock"
SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAX_BYTES = 128


class NodeTaken(StartError):
    """Another controller runs for this node. The message has its process id."""


class HolderUnseen(Exception):
    """A controller runs for this node, but its process is not visible from here. The message says why that may be."""


def holder(folder: Path, node: str) -> int | None:
    """Returns the id of the process that holds the lock of `node`, None if no process holds it.

    The file has the id that the process sees itself. In a container that may be 1, or the id of an unrelated process
    here. So an id is returned only if that process has the file open. Raises HolderUnseen if the lock is held, but not
    by the process that the file names. Raises OSError if the file is missing, or access to the file or to the process
    is denied.
    """
    file = os.open(folder / f"{node}{SUFFIX}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(file, MAX_BYTES, 0).split(b"\n")[0]
        if said.isdigit() and _has_open(int(said), os.fstat(file)):
            return int(said)
        raise HolderUnseen(
            f"a controller of node {node} holds {folder / node}{SUFFIX}, but its process is not visible from here. If "
            "it runs in a container, run this command in that container"
        ) from None
    finally:
        os.close(file)
    return None


def _opened(path: Path) -> int:
    """Opens the file for writing, or for reading on a read-only file system, where it can be locked too."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS or not path.is_file():
            raise
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _has_open(process: int, file: os.stat_result) -> bool:
    """Whether a process has this file open. Raises OSError if access to the process is denied."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):
                if os.path.samestat(descriptor.stat(), file):
                    return True
    return False


class NodeLock:
    """The lock of `node` in `folder`. It is held until `release` or the end of the process. Raises NodeTaken if another
    process holds it. Raises OSError if the folder cannot be used."""

    def __init__(self, folder: Path, node: str) -> None:
        path = folder / f"{node}{SUFFIX}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = _opened(path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            said = self._read()
            os.close(self._file)
            if not isinstance(error, BlockingIOError):
                raise
            who = f"process {said[0]}" if said[0].isdigit() else "another process"
            raise NodeTaken(f"a controller of node {node} is already running: {who} holds {path}") from None
        said = self._read()
        self.session = said[1] if len(said) > 1 and SESSION.fullmatch(said[1]) else ""
        """The session of the last run; "" if there is none."""
        with suppress(OSError):  # the lock is held also if the disk is full or read-only
            self.write_session(self.session)

    def _read(self) -> list[str]:
        return os.pread(self._file, MAX_BYTES, 0).decode("ascii", "replace").split("\n")

    def write_session(self, session: str) -> None:
        """Writes the session that this run publishes with; "" for none. Raises OSError if the file cannot be
        written."""
        content = f"{os.getpid()}\n{session}\n".encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def release(self) -> None:
        os.close(self._file)
