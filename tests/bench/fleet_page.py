"""The scenario `fleet-page`: people look at a whole fleet on the page of a member, which checks its share meanwhile.

One member of ten is real, as in the scenario `fleet-size`. The cost of its page, its API and its search for pods is
read from the kernel, from its metrics and from the line between it and Consul: first while nobody looks, then while
people do.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench import fleet, process, programs
from tests.bench.fleet_size import MEGABYTES, REAL, WholeFleet, fill, wait_until_probed
from tests.bench.measure import Say, Work, quantile
from tests.bench.podpulse import Podpulse
from tests.bench.report import Reach, Report, reached
from tests.bench.targets import Targets
from tests.support import program
from tests.support.consul import Agent
from tests.support.proxy import TcpProxy

PEOPLE = 10
RENEWED_EVERY = 15.0
"""Seconds after which an open page asks again."""
OLD = 15.0
"""Seconds after which the member reads the fleet again instead of using what it has read before."""
PATHS: Mapping[str, str] = {
    "/fleet": "/fleet",
    "/fleet/pods?q=": "/fleet/pods?q=pod-77",
    "/api/v1/fleet": "/api/v1/fleet?per_page=500",
}
FIRST_WITHIN = 3_000
MOST = 500
"""Milliseconds that a person may wait, for the first answer and for another one."""
LATE = 0.05
LINES = 150
"""Lines that a person may get at most."""


def run(work: Work, say: Say) -> Report:
    """Fills Consul, and lets the member settle. Measures it while nobody looks, at single requests and while people
    look, and then measures the verb."""
    with Targets(min(work.checks, fleet.PORTS), work.scheme) as targets, TcpProxy(0) as line:
        whole = WholeFleet(list(fleet.pods_of(targets, work)))
        with fleet.running(targets, work, [REAL], lambda consul: fill(consul, whole, say), line) as members:
            consul, prober = members.consul, members.probers[REAL]
            wait_until_probed(prober, len(whole.share()))
            time.sleep(2 * work.interval)
            watched = _Watched(prober, consul, line)
            reaches = [Reach("checks of the member", len(whole.share()), "")]
            reaches += _nobody(watched, work, say)
            reaches += _single(watched, say)
            reaches += _people(watched, work, say)
            reaches += _searches(watched, say)
            reaches.append(Reach("memory of the member, at most", process.peak_rss_mb(prober.pid), "MB", MEGABYTES))
            reaches += [*_verb(consul, "podpulse fleet"), *_verb(consul, "podpulse fleet --url", "--url", prober.page)]
    title = f"the page of a member, in a fleet with {work.checks} {work.scheme} checks every {work.interval:g} s"
    return reached(title, work.as_json("fleet-page") | {"members": len(whole.names)}, reaches)


@dataclass(slots=True)
class _Spent:
    """What one window cost. `requests` is the number of requests to Consul."""

    seconds: float = 0.0
    cpu: float = 0.0
    consul: float = 0.0
    requests: float = 0.0
    listings: float = 0.0
    megabytes: float = 0.0
    late_ms: float = 0.0
    later: float = 0.0
    skipped: float = 0.0

    def rows(self, who: str) -> Sequence[Reach]:
        return (
            Reach(f"{who}: CPU of the member", self.cpu / self.seconds, "cores"),
            Reach(f"{who}: Consul's CPU", self.consul / self.seconds, "cores"),
            Reach(f"{who}: requests to Consul a minute", self.requests / self.seconds * 60, ""),
            Reach(f"{who}: of these, listings of names", self.listings / self.seconds * 60, ""),
            Reach(f"{who}: from and to Consul, a minute", self.megabytes / self.seconds * 60, "MB"),
            Reach(f"{who}: probes late, p99, by its own histogram", self.late_ms, "ms"),
            Reach(f"{who}: probes later than {LATE * 1000:g} ms", self.later, ""),
            Reach(f"{who}: probes skipped", self.skipped, "", 0),
        )


class _Watched:
    """The member, with what it costs."""

    def __init__(self, prober: Podpulse, consul: Agent, line: TcpProxy) -> None:
        self.prober = prober
        self._consul = consul
        self._line = line

    @contextmanager
    def window(self) -> Iterator[_Spent]:
        """Measures the body of the context. The costs are known at its end."""
        spent, prober = _Spent(), self.prober
        prober.begin()
        before, passed, began = prober.asked(), self._line.passed, time.monotonic()
        cpu, consul = process.cpu_seconds(prober.pid), process.cpu_seconds(self._consul.pid)
        yield spent
        spent.cpu, spent.consul = process.cpu_seconds(prober.pid) - cpu, process.cpu_seconds(self._consul.pid) - consul
        spent.seconds, spent.megabytes = time.monotonic() - began, (self._line.passed - passed) / 1e6
        prober.end()
        asked = {operation: count - before.get(operation, 0) for operation, count in prober.asked().items()}
        spent.requests, spent.listings = sum(asked.values()), asked.get("list_keys", 0)
        spent.late_ms, spent.later = prober.late_quantile(0.99) * 1000, prober.late(LATE)
        spent.skipped = prober.skipped()

    def asked(self, path: str) -> tuple[float, int]:
        """Returns how many milliseconds an answer took, and its size in bytes."""
        began = time.monotonic()
        size = self.prober.ask(path)
        return (time.monotonic() - began) * 1000, size


def _nobody(watched: _Watched, work: Work, say: Say) -> Sequence[Reach]:
    say(f"{work.seconds:g} s in which nobody looks")
    with watched.window() as spent:
        time.sleep(work.seconds)
    return spent.rows("nobody looks")


def _single(watched: _Watched, say: Say) -> Iterator[Reach]:
    """For each path: a request for which the member has to read Consul, and one for which it does not."""
    for name, path in PATHS.items():
        time.sleep(OLD)
        say(f"{name} for the first time, and again")
        with watched.window() as spent:
            first, size = watched.asked(path)
        again, _ = watched.asked(path)
        yield Reach(f"{name}: first answer", first, "ms", FIRST_WITHIN)
        yield Reach(f"{name}: another answer", again, "ms", MOST)
        yield Reach(f"{name}: CPU of the member for the first answer", spent.cpu * 1000, "ms")
        yield Reach(f"{name}: size", size / 1000, "kB")


def _people(watched: _Watched, work: Work, say: Say) -> Iterator[Reach]:
    """Every person keeps the page open. It requests its content repeatedly, as the script of the page does."""
    say(f"{work.seconds:g} s in which {PEOPLE} people have /fleet open")
    took: list[float] = []
    every, ends = min(RENEWED_EVERY, work.seconds / 2), time.monotonic() + work.seconds

    def looks(number: int) -> None:
        time.sleep(every * number / PEOPLE)
        while time.monotonic() < ends:
            took.append(watched.asked("/fleet")[0])
            time.sleep(every)

    with watched.window() as spent:
        _together(looks)
    yield from spent.rows(f"{PEOPLE} people look")
    yield Reach(f"{PEOPLE} people look: an answer, p50", quantile(took, 0.5), "ms", MOST)
    yield Reach(f"{PEOPLE} people look: an answer, longest", max(took), "ms", FIRST_WITHIN)


def _searches(watched: _Watched, say: Say) -> Iterator[Reach]:
    """Everybody searches for another pod at the same moment."""
    say(f"{PEOPLE} people search")
    took: list[float] = []
    time.sleep(OLD)
    with watched.window() as spent:
        _together(lambda number: took.append(watched.asked(f"/fleet/pods?q=pod-{number}")[0]))
    yield Reach(f"{PEOPLE} searches at once: the last answer", max(took), "ms", FIRST_WITHIN)
    yield Reach(f"{PEOPLE} searches at once: CPU of the member", spent.cpu * 1000, "ms")
    yield Reach(f"{PEOPLE} searches at once: requests to Consul", spent.requests, "")
    yield Reach(f"{PEOPLE} searches at once: from and to Consul", spent.megabytes, "MB")
    yield Reach(f"{PEOPLE} searches at once: probes later than {LATE * 1000:g} ms", spent.later, "")


def _together(does: Callable[[int], object]) -> None:
    with ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(does, range(PEOPLE)))


def _verb(consul: Agent, name: str, *options: str) -> Iterator[Reach]:
    """Runs the verb as a separate process."""
    command = [sys.executable, "-m", "controller", "fleet", "--consul", consul.address, *options]
    began, before = time.monotonic(), os.times()
    done = program.run(command, within=60.0, cwd=programs.ROOT)
    after = os.times()
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-200:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    yield Reach(f"{name}: time", (time.monotonic() - began) * 1000, "ms", FIRST_WITHIN)
    yield Reach(f"{name}: CPU", cpu * 1000, "ms")
    yield Reach(f"{name}: lines", len(done.stdout.splitlines()), "", LINES)
