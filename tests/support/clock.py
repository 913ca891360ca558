"""Clocks that are set from outside, for one process: `clock.py FILE MODULE ARGUMENT...` runs a module with them.

A time namespace shifts only the clocks that never jump, setting the machine's own clock would be felt by all who use
it, and libfaketime breaks the naps of Python on the monotonic clock. So the functions by which Python reads a clock
are replaced before anything of the module is imported. What libraries in C ask for is the machine's time as ever, and
so are naps: a process that was stopped meanwhile wakes at once.

It is run as a file: only the standard library is used here.
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
    """By how many seconds each clock is wrong, in a file that whoever sets it shares with whoever reads it."""

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
        """From now on the wall clock is wrong by `offset` seconds; 0: it is right."""
        self._set(offset, self.monotonic, self.boottime)

    def right(self) -> None:
        """From now on all clocks are right."""
        self._set(0.0, 0.0, 0.0)

    def suspend(self, seconds: float) -> None:
        """The machine slept for so long: its monotonic clock stood still."""
        self._set(self.offset, self.monotonic - seconds, self.boottime)

    def pause(self, seconds: float) -> None:
        """Whoever runs the machine stopped it for so long: all of its clocks stood still."""
        self._set(self.offset - seconds, self.monotonic - seconds, self.boottime - seconds)

    def _offsets(self) -> tuple[float, float, float]:
        wall, monotonic, boottime = OFFSETS.unpack_from(self._shared)
        return wall, monotonic, boottime

    def _set(self, *offsets: float) -> None:
        OFFSETS.pack_into(self._shared, 0, *offsets)


def under(clock: Clock, module: str) -> tuple[str, ...]:
    """The beginning of a command line that runs `module` by this clock. `-P`: the folder of a script is no place to
    import from."""
    return (sys.executable, "-P", __file__, str(clock.path), module)


def install(clock: Clock) -> None:
    """From now on the clocks are wrong as `clock` says, for whoever imports their functions later too."""
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
