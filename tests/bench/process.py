"""What a process costs, as the kernel counts it: CPU, memory and descriptors, of the process and all that it started.

Source: proc(5). CPU is exact to one clock tick (10 ms) per process, so measure over seconds.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")

STATE = 2
PARENT = 3
CPU_TIMES = slice(13, 17)
"""utime, stime, cutime, cstime, counted from 0 in /proc/PID/stat."""


def cpu_seconds(pid: int) -> float:
    """Returns its user and system time since its start, with that of its children, also of those that have ended."""
    return sum(sum(map(int, _stat(each)[CPU_TIMES])) for each in tree(pid)) * TICK


def peak_rss_mb(pid: int) -> float:
    """Returns the most memory that it ever had, in units of 10^6 bytes."""
    return sum(_status(each, "VmHWM") for each in tree(pid)) * 1024 / 1e6


def descriptors(pid: int) -> int:
    """Returns how many descriptors are open now."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def tree(pid: int) -> Iterator[int]:
    """Yields the process and all of its descendants."""
    parents = dict(_parents())
    yield pid
    for child, parent in parents.items():
        above = parent
        while above in parents and above != pid:
            above = parents[above]
        if above == pid:
            yield child


def idle_seconds() -> float:
    """Returns the idle time of all cores of the machine together. Time in which a core waits for a disk counts as
    idle."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) * TICK


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # the process has ended meanwhile
                yield int(entry.name), int(_stat(int(entry.name))[PARENT])


def _stat(pid: int) -> list[str]:
    """Returns the fields. The second field, the name, is empty, because it may contain blanks and parentheses."""
    head, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return [head.split(" ", 1)[0], "", *rest.split()]


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
