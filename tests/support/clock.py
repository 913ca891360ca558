"""Clocks that are set from outside, for one process: `clock.py FILE MODULE ARGUMENT...` runs a module with them.

A time namespace shifts only the clocks that never jump. The machine's own clock is shared with other processes.
libfaketime breaks sleeping on the monotonic clock in Python. So this module replaces the functions that read a clock in
Python, before the other module is imported. Libraries in C see the real time. Sleeping also uses the real time: a
process that was stopped meanwhile wakes at once.

It is run as a file, so it uses only the standard library.
"""

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

NANO = 1_000_000_000
OFFSETS = struct.Struct("ddd")


class Clock:
    """The number of seconds by which each clock is wrong, in a file that the test and the process share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(OFFSETS.pack(0.0, 0.0, 0.0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), OFFSETS.size)

    @property
    def offset(self) -> float:
        """Of the wall clock."""
        return self._offsets()[0]

    @property
    def monotonic(self) -> float:
        """Of CLOCK_MONOTONIC."""
        return self._offsets()[1]

    @property
    def boottime(self) -> float:
        """Of CLOCK_BOOTTIME."""
        return self._offsets()[2]

    def set(self, offset: float) -> None:
        """Let the wall clock be wrong by `offset` seconds from now on."""
        self._set(offset, self.monotonic, self.boottime)

    def right(self) -> None:
        """Let all clocks be right from now on."""
        self._set(0.0, 0.0, 0.0)

    def suspend(self, seconds: float) -> None:
        """Set the clocks as after a suspension of `seconds`: the monotonic clock stood still."""
        self._set(self.offset, self.monotonic - seconds, self.boottime)

    def pause(self, seconds: float) -> None:
        """Set the clocks as after a pause by the hypervisor of `seconds`: all clocks stood still."""
        self._set(self.offset - seconds, self.monotonic - seconds, self.boottime - seconds)

    def _offsets(self) -> tuple[float, float, float]:
        wall, monotonic, boottime = OFFSETS.unpack_from(self._shared)
        return wall, monotonic, boottime

    def _set(self, *offsets: float) -> None:
        OFFSETS.pack_into(self._shared, 0, *offsets)


def under(clock: Clock, module: str) -> tuple[str, ...]:
    """Returns the beginning of a command line that runs `module` with this clock. With `-P`, nothing is imported from
    the folder of the script."""
    return (sys.executable, "-P", __file__, str(clock.path), module)


def install(clock: Clock) -> None:
    """Let the clocks be wrong as `clock` says from now on, also for later imports of their functions."""
    wall, wall_ns, monotonic, monotonic_ns = time.time, time.time_ns, time.monotonic, time.monotonic_ns
    gettime = time.clock_gettime

    def of_a_clock(which: int) -> float:
        wrong = {time.CLOCK_REALTIME: clock.offset, time.CLOCK_MONOTONIC: clock.monotonic}
        return gettime(which) + (clock.boottime if which == time.CLOCK_BOOTTIME else wrong.get(which, 0.0))

    replaced = {
        "time": lambda: wall() + clock.offset,
        "time_ns": lambda: wall_ns() + int(clock.offset * NANO),
        "monotonic": lambda: monotonic() + clock.monotonic,
        "monotonic_ns": lambda: monotonic_ns() + int(clock.monotonic * NANO),
        "clock_gettime": of_a_clock,
    }
    vars(time).update(replaced)


def main(path: str, module: str, *arguments: str) -> None:
    """Run `module` with these arguments as `python -m` does."""
    install(Clock(Path(path)))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
