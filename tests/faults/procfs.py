"""Reads facts about a process from /proc: its sockets, memory, threads, and its waiting time for a processor."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NANO = 1e-9
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Descriptors:
    """How many are open, and the ports of those that are connected TCP sockets: at their own end, and at the other one.
    `nowhere` of them are sockets that no table has: not connected yet or no more, or skipped by the kernel, as happens
    while very many are opened and closed."""

    descriptors: int
    peers: Sequence[int]
    own: Sequence[int] = ()
    nowhere: int = 0


def sockets(pid: int) -> Descriptors:
    """What a process has open, but for what it opens or closes while this is read.

    The kernel's table of connections is read before and after: one that begins or ends meanwhile is still known as one.

    Raises:
        OSError: it is gone.
    """
    early, before, after, late = _peers(pid), links(pid), links(pid), _peers(pid)
    both = before.items() & after.items()
    peers, local = early | late, _unix(pid)
    inodes = [link.removeprefix("socket:[").rstrip("]") for _, link in both if link.startswith("socket:[")]
    nowhere = sum(inode not in peers and inode not in local for inode in inodes)
    ports = [peers[inode] for inode in inodes if inode in peers]
    return Descriptors(len(both), [port for _, port in ports], [port for port, other in ports if other], nowhere)


def links(pid: int) -> dict[str, str]:
    """Returns the target of each descriptor's link."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[entry.name] = str(entry.readlink())
    return found


def _peers(pid: int) -> dict[str, tuple[int, int]]:
    """Returns the local and the remote port of each TCP socket by inode."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            found[fields[9]] = int(fields[1].rpartition(":")[2], 16), int(fields[2].rpartition(":")[2], 16)
    return found


def _unix(pid: int) -> set[str]:
    """Returns the inodes of all unix sockets."""
    return {line.split()[6] for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]}


def resident(pid: int) -> int:
    """Returns the resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def threads(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


def run_delay(pid: int) -> float:
    """Returns the total time in seconds that runnable threads of a process waited for a processor; 0 if unknown."""
    total = 0
    with suppress(OSError, IndexError, ValueError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                total += int((task / "schedstat").read_text().split()[1])
    return total * NANO
