"""The scenario `endurance`: manifests change continuously, and one fault follows the other. Does anything grow?

Fifteen manifests a second are removed, created again or get another check. Every 20 seconds there is a fault: of the
line to Consul, of Consul, of the targets, or a reload of the configuration. Meanwhile the controller's memory,
descriptors, threads and log are read. A leak grows with probes, changes, faults and scrapes, not with time. So these
events follow each other quickly, and a quarter of an hour is enough. `test_endurance.py` shows which leaks are noticed.
"""

import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path

from tests.bench import podpulse
from tests.bench.measure import Say, Work, sampled
from tests.bench.places import PLACES
from tests.bench.podpulse import Podpulse
from tests.bench.report import Reach, Report, reached
from tests.bench.targets import NODE, Targets
from tests.faults.procfs import resident, sockets, threads
from tests.faults.promises import bounds
from tests.support.net import until
from tests.support.proxy import CLEAR, Line, TcpProxy

CHANGES = 15.0
"""Manifests that change per second, on average."""
STANDING = 0.95
"""The least share of the pods that has a manifest at any time."""
FAULT_EVERY = 20.0
"""Seconds from one fault to the next. They are fewer in a run that is too short for all faults."""
LASTS = 5.0
SAMPLE_EVERY = 2.0
SAMPLES_AT_LEAST = 16
SCRAPE_EVERY = 5.0
LOOKS = 10
SETTLES = 100.0
"""Seconds after the last change in which all must be right; the fuse may take a minute of them."""
MB = 1e6
WARM_GROWTH = 1.25
WARM_GROWTH_BYTES = 16 * MB
"""How memory may grow from the second quarter to the last of a run that is shorter than `bounds.LONG`: caches fill and
the allocator warms up, which takes some 12 MB; a leak that takes a megabyte a second is more in two minutes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the controller uses at one moment. `own` is the number of its descriptors, without those of probes and of
    sockets without another end: a probe has such a socket at its beginning and at its end. `consul` is the number of
    connections to Consul. `lines` and `written` (bytes) are the size of its log so far."""

    at: float
    memory: int
    own: int
    consul: int
    threads: int
    lines: int
    written: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a fault can break."""

    prober: Podpulse
    targets: Targets
    line: TcpProxy


Fault = Callable[[Trouble], Iterator[None]]
"""The code before the `yield` breaks something, and the code after it heals it."""


def line_stalls(trouble: Trouble) -> Iterator[None]:
    trouble.line.behave(Line(stalled=True))
    yield
    trouble.line.behave(CLEAR)


def line_refuses(trouble: Trouble) -> Iterator[None]:
    trouble.line.refuse()
    yield
    trouble.line.listen()


def line_resets(trouble: Trouble) -> Iterator[None]:
    for _ in range(5):
        trouble.line.cut(reset=True)
        time.sleep(0.2)
    yield


def consul_stops(trouble: Trouble) -> Iterator[None]:
    trouble.prober.consul.pause()
    yield
    trouble.prober.consul.resume()


def targets_stop(trouble: Trouble) -> Iterator[None]:
    trouble.targets.signal(signal.SIGSTOP)
    yield
    trouble.targets.signal(signal.SIGCONT)


def reloaded(trouble: Trouble) -> Iterator[None]:
    os.kill(trouble.prober.pid, signal.SIGHUP)
    yield


FAULTS: Sequence[Fault] = (line_stalls, line_refuses, line_resets, consul_stops, targets_stop, reloaded)


def run(work: Work, say: Say) -> Report:
    """See the module."""
    with ExitStack() as stack:
        targets = stack.enter_context(Targets(work.checks, work.scheme, logged=False))
        line = stack.enter_context(TcpProxy(0))
        prober = stack.enter_context(podpulse.running(targets, work.interval, work.options, line))
        prober.write(targets.ports)
        until(prober.settled, SETTLES, "all pods are published")
        say(f"all {work.checks} pods are published; {work.seconds:g} s of changes and faults begin")
        before = prober.scrape()
        crowd, look = Crowd(prober, targets.ports), _looking(prober, targets, line)
        every = min(SAMPLE_EVERY, work.seconds / SAMPLES_AT_LEAST)
        with prober.scraped(SCRAPE_EVERY), sampled(look, every) as samples, crowd.changing():
            faults = _troubled(Trouble(prober, targets, line), work.seconds, say)
        say("the last change is made; waiting until all is right")
        wrong = _settle(crowd)
        after, left = prober.scrape(), _left(prober, targets)
    reaches = [
        *taken(samples, crowd.changes),
        Reach("descriptors beside those of probes at the end", left, "", bounds.SPARE_DESCRIPTORS),
        Reach("pods whose health is not as it should be at the end", len(wrong), "", 0),
        Reach("pods with series that should have none, or without", len(_strange(after, crowd)), "", 0),
        Reach("faults", len(faults), ""),
        Reach("probes", after.sum("podpulse_probes_total") - before.sum("podpulse_probes_total"), ""),
        Reach("late, by podpulse's own histogram, p99", after.lateness_quantile(0.99, before) * 1000, "ms"),
        Reach("skipped", after.sum("podpulse_probes_skipped_total") - before.sum("podpulse_probes_skipped_total"), ""),
    ]
    title = f"{work.checks} {work.scheme} checks every {work.interval:g} s for {work.seconds / 60:g} minutes"
    told = f"{crowd.changes} changes of manifests, {len(faults)} faults: {', '.join(dict.fromkeys(faults)) or 'none'}"
    return reached(f"{title}, changing and troubled", work.as_json("endurance"), reaches, [told])


class Crowd:
    """The pods of the run, and their changes. A change is written to Consul directly, not through the line that may be
    broken."""

    def __init__(self, prober: Podpulse, ports: Sequence[int]) -> None:
        self._prober = prober
        self._ports = ports
        self._gone: list[int] = []
        self._random = random.Random(len(ports))
        self._stopped = threading.Event()
        self.changes = 0

    def standing(self) -> frozenset[str]:
        """Returns the names of the pods that have a manifest."""
        return frozenset(podpulse.pod(port) for port in set(self._ports) - set(self._gone))

    def health(self) -> Mapping[str, str]:
        """Returns the published status of each pod."""
        return {pod: published.status for pod, published in PLACES["kv"].read(self._prober.consul).items()}

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Changes manifests in a thread until the end of the context."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._random.expovariate(CHANGES)):
            _insist(self._next())
            self.changes += 1

    def _next(self) -> Callable[[], object]:
        """Returns the next request to Consul. The request can be repeated without another effect."""
        here = sorted(set(self._ports) - set(self._gone))
        match self._random.choice(("remove", "back", "other")):
            case "remove" if len(here) > STANDING * len(self._ports):
                self._gone.append(port := self._random.choice(here))
                return partial(self._prober.consul.delete, f"intent/{NODE}/{podpulse.pod(port)}")
            case "back" if self._gone:
                return partial(self._prober.write, [self._gone.pop()])
            case _:
                return partial(self._prober.write, [self._random.choice(here)], path=f"/_status/{self.changes}")


def _insist(ask: Callable[[], object]) -> None:
    """Repeats a request until Consul, which may be stopped for a while, has executed it."""
    while True:
        with suppress(OSError, HTTPException):
            ask()
            return
        time.sleep(0.1)


def _looking(prober: Podpulse, targets: Targets, line: TcpProxy) -> Callable[[], Sample]:
    """Returns a function that takes a sample of the controller."""
    ports, log = frozenset(targets.ports), LogSize(prober.log_file)

    def look() -> Sample:
        found, (lines, written) = sockets(prober.pid), log.read()
        probing = sum(port in ports for port in found.peers)
        consul = sum(port == line.port for port in found.peers)
        own = found.descriptors - probing - found.nowhere
        at, memory = time.monotonic(), resident(prober.pid)
        return Sample(at, memory, own, consul, threads(prober.pid), lines, written)

    return look


class LogSize:
    """The size of a log. Each call reads only what was added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = self._bytes = 0

    def read(self) -> tuple[int, int]:
        """Returns the number of lines and of bytes so far."""
        with self._path.open("rb") as file:
            file.seek(self._bytes)
            new = file.read()
        self._lines += new.count(b"\n")
        self._bytes += len(new)
        return self._lines, self._bytes


