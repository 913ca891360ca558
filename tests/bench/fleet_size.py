"""The scenario `fleet-size`: a member of ten among 100,000 checks, on a real Consul that has all of them.

One member is real: it has its share of the pods, probes them and publishes their health. The other nine are only
services with passing checks, as Consul shows the members to each other, and a session holds their health keys. So the
real member reads, hashes, writes and keeps as much as each member of ten does. Its cost is read from the kernel, its
requests from its own metrics, and their cost for Consul from Consul's CPU time.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from reconcilers.share import FleetView
from tests.bench import fleet, process
from tests.bench.fleet import FLEET, Pod
from tests.bench.measure import Say, TooSlow, Work
from tests.bench.podpulse import TRANSACTION, Podpulse, Scrape
from tests.bench.report import Reach, Report, reached
from tests.bench.targets import Targets
from tests.support.consul import Agent, Answer

MEMBERS = 10
REAL = "member1"
CORES = 0.5
MEGABYTES = 300
UNEVEN = 0.25
CHANGES_PER_SECOND = 1.0
RECORD = json.dumps({"Id": "pod", "Node": "node", "Service": "pod", "Status": "passing", "Output": "ok" * 64})
REQUESTS = "podpulse_consul_requests_total"
PROBED_WITHIN = 12.0
PATIENCE = 90.0


def run(work: Work, say: Say) -> Report:
    """Fills Consul, and lets the member start and settle. Measures it while manifests of other members change. Then one
    of the other members disappears."""
    with Targets(min(work.checks, fleet.PORTS), work.scheme) as targets:
        all_of_them = WholeFleet(list(fleet.pods_of(targets, work)))
        reaches = list(all_of_them.shares())
        with fleet.running(targets, work, [REAL], lambda consul: fill(consul, all_of_them, say)) as members:
            consul, prober = members.consul, members.probers[REAL]
            reaches += _start(consul, prober, all_of_them, say)
            reaches += _steady(consul, prober, all_of_them, work, say)
            reaches += _reads(consul, all_of_them)
            reaches += _gain(consul, prober, all_of_them, say)
            reaches.append(Reach("memory of the member, at most", process.peak_rss_mb(prober.pid), "MB", MEGABYTES))
    title = f"one of {MEMBERS} members with {work.checks} {work.scheme} checks every {work.interval:g} s"
    return reached(title, work.as_json("fleet-size") | {"members": MEMBERS}, reaches)


class WholeFleet:
    """The pods, and which member checks each of them."""

    def __init__(self, pods: Sequence[Pod]) -> None:
        self.names = [f"member{number + 1}" for number in range(MEMBERS)]
        self.pods = pods
        self.nodes = sorted({pod.node for pod in pods})
        self._seconds = -time.perf_counter()
        self.owners = self._owners(self.names)
        self._seconds += time.perf_counter()

    def _owners(self, names: Sequence[str]) -> Mapping[str, str | None]:
        view = FleetView(1, tuple(sorted(names)))
        return {node: view.owner(node) for node in self.nodes}

    def share(self, without: str = "") -> list[Pod]:
        """Returns the pods of the real member: now, or after the member `without` is gone."""
        owners = self._owners([name for name in self.names if name != without]) if without else self.owners
        return [pod for pod in self.pods if owners[pod.node] == REAL]

    def others(self) -> list[Pod]:
        return [pod for pod in self.pods if self.owners[pod.node] != REAL]

    def shares(self) -> Iterator[Reach]:
        """How long hashing took, and how even the shares are."""
        sizes = Counter(self.owners.values())
        uneven = max(abs(size * len(self.names) / len(self.nodes) - 1) for size in sizes.values())
        yield Reach(f"hashing {len(self.nodes)} nodes over {len(self.names)} members", self._seconds * 1000, "ms")
        yield Reach("nodes of a member, off a tenth by at most", uneven * 100, "%", UNEVEN * 100)
        yield Reach("checks of the member", len(self.share()), "")


def fill(consul: Agent, all_of_them: WholeFleet, say: Say) -> None:
    """Writes all manifests, registers the members that are not real, and creates the health keys that are held for
    them."""
    began = time.monotonic()
    fleet.write(consul, all_of_them.pods)
    for name in all_of_them.names:
        if name != REAL:
            _register(consul, name)
    held = {"Session": consul.new_session(ttl="")}
    fleet.transact(consul, (("lock", f"health/{pod.name}/{pod.node}", RECORD, held) for pod in all_of_them.others()))
    say(f"{len(all_of_them.pods)} manifests and {len(all_of_them.others())} keys, in {time.monotonic() - began:.0f} s")


def _register(consul: Agent, name: str) -> None:
    service = {
        "ID": f"podpulse-{name}",
        "Name": "podpulse",
        "Port": 9815,
        "Meta": {"fleet": FLEET, "member": name},
        "Check": {"TTL": "1h", "Status": "passing"},
    }
    if (answer := consul.request("PUT", "agent/service/register", json.dumps(service))).status != 200:
        raise RuntimeError(f"Consul refused a service: {answer.status} {answer.body[:200]!r}")


def _start(consul: Agent, prober: Podpulse, all_of_them: WholeFleet, say: Say) -> Iterator[Reach]:
    """Measures from the start of the process until each pod of the share was probed."""
    scrape = wait_until_probed(prober, len(all_of_them.share()))
    seconds = time.time() - scrape.sum("process_start_time_seconds")
    say(f"the member probes its share {seconds:.0f} s after its start")
    yield Reach("start: until each pod of the share is probed", seconds, "s")
    yield Reach("start: CPU of the member", process.cpu_seconds(prober.pid), "s")
    yield from _requests("start", scrape.totals(REQUESTS, "op"))


def _steady(consul: Agent, prober: Podpulse, all_of_them: WholeFleet, work: Work, say: Say) -> Iterator[Reach]:
    """Measures while nothing happens to the pods of the share. Manifests of other members change all the time."""
    time.sleep(2 * work.interval)
    say(f"measuring for {work.seconds:g} s; a manifest of another member changes every {1 / CHANGES_PER_SECOND:g} s")
    prober.begin()
    before, cpu, consul_cpu = prober.asked(), process.cpu_seconds(prober.pid), process.cpu_seconds(consul.pid)
    with prober.scraped():
        ends = time.monotonic() + work.seconds
        while time.monotonic() < ends:
            pod = random.choice(all_of_them.others())
            changed = f"{pod.manifest()}status: {{timeout: {random.randint(500, 5000)}ms}}\n"
            fleet.transact(consul, [("set", f"intent/{pod.node}/{pod.name}", changed, {})])
            time.sleep(1 / CHANGES_PER_SECOND)
    cpu, consul_cpu = process.cpu_seconds(prober.pid) - cpu, process.cpu_seconds(consul.pid) - consul_cpu
    prober.end()
    asked = prober.asked()
    yield Reach("CPU of the member", cpu / work.seconds, "cores", CORES)
    yield Reach("CPU of Consul, with this one member", consul_cpu / work.seconds, "cores")
    yield Reach("probes skipped", prober.skipped(), "", 0)
    yield Reach("probes that failed", prober.failed(), "", 0)
    yield Reach("late, p99, by its own histogram", prober.late_quantile(0.99) * 1000, "ms")
    yield from _requests(f"in {work.seconds:g} s", {op: count - before.get(op, 0) for op, count in asked.items()})


def _requests(when: str, counts: Mapping[str, float]) -> Iterator[Reach]:
    yield from (Reach(f"{when}: requests {op}", count, "") for op, count in sorted(counts.items()) if count)


def _reads(consul: Agent, all_of_them: WholeFleet) -> Iterator[Reach]:
    """Measures what a member reads from Consul: the time and the size of each read. This process makes the reads."""
    trees = [{"KV": {"Verb": "get-tree", "Key": f"intent/{node}/"}} for node in all_of_them.nodes[:TRANSACTION]]
    reads: Mapping[str, Callable[[], Answer]] = {
        "the names of all nodes": lambda: consul.request("GET", "kv/intent/?keys&separator=/", timeout=30.0),
        "the names of all health keys": lambda: consul.request("GET", "kv/health/?keys", timeout=30.0),
        f"the manifests of {len(trees)} nodes": lambda: consul.request("PUT", "txn", json.dumps(trees), timeout=30.0),
    }
    for name, read in reads.items():
        began = time.perf_counter()
        size = len(read().body)
        yield Reach(f"reading {name}", (time.perf_counter() - began) * 1000, "ms")
        yield Reach(f"reading {name}: size", size / 1000, "kB")


def _gain(consul: Agent, prober: Podpulse, all_of_them: WholeFleet, say: Say) -> Iterator[Reach]:
    """Another member disappears. The real member takes over its part of the pods, whose keys a live session holds."""
    gone = all_of_them.names[-1]
    share = len(all_of_them.share(without=gone))
    cpu, began = process.cpu_seconds(prober.pid), time.monotonic()
    consul.request("PUT", f"agent/service/deregister/podpulse-{gone}")
    wait_until_probed(prober, share)
    seconds = time.monotonic() - began
    say(f"{gone} is gone: the member probes {share - len(all_of_them.share())} more pods after {seconds:.1f} s")
    yield Reach("another member is gone: pods that are gained", share - len(all_of_them.share()), "")
    yield Reach("another member is gone: until they are probed", seconds, "s", PROBED_WITHIN)
    yield Reach("another member is gone: CPU of the member", process.cpu_seconds(prober.pid) - cpu, "s")


def wait_until_probed(prober: Podpulse, count: int) -> Scrape:
    deadline = time.monotonic() + PATIENCE
    while len((scrape := prober.scrape()).pods("probe_success")) < count:
        if time.monotonic() > deadline:
            raise TooSlow(f"{len(scrape.pods('probe_success'))} of {count} pods were probed in {PATIENCE:g} s")
        time.sleep(1.0)
    return scrape
