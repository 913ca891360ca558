"""Members of a fleet: the real processes beside one Consul, and the two scenarios in which all of them run here.

`fleet`: does each member cost what its share costs? `fleet-intent`: when does a new manifest get its first request?
"""

import io
import json
import random
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tests.bench import podpulse, process
from tests.bench.hits import by_port
from tests.bench.measure import Say, TooSlow, Work, quantile
from tests.bench.podpulse import TRANSACTION, DidNotStart, Podpulse
from tests.bench.report import Reach, Report, reached
from tests.bench.targets import Targets
from tests.support.consul import Agent
from tests.support.controller import Controller
from tests.support.proxy import TcpProxy

FLEET = "bench"
PORTS = 16_000
"""The highest number of targets. With more checks, several pods share a target."""
PODS_OF_A_NODE = 20
INTENT_MEMBERS = 3
SHARED_WITHIN = 60.0
"""Seconds in addition to those that the checks need."""
UNEVEN = 1.5
"""How much more a probe, or the memory of a check, may cost with one member than with another."""
INTENT_P99_MS = 1_000


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a node, on one of the targets' ports."""

    node: str
    name: str
    port: int

    def manifest(self) -> str:
        return f"id: {self.name}\nstatus_port: {self.port}\nstatus_http: true\n"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one member has done and cost within the window."""

    checks: float
    cpu_seconds: float
    rss_mb: float
    idle_mb: float
    skipped: float
    failed: int
    late_ms: float

    def cpu_us(self, interval: float, seconds: float) -> float:
        """Returns the CPU time of one probe in microseconds."""
        return self.cpu_seconds * 1e6 / (self.checks * seconds / interval)

    @property
    def mb_per_1000(self) -> float:
        """The memory of 1,000 checks, in addition to that of a member without checks."""
        return (self.rss_mb - self.idle_mb) * 1000 / self.checks


class Members:
    """Controllers that share the pods of all nodes in one Consul."""

    def __init__(self, consul: Agent, probers: Mapping[str, Podpulse]) -> None:
        self.consul = consul
        self.probers = probers

    def shares(self) -> list[float]:
        """How many pods each member checks."""
        return [prober.scrape().sum("podpulse_intents") for prober in self.probers.values()]

    def wait_until_shared(self, count: int, work: Work) -> None:
        """Return when each pod is checked by one member, and published.

        Raises:
            TooSlow: after a minute, two intervals and 10 ms for each check.
        """
        deadline = time.monotonic() + SHARED_WITHIN + 2 * work.interval + 0.01 * work.checks
        while not (all(shares := self.shares()) and sum(shares) == count and self._published() >= count):
            if time.monotonic() > deadline:
                raise TooSlow(f"the members check {shares} of {count} pods, and {self._published()} are published")
            time.sleep(0.5)

    def _published(self) -> int:
        answer = self.consul.request("GET", "kv/health/?keys", timeout=30.0)
        return len(answer.json()) if answer.status == 200 else 0


def run(work: Work, say: Say) -> Report:
    """All members on this machine, with one Consul and one nginx."""
    names = [f"member{number + 1}" for number in range(work.members)]
    with Targets(min(work.checks, PORTS), work.scheme) as targets, running(targets, work, names) as members:
        pods = list(pods_of(targets, work))
        idle = {name: process.peak_rss_mb(prober.pid) for name, prober in members.probers.items()}
        write(members.consul, pods)
        say(f"{len(pods)} manifests of {len({pod.node for pod in pods})} nodes are written")
        members.wait_until_shared(len(pods), work)
        time.sleep(2 * work.interval)
        say(f"the members check {', '.join(f'{share:.0f}' for share in members.shares())}; {work.seconds:g} s follow")
        costs, consul, requests = _measured(members, targets, idle, work)
        shown = {name: prober.last().sum("podpulse_intents") for name, prober in members.probers.items()}
    title = f"{work.checks} {work.scheme} checks every {work.interval:g} s over {len(shown)} members"
    expected = work.checks * work.seconds / work.interval
    reaches = [
        Reach("probes skipped", sum(cost.skipped for cost in costs.values()), "", 0),
        Reach("probes that failed", sum(cost.failed for cost in costs.values()), "", 0),
        Reach("probes too few or too many, by the targets' count", abs(requests / expected - 1) * 100, "%", 2),
        Reach("late, by the members' own histograms, worst p99", max(cost.late_ms for cost in costs.values()), "ms"),
        Reach("CPU of a probe: dearest member / cheapest", _ratio(_cpu(costs, work)), "", UNEVEN),
        Reach("memory of a check: dearest member / cheapest", _ratio(_memory(costs)), "", UNEVEN),
        *(reach for name, cost in costs.items() for reach in _rows(name, cost, work)),
        Reach("Consul's CPU", consul / work.seconds, "cores"),
    ]
    return reached(title, work.as_json("fleet") | {"members": work.members}, reaches)


def _measured(
    members: Members, targets: Targets, idle: Mapping[str, float], work: Work
) -> tuple[dict[str, Cost], float, int]:
    """What each member cost, the CPU seconds of Consul, and the requests that the targets counted."""
    probers, consul = members.probers, members.consul.pid
    with ExitStack() as stack:
        for prober in probers.values():
            stack.enter_context(prober.scraped())
            prober.begin()
        cpu, consul_cpu = {name: process.cpu_seconds(each.pid) for name, each in probers.items()}, 0.0
        consul_cpu, began = process.cpu_seconds(consul), time.time()
        time.sleep(work.seconds)
        cpu = {name: process.cpu_seconds(each.pid) - cpu[name] for name, each in probers.items()}
        consul_cpu, ended = process.cpu_seconds(consul) - consul_cpu, time.time()
        for prober in probers.values():
            prober.end()
    targets.log.settle()
    costs = {name: _cost(prober, cpu[name], idle[name]) for name, prober in probers.items()}
    return costs, consul_cpu, len(targets.log.hits(began, ended))


def _cost(prober: Podpulse, cpu: float, idle: float) -> Cost:
    return Cost(
        checks=prober.last().sum("podpulse_intents"),
        cpu_seconds=cpu,
        rss_mb=process.peak_rss_mb(prober.pid),
        idle_mb=idle,
        skipped=prober.skipped(),
        failed=prober.failed(),
        late_ms=prober.late_quantile(0.99) * 1000,
    )


def _rows(name: str, cost: Cost, work: Work) -> Sequence[Reach]:
    return (
        Reach(f"{name}: checks", cost.checks, ""),
        Reach(f"{name}: CPU", cost.cpu_seconds / work.seconds, "cores"),
        Reach(f"{name}: CPU of a probe", cost.cpu_us(work.interval, work.seconds), "us"),
        Reach(f"{name}: memory", cost.rss_mb, "MB"),
        Reach(f"{name}: memory of 1,000 checks", cost.mb_per_1000, "MB"),
    )


def _cpu(costs: Mapping[str, Cost], work: Work) -> list[float]:
    return [cost.cpu_us(work.interval, work.seconds) for cost in costs.values()]


def _memory(costs: Mapping[str, Cost]) -> list[float]:
    return [cost.mb_per_1000 for cost in costs.values()]


def _ratio(values: Sequence[float]) -> float:
    return max(values) / min(values) if min(values) > 0 else float("nan")


def intent(work: Work, say: Say) -> Report:
    """Writes one manifest after the other, each for one of many nodes. How soon does its target get the first
    request?"""
    count = max(1, round(work.seconds))
    names = [f"member{number + 1}" for number in range(INTENT_MEMBERS)]
    with Targets(min(work.checks, PORTS) + count, work.scheme) as targets, running(targets, work, names) as members:
        pods = list(pods_of(targets, work))
        nodes, new = sorted({pod.node for pod in pods}), targets.ports[-count:]
        write(members.consul, pods)
        members.wait_until_shared(len(pods), work)
        say(f"{len(pods)} checks of {len(nodes)} nodes run; writing {count} more, one a second")
        began = {}
        for port in new:
            time.sleep(random.uniform(0.8, 1.2))
            began[port] = time.time()
            write(members.consul, [Pod(random.choice(nodes), f"new-{port}", port)])
        members.wait_until_shared(len(pods) + count, work)
        time.sleep(work.interval)
        targets.log.settle()
        hits = by_port(targets.log.hits())
    took = [(hits[port][0] - at) * 1000 for port, at in began.items()]
    reaches = [
        Reach("written to first request, p50", quantile(took, 0.5), "ms"),
        Reach("written to first request, p99", quantile(took, 0.99), "ms", INTENT_P99_MS),
        Reach("written to first request, longest", max(took), "ms"),
    ]
    title = f"one intent among {work.checks} {work.scheme} checks of {len(nodes)} nodes, {INTENT_MEMBERS} members"
    return reached(title, work.as_json("fleet-intent") | {"members": INTENT_MEMBERS}, reaches)


def pods_of(targets: Targets, work: Work) -> Iterator[Pod]:
    """Yields as many pods as there are checks, twenty on each node. Pods share ports if there are not enough ports."""
    ports = targets.ports[:PORTS]
    for number in range(work.checks):
        yield Pod(f"node{number // PODS_OF_A_NODE:04}.bench", f"pod-{number}", ports[number % len(ports)])


def write(consul: Agent, pods: Iterable[Pod]) -> None:
    """Put their manifests into Consul, many at a time."""
    transact(consul, (("set", f"intent/{pod.node}/{pod.name}", pod.manifest(), {}) for pod in pods))


def transact(consul: Agent, steps: Iterable[tuple[str, str, str, Mapping[str, Any]]]) -> None:
    """Run operations (verb, key, value, other fields), many in a transaction."""
    rest = iter(steps)
    while some := list(islice(rest, TRANSACTION)):
        operations = [
            {"KV": {"Verb": verb, "Key": key, "Value": b64encode(value.encode()).decode(), **more}}
            for verb, key, value, more in some
        ]
        answer = consul.request("PUT", "txn", json.dumps(operations), timeout=30.0)
        if answer.status != 200:
            raise RuntimeError(f"Consul refused a transaction: {answer.status} {answer.body[:200]!r}")


@contextmanager
def running(
    targets: Targets,
    work: Work,
    names: Sequence[str],
    prepare: Callable[[Agent], None] = lambda _: None,
    line: TcpProxy | None = None,
) -> Iterator[Members]:
    """Runs the controllers with these ids, on a Consul that `prepare` has filled. The first one is ready before the
    others start, so that the others join it. Their logs go to standard error if the body of the context fails. They
    reach Consul through `line`, if there is one."""
    controllers: dict[str, Controller] = {}
    with podpulse.agent_beside(targets) as consul:
        try:
            prepare(consul)
            by: dict[str, Any] = {}
            if line:
                line.upstream = consul.http_port
                by = {"consul.address": f"http://127.0.0.1:{line.port}"}
            for name in names:
                options = {"node_name": name, "fleet": FLEET, **by, **work.options}
                configured = podpulse.configuration(targets, consul, work.interval, options)
                controllers[name] = Controller(ready=name == names[0], **configured)
                controllers[name].start()
            for controller in controllers.values():
                controller.wait_ready()
            yield Members(consul, {name: Podpulse(consul, each, targets) for name, each in controllers.items()})
        except AssertionError as error:
            raise DidNotStart(str(error)) from error
        except BaseException:
            for controller in controllers.values():
                print(controller.log[-4000:], file=sys.stderr)
            raise
        finally:
            with redirect_stdout(io.StringIO()):
                for controller in controllers.values():
                    controller.close()
