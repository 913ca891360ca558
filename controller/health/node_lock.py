"""One controller for a node: a lock on a local file. Who gets it knows that the one before is dead.

The file also says who holds the lock, and the Consul session that is published under; so the next one can go on with
that session. It is never removed: two processes could each hold a lock on a file of that name then.
"""

import errno
import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

SUFFIX = ".lock"
SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAX_BYTES = 128


class NodeTaken(Exception):
    """Another controller runs for this node; the message names its process."""


class HolderUnseen(Exception):
    """A controller runs for this node, and is no process that is seen from here; the message says why that may be."""


def holder(folder: Path, node: str) -> int | None:
    """The process that holds the lock of `node` now; None when nobody does.

    The file says who it is, as that one knows itself: in a container it is 1, or a number that belongs to a stranger
    here. So the process is named only where it has this very file open.

    Raises:
        HolderUnseen: the lock is held, and not by the process that the file names.
        OSError: the file is not there, or it or the process may not be looked at.
    """
    file = os.open(folder / f"{node}{SUFFIX}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(file, MAX_BYTES, 0).split(b"\n")[0]
        if said.isdigit() and _has_open(int(said), os.fstat(file)):
            return int(said)
        raise HolderUnseen(
            f"a controller of node {node} holds {folder / node}{SUFFIX}, and is not seen from here; does it run in a "
            "container? Then run this in there"
        ) from None
    finally:
        os.close(file)
    return None


def _opened(path: Path) -> int:
    """To write, or to read where the file system is read-only: a lock can be held there too."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS or not path.is_file():
            raise
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _has_open(process: int, file: os.stat_result) -> bool:
    """Whether a process has this file open.

    Raises:
        OSError: it may not be looked at.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):
                if os.path.samestat(descriptor.stat(), file):
                    return True
    return False


class NodeLock:
    """The lock of `node` in `folder`, from the beginning until `release` or the end of the process.

    Raises:
        NodeTaken: another process holds it.
        OSError: the folder cannot be used.
    """

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
            raise NodeTaken(f"a controller of node {node} runs already: {who} holds {path}") from None
        said = self._read()
        self.session = said[1] if len(said) > 1 and SESSION.fullmatch(said[1]) else ""
        """The session of the one before; "" when it left none."""
        with suppress(OSError):  # a disk that is full or read-only keeps nobody from holding the lock
            self.note(self.session)

    def _read(self) -> list[str]:
        return os.pread(self._file, MAX_BYTES, 0).decode("ascii", "replace").split("\n")

    def note(self, session: str) -> None:
        """Write down under which session is published from now on; "" for none."""
        content = f"{os.getpid()}\n{session}\n".encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def release(self) -> None:
        os.close(self._file)
