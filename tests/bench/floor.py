"""The scenario `floor`: the whole podpulse, and a bare loop of sockets that asks the same targets at the same rate."""

import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import podpulse
from tests.bench.measure import Say, Work, measure
from tests.bench.report import Reach, Report, reached
from tests.bench.steady import SCRAPE_EVERY
from tests.bench.targets import NODE, Targets

MOST = {"http": 1.5, "https": 1.25}
"""How many times the floor's CPU per probe the whole process may use."""


class Floor:
    """The running loop. Implements `peers.Prober`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._before = self._after = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def settled(self) -> bool:
        return True

    def begin(self) -> None:
        self._before = self._count()

    def end(self) -> None:
        self._after = self._count()

    def failed(self) -> int:
        return self._after - self._before

    def notes(self) -> str:
        return ""

    def _count(self) -> int:
        assert self._process.stdout
        self._process.send_signal(signal.SIGUSR1)
        return int(self._process.stdout.readline())


def run(work: Work, say: Say) -> Report:
    """Measure both, one after the other."""
    with Targets(work.checks, work.scheme) as targets:
        say(f"{work.checks} {work.scheme} targets; first podpulse, then the bare loop")
        with podpulse.running(targets, work.interval, work.options) as prober:
            prober.write(targets.ports)
            whole = measure(prober, targets, work, say, prober.scraped(SCRAPE_EVERY))
            notes = [prober.notes()]
        targets.log.forget()
        with bare_loop(targets, work.interval) as floor:
            least = measure(floor, targets, work, say)
    ratio = whole.cpu_ms_per_1000_probes / least.cpu_ms_per_1000_probes if least.cpu_seconds else math.nan
    reaches = [
        Reach("whole process: CPU per 1,000 probes", whole.cpu_ms_per_1000_probes, "ms"),
        Reach("bare loop: CPU per 1,000 probes", least.cpu_ms_per_1000_probes, "ms"),
        Reach("whole process / bare loop", ratio, "times", MOST[work.scheme]),
        Reach("whole process: probes that failed", whole.failed, "", 0),
        Reach("bare loop: probes that failed", least.failed, "", 0),
    ]
    title = f"{work.checks} {work.scheme} checks every {work.interval:g} s, and the same in a bare loop"
    return reached(title, work.as_json("floor"), reaches, notes)


@contextmanager
def bare_loop(targets: Targets, interval: float) -> Iterator[Floor]:
    command: list[object] = [sys.executable, Path(__file__).with_name("bare.py"), targets.address, targets.ports[0]]
    command += [len(targets.ports), interval]
    if targets.scheme == "https":
        command += [targets.ca_file, NODE]
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        yield Floor(process)
    finally:
        process.kill()
        process.wait()
