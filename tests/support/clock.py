"""A wall clock that can be set from outside, for one process: `clock.py FILE MODULE ARGUMENT...` runs a module with it.

A time namespace shifts only the clocks that never jump, setting the machine's own clock would be felt by all who use
it, and libfaketime breaks the naps of Python on the monotonic clock. So the functions by which Python reads the wall
clock are replaced before anything of the module is imported. What libraries in C ask for is the machine's time as ever.

It is run as a file: only the standard library is used here.
"""

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

NANO = 1_000_000_000
OFFSET = struct.Struct("d")


class Clock:
    """By how many seconds the clock is wrong, in a file that whoever sets it shares with whoever reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(OFFSET.pack(0.0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), OFFSET.size)

    @property
    def offset(self) -> float:
        found: float = OFFSET.unpack_from(self._shared)[0]
        return found

    def set(self, offset: float) -> None:
        """From now on it is wrong by `offset` seconds; 0: it is right."""
        OFFSET.pack_into(self._shared, 0, offset)


def under(clock: Clock, module: str) -> tuple[str, ...]:
    """The beginning of a command line that runs `module` by this clock. `-P`: the folder of a script is no place to
    import from."""
    return (sys.executable, "-P", __file__, str(clock.path), module)


def install(clock: Clock) -> None:
    """From now on `time.time` is wrong as `clock` says, for whoever imports it later too."""
    seconds, nanoseconds = time.time, time.time_ns
    replaced = {
        "time": lambda: seconds() + clock.offset,
        "time_ns": lambda: nanoseconds() + int(clock.offset * NANO),
    }
    vars(time).update(replaced)


def main(path: str, module: str, *arguments: str) -> None:
    """Run `module` with these arguments as `python -m` does."""
    install(Clock(Path(path)))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
