"""A process with a wall clock that is set from outside. Only the wall clock jumps."""

import subprocess
import time
from pathlib import Path

from tests.support.clock import Clock, under

SAYS = "import time\nwhile input() != 'end':\n    print(time.time(), time.time_ns(), time.monotonic(), flush=True)\n"
DAY = 86_400.0
NEAR = 30.0


def test_the_wall_clock_of_one_process_jumps_and_its_monotonic_clock_does_not(tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text(SAYS)
    clock = Clock(tmp_path / "clock")
    with subprocess.Popen(
        under(clock, "says"),
        env={"PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        for offset in (0.0, DAY, -DAY, 0.0):
            clock.set(offset)
            process.stdin.write("now\n")
            process.stdin.flush()
            wall, nanoseconds, monotonic = map(float, process.stdout.readline().split())
            assert abs(wall - time.time() - offset) < NEAR
            assert abs(nanoseconds / 1e9 - time.time() - offset) < NEAR
            assert abs(monotonic - time.monotonic()) < NEAR
        process.stdin.write("end\n")
        process.stdin.flush()
        assert process.wait(10) == 0


def test_a_clock_is_what_its_file_says(tmp_path: Path) -> None:
    Clock(tmp_path / "clock").set(-0.5)
    assert Clock(tmp_path / "clock").offset == -0.5


def test_a_suspended_machine_loses_monotonic_time_and_a_paused_one_all_of_it(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    clock.suspend(5.0)
    assert (clock.offset, clock.monotonic, clock.boottime) == (0.0, -5.0, 0.0)
    clock.pause(45.0)
    assert (clock.offset, clock.monotonic, clock.boottime) == (-45.0, -50.0, -45.0)
