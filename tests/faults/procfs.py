"""Reads facts about a process from /proc and the kernel: sockets, memory, threads, and its wait for a processor."""

import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NANO = 1e-9
PAGE = os.sysconf("SC_PAGE_SIZE")

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
NLM_F_REQUEST, NLM_F_DUMP, NLMSG_DONE = 0x001, 0x300, 3
ALL_BUT_TIME_WAIT = 0xFFF & ~(1 << 6)
"""A bit for each state of a connection. One in TIME_WAIT belongs to no process, and there are thousands of them."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The number of open descriptors, and the ports of the connected TCP sockets among them: `own` at this end, `peers`
    at the other end. `nowhere` are sockets that are in no table: they are not connected yet or not any more, or the
    kernel left them out, as it does while very many are opened and closed."""

    descriptors: int
    peers: Sequence[int]
    own: Sequence[int] = ()
    nowhere: int = 0


def sockets(pid: int) -> Descriptors:
    """Returns what a process has open, without what it opens or closes during this call.

    The kernel's table of connections is read before and after, so a connection that begins or ends meanwhile is still
    known as one.

    Raises:
        OSError: the process has ended.
    """
    early, before, after, late = _peers(), links(pid), links(pid), _peers()
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


def _peers() -> dict[str, tuple[int, int]]:
    """Returns the local and the remote port of each TCP socket by inode, as sock_diag(7) gives them.

    The same table in /proc takes fifteen times the processor time, because it includes the connections in TIME_WAIT.
    """
    return _peers_of(socket.AF_INET) | _peers_of(socket.AF_INET6)


def _peers_of(family: int) -> dict[str, tuple[int, int]]:
    body = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, ALL_BUT_TIME_WAIT)
    flags = NLM_F_REQUEST | NLM_F_DUMP
    found = dict[str, tuple[int, int]]()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(body), SOCK_DIAG_BY_FAMILY, flags, 0, 0) + body)
        while True:
            messages = kernel.recv(1 << 17)
            while messages:
                length, kind = struct.unpack_from("=IH", messages)
                if kind == NLMSG_DONE:
                    return found
                if kind != SOCK_DIAG_BY_FAMILY:
                    raise OSError(-struct.unpack_from("=i", messages, 16)[0], "sock_diag")
                own, other = struct.unpack_from("!HH", messages, 20)
                found[str(*struct.unpack_from("=I", messages, 84))] = own, other
                messages = messages[length + -length % 4 :]


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


def states(pid: int) -> str:
    """Returns a line for each thread of a process: its state (R: it runs or waits for a processor, S and D: it sleeps),
    where in the kernel it sleeps, and how long it ran and waited for a processor, in ns. "" if the process is gone."""
    lines = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                state = (task / "stat").read_text().rpartition(")")[2].split()[0]
                where, runs = (task / "wchan").read_text(), (task / "schedstat").read_text()
                lines.append(f"thread {task.name} {state} {where} {runs}")
    return "".join(lines)
