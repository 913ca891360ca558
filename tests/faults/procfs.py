"""What Linux says about a process: its sockets, memory, threads, and for how long it waited for a processor."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NANO = 1e-9
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Descriptors:
    """How many are open, and the ports at the other ends of those that are TCP sockets."""

    descriptors: int
    peers: Sequence[int]


def sockets(pid: int) -> Descriptors:
    """What a process has open.

    The kernel's table of connections is read before and after: one that begins or ends meanwhile is still known as one.

    Raises:
        OSError: it is gone.
    """
    before, inodes, count = _peers(pid), set[str](), 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            link = str(entry.readlink())
            count += 1
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    peers = before | _peers(pid)
    return Descriptors(count, [port for inode, port in peers.items() if inode in inodes])


def _peers(pid: int) -> dict[str, int]:
    """The port at the other end of each TCP socket, by its inode."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            found[fields[9]] = int(fields[2].rpartition(":")[2], 16)
    return found


def resident(pid: int) -> int:
    """Bytes in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def threads(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


def run_delay(pid: int) -> float:
    """For how many seconds, all together, the threads of a process were ready and had no processor; 0 when unknown."""
    total = 0
    with suppress(OSError, IndexError, ValueError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                total += int((task / "schedstat").read_text().split()[1])
    return total * NANO