def _troubled(trouble: Trouble, seconds: float, say: Say) -> Sequence[str]:
    """Injects one fault after the other until the time is over, and none in the last part of it. Returns their
    names."""
    every, end, came = min(FAULT_EVERY, seconds / (len(FAULTS) + 1)), time.monotonic() + seconds, list[str]()
    while time.monotonic() + every < end:
        time.sleep(max(0.0, every - LASTS))
        fault = FAULTS[len(came) % len(FAULTS)]
        say(fault.__name__)
        broken = fault(trouble)
        next(broken)
        try:
            time.sleep(min(LASTS, every / 2))
        finally:
            next(broken, None)
        came.append(fault.__name__)
    time.sleep(max(0.0, end - time.monotonic()))
    return came


def _settle(crowd: Crowd) -> Sequence[str]:
    """Waits until the health of all pods is right. Returns the pods whose health is still wrong after `SETTLES`
    seconds."""
    deadline = time.monotonic() + SETTLES
    while wrong := _wrong(crowd):
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    return wrong


def _left(prober: Podpulse, targets: Targets) -> int:
    """Returns how many descriptors are open besides connections to targets. Sockets without another end count too. It
    is the least number of several looks."""
    ports, looks = frozenset(targets.ports), []
    for _ in range(LOOKS):
        found = sockets(prober.pid)
        looks.append(found.descriptors - sum(port in ports for port in found.peers))
        time.sleep(0.2)
    return min(looks)


