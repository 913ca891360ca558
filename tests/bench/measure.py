"""Measures what a prober costs while it works, in the same way for every prober.

Probes are counted and timed at the target. The window begins when every target was asked and the prober reports the end
of its start. So the cost of the start is not included.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.bench import process
from tests.bench.hits import delays
from tests.bench.peers import Prober
from tests.bench.targets import Scheme, Targets

Say = Callable[[str], None]
"""Reports the progress to a person."""

T = TypeVar("T")

POLL = 0.25


@dataclass(frozen=True, slots=True)
class Work:
    """What to measure. `interval` and `seconds` are in seconds, and `options` are fields of Podpulse's configuration.

    Meanwhile `busy` loops use the processor too, and Podpulse may use the share `quota` of one core. In the scenario
    `fleet`, `members` share the checks. In `steady`, the certificates of `bundle` are trusted too.
    """

    checks: int
    interval: float
    seconds: float
    scheme: Scheme = "http"
    peers: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    busy: int = 0
    quota: float = 1.0
    members: int = 1
    bundle: Path | None = None

    def as_json(self, scenario: str) -> dict[str, Any]:
        return {
            "scenario": scenario,
            "checks": self.checks,
            "interval": self.interval,
            "seconds": self.seconds,
            "scheme": self.scheme,
            "options": dict(self.options),
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """What one prober did and cost within the window. `idle_cores` is how many cores of the machine were idle on
    average."""

    cpu_seconds: float
    peak_rss_mb: float
    probes: int
    failed: int
    lateness: Sequence[float]
    reused: int
    resumed: int
    idle_cores: float

    @property
    def cpu_ms_per_1000_probes(self) -> float:
        return self.cpu_seconds * 1e6 / self.probes if self.probes else math.nan

    def as_json(self) -> dict[str, float | int]:
        return {
            "cpu_ms_per_1000_probes": round(self.cpu_ms_per_1000_probes, 1),
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "probes": self.probes,
            "failed": self.failed,
            "lateness_p99_ms": round(quantile(self.lateness, 0.99) * 1000, 1),
        }


class TooSlow(Exception):
    """A prober was not ready in time. The message says what was missing."""


def measure(
    prober: Prober,
    targets: Targets,
    work: Work,
    say: Say,
    meanwhile: AbstractContextManager[Any] | None = None,
    ports: Sequence[int] | None = None,
) -> Figures:
    """Waits until a started prober is ready. Then measures it for `work.seconds`, inside the context `meanwhile`. With
    `ports`, it probes only the targets on these ports."""
    wait_until_ready(prober, targets, work, ports)
    say(f"all {len(ports or targets.ports)} targets were asked; measuring for {work.seconds:g} s")
    with meanwhile or nullcontext():
        prober.begin()
        cpu, idle, began = process.cpu_seconds(prober.pid), process.idle_seconds(), time.time()
        time.sleep(work.seconds)
        cpu, idle, ended = process.cpu_seconds(prober.pid) - cpu, process.idle_seconds() - idle, time.time()
        prober.end()
    memory = process.peak_rss_mb(prober.pid)
    targets.log.settle()
    hits = targets.log.hits(began, ended)
    return Figures(
        cpu_seconds=cpu,
        peak_rss_mb=memory,
        probes=len(hits),
        failed=prober.failed(),
        lateness=[seconds for _, seconds in delays(hits, work.interval)],
        reused=sum(hit.reused for hit in hits),
        resumed=sum(hit.resumed for hit in hits),
        idle_cores=idle / (ended - began),
    )


def wait_until_ready(prober: Prober, targets: Targets, work: Work, ports: Sequence[int] | None = None) -> None:
    """Return when every target (or every one on `ports`) was asked at least once, and the prober has finished its
    start.

    Raises:
        TooSlow: after a minute, two intervals and 20 ms per check.
    """
    deadline = time.monotonic() + 60 + 2 * work.interval + 0.02 * work.checks
    wanted = set(targets.ports if ports is None else ports)
    while (missing := len(wanted - targets.log.seen())) or not prober.settled():
        if time.monotonic() > deadline:
            raise TooSlow(f"{missing} of {len(wanted)} targets were never asked, or the prober is still starting")
        time.sleep(POLL)


def quantile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that is not exceeded by `share` of all values; nan if there are none."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else math.nan


@contextmanager
def sampled(read: Callable[[], T], every: float) -> Iterator[list[T]]:
    """Calls `read` in another thread: at the beginning, every `every` seconds, and at the end. Yields the list of what
    it returned."""
    stopped, samples = threading.Event(), [read()]

    def sample() -> None:
        while not stopped.wait(every):
            samples.append(read())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stopped.set()
        thread.join()
        samples.append(read())
