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
    """What a process has open. What it opens or closes meanwhile is left out: its other end cannot be told.

    Raises:
        OSError: it is gone.
    """
    before, peers, after = _links(pid), _peers(pid), _links(pid)
    both = before.items() & after.items()
    inodes = {link.removeprefix("socket:[").rstrip("]") for _, link in both if link.startswith("socket:[")}
    return Descriptors(len(both), [port for port, inode in peers if inode in inodes])


def _links(pid: int) -> dict[str, str]:
    """What each descriptor is."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[entry.name] = str(entry.readlink())
    return found


def _peers(pid: int) -> list[tuple[int, str]]:
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            found.append((int(fields[2].rpartition(":")[2], 16), fields[9]))
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