def _wrong(crowd: Crowd) -> Sequence[str]:
    standing, health = crowd.standing(), crowd.health()
    return sorted((health.keys() ^ standing) | {pod for pod in health if health[pod] != "passing"})


def _strange(scrape: podpulse.Scrape, crowd: Crowd) -> frozenset[str]:
    return frozenset(scrape.pods("podpulse_check_interval_seconds") ^ crowd.standing())


def taken(samples: Sequence[Sample], changes: int) -> Sequence[Reach]:
    """Returns what the controller used, with the limits."""
    quarter = max(1, len(samples) // 4)
    early = statistics.median(each.memory for each in samples[quarter : 2 * quarter])
    late = statistics.median(each.memory for each in samples[-quarter:])
    last = samples[-2 * quarter :]
    slope = statistics.linear_regression([each.at for each in last], [each.memory for each in last]).slope
    minutes = (samples[-1].at - samples[0].at) / 60
    happened = changes / minutes
    return [
        Reach("memory: the last quarter's median", late / MB, "MB", _most_memory(early, minutes * 60) / MB),
        Reach("memory: the second quarter's median", early / MB, "MB"),
        Reach("memory: slope over the second half", slope * 3600 / MB, "MB/h"),
        Reach("memory: most", max(each.memory for each in samples) / MB, "MB"),
        _most("descriptors beside those of probes", (each.own for each in samples), bounds.SPARE_DESCRIPTORS),
        _most("connections to Consul", (each.consul for each in samples), bounds.CONSUL_CONNECTIONS),
        _most("threads", (each.threads for each in samples), bounds.THREADS),
        _most("log lines in a minute", _lines_in_a_minute(samples), bounds.LOG_BASE + bounds.LOG_PER_CHANGE * happened),
        Reach("log lines a minute", (samples[-1].lines - samples[0].lines) / minutes, ""),
        Reach("log", (samples[-1].written - samples[0].written) / MB, "MB"),
    ]


def _most_memory(early: float, seconds: float) -> float:
    """Returns how many bytes the last quarter of a run of `seconds` may use. `early` is what the second quarter
    used."""
    if seconds >= bounds.LONG:
        return early * bounds.GROWTH + bounds.GROWTH_BYTES
    return early * WARM_GROWTH + WARM_GROWTH_BYTES


def _lines_in_a_minute(samples: Sequence[Sample]) -> Iterator[int]:
    start = 0
    for each in samples:
        while each.at - samples[start].at > 60:
            start += 1
        yield each.lines - samples[start].lines


def _most(what: str, numbers: Iterable[int], limit: float) -> Reach:
    return Reach(f"{what}, most", max(numbers), "", limit)
