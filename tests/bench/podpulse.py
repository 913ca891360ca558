"""Runs the whole `podpulse run` as it is used.

There is a real Consul agent with manifests in its KV store. Health is published to it, and the metrics are scraped all
the time. The processes are started by the support modules of the system tests, and no part of Podpulse is called from
here.
"""

import http.client
import io
import json
import re
import sys
import threading
import time
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from tests.bench import programs
from tests.bench.places import PLACES
from tests.bench.targets import GRPC, NODE, PATH, TLS, Targets
from tests.support.consul import Agent
from tests.support.controller import Controller
from tests.support.proxy import TcpProxy

TRANSACTION = 64
"""Operations that one transaction of Consul may hold."""
SPARE_DESCRIPTORS = 64
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
"""The headers that Prometheus sends."""
TELEMETRY = {"telemetry": {"prometheus_retention_time": "1h"}}
"""Lets Consul count its requests and its writes from its start."""
LATENESS = "podpulse_probe_lateness_seconds"


class DidNotStart(Exception):
    """The controller ended during its start. The message has its output."""


class Podpulse:
    """One running controller with its Consul, for the pods of `targets`."""

    def __init__(self, consul: Agent, controller: Controller, targets: Targets) -> None:
        self.consul = consul
        self._controller = controller
        self._targets = targets
        self._published = 0
        self._before = Scrape("")
        self._after = Scrape("")

    @property
    def pid(self) -> int:
        return self._controller.pid

    @property
    def descriptors_bound(self) -> int:
        """The number of descriptors that its configuration allows: one for each probe in flight, and some for
        everything else."""
        return int(self._controller.options["max_in_flight"]) + SPARE_DESCRIPTORS

    @property
    def log_file(self) -> Path:
        return self._controller.log_file

    def write(self, ports: Sequence[int], path: str = PATH, suffix: str = "") -> dict[int, float]:
        """Write the manifests of these ports to Consul, many at a time. Returns when each was written. With a `suffix`
        they are further pods on the same ports."""
        there: dict[int, float] = {}
        for start in range(0, len(ports), TRANSACTION):
            some = ports[start : start + TRANSACTION]
            operations = [self._operation(port, path, pod(port) + suffix) for port in some]
            answer = self.consul.request("PUT", "txn", json.dumps(operations))
            if answer.status != 200:
                raise RuntimeError(f"Consul refused manifests: {answer.status} {answer.body[:200]!r}")
            there |= dict.fromkeys(some, time.time())
        self._published += len(ports)
        return there

    def _operation(self, port: int, path: str, name: str) -> Mapping[str, Any]:
        text = f"id: {name}\nstatus_port: {port}\nstatus_http: {str(self._targets.scheme not in TLS).lower()}\n"
        if self._targets.scheme in GRPC:
            text += "status: {kind: grpc}\n"
        elif path != PATH:
            text += f"status: {{path: {path}}}\n"
        value = b64encode(text.encode()).decode()
        return {"KV": {"Verb": "set", "Key": f"intent/{NODE}/{name}", "Value": value}}

    def settled(self) -> bool:
        """Whether the health of every pod is in Consul."""
        publish = self._controller.options.get("publish", ["kv"])
        return all(len(PLACES[place].read(self.consul)) >= self._published for place in publish)

    def scrape(self) -> "Scrape":
        return Scrape(self._controller.get("/metrics", timeout=30.0).text)

    def asked(self) -> Mapping[str, float]:
        """Returns the number of its requests to Consul, by operation."""
        return self.scrape().totals("podpulse_consul_requests_total", "op")

    def applied(self, kind: str) -> float:
        """Returns how many writes of a kind, such as `txn`, Consul has applied to its state, as Consul counts them."""
        return self.telemetry().sum(f"consul_fsm_{kind}_count")

    def telemetry(self) -> "Scrape":
        """Consul's own metrics."""
        return Scrape(self.consul.request("GET", "agent/metrics?format=prometheus").body.decode())

    def ready(self) -> str:
        """Returns the answer of `/-/ready` in one line."""
        return "; ".join(self._controller.get("/-/ready", timeout=30.0).text.splitlines())

    def begin(self) -> None:
        """The first compressed scrape costs twice as much as the later ones, so it is made before the window."""
        self._asked_by_prometheus()
        self._before = self.scrape()

    def end(self) -> None:
        self._after = self.scrape()

    def failed(self) -> int:
        """Returns how many probes between `begin` and `end` did not succeed, as the controller counts them."""
        name = "podpulse_probes_total"
        every = self._after.sum(name) - self._before.sum(name)
        return int(every - self._after.sum(name, 'result="success"') + self._before.sum(name, 'result="success"'))

    def late(self, seconds: float) -> float:
        """Returns how many probes between `begin` and `end` were late by more than `seconds`, which is a bound of the
        histogram."""
        return self._after.later_than(seconds, self._before)

    def late_quantile(self, share: float) -> float:
        """Returns by how many seconds probes between `begin` and `end` were late, by the controller's own histogram."""
        return self._after.lateness_quantile(share, self._before)

    def last(self) -> "Scrape":
        """Returns the scrape of `end`."""
        return self._after

    def skipped(self) -> float:
        """Returns how many probes it skipped between `begin` and `end`."""
        name = "podpulse_probes_skipped_total"
        return self._after.sum(name) - self._before.sum(name)

    def notes(self) -> str:
        """Returns what the controller reports of its schedule between `begin` and `end`."""
        late = self.late_quantile(0.99) * 1000
        return f"podpulse's own histogram: p99 {late:.1f} ms late; {self.skipped():.0f} skipped"

    @contextmanager
    def scraped(self, every: float = 5.0) -> Iterator[list[tuple[float, float]]]:
        """Scrapes it repeatedly in another thread. Yields the list of (began, ended) of each scrape, in seconds since
        the epoch."""
        stopped, spans = threading.Event(), list[tuple[float, float]]()

        def scrape() -> None:
            while not stopped.wait(every):
                began = time.time()
                self._asked_by_prometheus()
                spans.append((began, time.time()))

        thread = threading.Thread(target=scrape, daemon=True)
        thread.start()
        try:
            yield spans
        finally:
            stopped.set()
            thread.join()

    def _asked_by_prometheus(self) -> None:
        self.ask("/metrics", PROMETHEUS)

    def scrape_sizes(self) -> tuple[int, int]:
        """Returns the bytes of a scrape as Prometheus gets it, and as text."""
        return self.ask("/metrics", PROMETHEUS), self.ask("/metrics")

    @property
    def page(self) -> str:
        """The URL of its page."""
        return f"http://127.0.0.1:{self._controller.port}"

    def ask(self, path: str, headers: Mapping[str, str] | None = None) -> int:
        """Request a path from its web server, and read the whole answer. Returns the size of the answer in bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self._controller.port, timeout=30.0)
        with closing(connection):
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            size = len(answer.read())
            if answer.status != http.HTTPStatus.OK:
                raise AssertionError(f"{path}: {answer.status}")
        return size


class Scrape:
    """One answer of /metrics. Samples are selected by their name and by the text between the braces.

    prometheus_client's parser needs seconds for 10,000 checks.
    """

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for line in text.splitlines():
            if found := SAMPLE.fullmatch(line):
                self._samples[found[1]].append((found[2] or "", float(found[3])))

    def names(self) -> Collection[str]:
        return self._samples.keys()

    def sum(self, name: str, label: str = "") -> float:
        """Returns the sum of all samples of this name whose labels contain `label`, such as `result="success"`."""
        return sum(value for labels, value in self._samples.get(name, ()) if label in labels)

    def pods(self, name: str, label: str = "") -> set[str]:
        """Returns the pods for which such a sample is not 0."""
        samples = self._samples.get(name, ())
        return {labels.split('pod="')[1].split('"')[0] for labels, value in samples if value and label in labels}

    def by_label(self, name: str, label: str) -> Mapping[str, int]:
        """Returns how many samples of this name are not 0, for each value of a label."""
        found = (re.search(rf'{label}="(.*?)"', labels) for labels, value in self._samples.get(name, ()) if value)
        return Counter(each[1] for each in found if each)

    def totals(self, name: str, label: str) -> Mapping[str, float]:
        """Returns the sum of the samples of this name, for each value of a label."""
        totals: dict[str, float] = defaultdict(float)
        for labels, value in self._samples.get(name, ()):
            if found := re.search(rf'{label}="(.*?)"', labels):
                totals[found[1]] += value
        return totals

    def lateness_quantile(self, share: float, before: "Scrape") -> float:
        """Returns by how many seconds probes since `before` were late; linear within a bucket, as in Prometheus."""
        counts = self._lateness_since(before)
        rank, below, bound_below = share * (counts[-1][1] if counts else 0), 0.0, 0.0
        for bound, count in counts:
            if count >= rank and count > below:
                top = bound if bound != float("inf") else bound_below
                return bound_below + (top - bound_below) * (rank - below) / (count - below)
            below, bound_below = count, bound
        return 0.0

    def later_than(self, seconds: float, before: "Scrape") -> float:
        """Returns how many probes since `before` were late by more than `seconds`, which is a bound of the
        histogram."""
        counts = dict(self._lateness_since(before))
        return counts.get(float("inf"), 0.0) - counts.get(seconds, 0.0)

    def _lateness_since(self, before: "Scrape") -> list[tuple[float, float]]:
        earlier = dict(before._samples.get(f"{LATENESS}_bucket", ()))
        counts = self._samples.get(f"{LATENESS}_bucket", ())
        return [(float(labels.split('"')[1]), value - earlier.get(labels, 0.0)) for labels, value in counts]


def pod(port: int) -> str:
    """Returns the name of the pod on a port."""
    return f"pod-{port}"


@contextmanager
def running(
    targets: Targets, interval: float, options: Mapping[str, Any], line: TcpProxy | None = None
) -> Iterator[Podpulse]:
    """Runs a controller that has no pods yet. `options` are fields of its configuration file, by dotted name. It
    reaches Consul through `line`, if there is one.

    Its log goes to standard error if the body of the context fails.
    """
    with agent_beside(targets) as consul:
        if line:
            line.upstream = consul.http_port
            options = {"consul.address": f"http://127.0.0.1:{line.port}", **options}
        controller = Controller(**configuration(targets, consul, interval, options))
        try:
            controller.start()
            yield Podpulse(consul, controller, targets)
        except AssertionError as error:
            raise DidNotStart(str(error)) from error
        except BaseException:
            print(controller.log[-4000:], file=sys.stderr)
            raise
        finally:
            with redirect_stdout(io.StringIO()):
                controller.__exit__(None, None, None)


def agent_beside(targets: Targets) -> Agent:
    """Returns an agent that uses none of the targets' ports: Podpulse refuses to probe Consul's own port."""
    while (agent := Agent(programs.consul(), node=NODE, config=TELEMETRY)).http_port in range(
        targets.ports[0], targets.last_port + 1
    ):
        agent.__exit__(None, None, None)
    return agent


def configuration(targets: Targets, consul: Agent, interval: float, options: Mapping[str, Any]) -> Mapping[str, Any]:
    document: dict[str, Any] = {
        "node_name": NODE,
        "address": targets.address,
        "ca_file": str(targets.ca_file),
        "defaults": {"interval": f"{interval}s", "timeout": f"{interval}s"},
        "max_in_flight": 8192,
        "consul": {"address": consul.address},
    }
    for name, value in options.items():
        *above, last = name.split(".")
        section = document
        for each in above:
            section = section.setdefault(each, {})
        section[last] = value
    return document
