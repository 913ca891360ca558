"""The controller's own metrics, and the objects through which its parts update them.

Queues and loops use the names of client-go and controller-runtime, so dashboards for these work. A module that updates
metrics does not import prometheus_client: it declares a Protocol of them, and gets one of these objects.

The series of single checks are not here: `controller.web.exposition` reads them from the stores at each scrape.
"""

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, product

import pycurl
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from reconcilers.ignored import Ignored

LATENESS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
WORK_BUCKETS = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 60.0)
REQUEST_OUTCOMES = ("ok", "unavailable", "refused")
RECONCILE_RESULTS = ("success", "error", "requeue", "requeue_after")


class Metrics:
    """All metrics of one controller.

    A gauge with one owner is an attribute, which its owner `set`s. Timestamps are seconds since the epoch, 0 if there
    is none. The other metrics are updated through `consul`, `probes`, `queue` and `loop`.
    """

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        facts = {"version": version, "python": platform.python_version(), "libcurl": pycurl.version_info()[1]}
        self._gauge("build_info", "Versions in use; always 1.", *facts).labels(**facts).set(1)
        self.time = self._gauge("time_seconds", "The controller's time at the scrape, to compare with its timestamps.")
        self.ready = self._gauge("ready", "Whether /-/ready answers 200.")
        self.healthy = self._gauge("healthy", "Whether /-/healthy answers 200: no thread hangs.")
        self.cut_off = self._gauge("cut_off", "Whether this node is cut off: every check and the canary fail.")
        self.intents = self._gauge("intents", "Pods with a known manifest.")
        self.reload_successful = self._gauge(
            "config_last_reload_successful", "Whether the last reload of the configuration succeeded."
        )
        self.reload_success_time = self._gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was last reloaded successfully, or read at the start.",
        )
        self.pods_damped = self._gauge("pods_damped", "Pods published as unknown because their status flaps.")
        self.pods_deploying = self._gauge(
            "pods_deploying", "Pods published as unknown because they are being deployed."
        )
        self.probes_kept = self._gauge(
            "probes_kept_ratio",
            "The started share of the probes due in about the last minute; below 1 the controller is overloaded.",
        )
        self.changes_suppressed = ReadCounter(
            registry, "changes_suppressed", "Status changes that were not published because the pod was flapping."
        )
        self.thread_faults = ReadCounter(
            registry,
            "thread_faults",
            "Unexpected exceptions, each of which ended one turn of a thread or one item; the log has the traceback.",
            "thread",
        )
        self._unpublished = self._gauge(
            "pods_unpublished", "Pods whose health has not been published or deleted for over 30 s, by place.", "place"
        )
        self.consul = ConsulMetrics(registry)
        self.probes = ProbeMetrics(registry)
        self._queues = _QueueFamilies(registry)
        self._loops = _LoopFamilies(registry)

    def removals_held(self, count: Callable[[], int], why: Callable[[], str]) -> None:
        """Reads at each scrape how many pods are kept although they are missing, and why ("" if there are none)."""
        text = "Pods that are missing in the last listing and kept until their removal is certain."
        self._gauge("removals_held", text).set_function(count)
        ReadInfo(self.registry, "removals_held_info", "Why removals are held; absent if none is.", "detail", why)

    def ignored(self, count: Callable[[Ignored], int]) -> None:
        """Reads `count` of each reason at each scrape."""
        text = "Keys among the manifests that name no pod to check: p2's UUID pods, invalid names, and others."
        gauge = self._gauge("intents_ignored", text, "reason")
        for reason in Ignored:
            gauge.labels(reason.value).set_function(partial(count, reason))

    def watch(self, *, last_success: Callable[[], float], last_change: Callable[[], float]) -> None:
        """Reads at each scrape when the manifests were last listed, and when one of them last changed."""
        text = "When the manifests were last listed successfully."
        self._gauge("watch_last_success_timestamp_seconds", text).set_function(last_success)
        text = (
            "When this controller last read that a manifest was added, changed or removed; 0 if never since its start."
        )
        self._gauge("manifest_last_change_timestamp_seconds", text).set_function(last_change)

    def lease(self, expires_at: Callable[[], float], failure: Callable[[], str]) -> None:
        """Reads the end of the lease at each scrape, and why it cannot be renewed ("" while it can). A controller
        without a lease has no such series."""
        text = "When the Consul session ends unless it is renewed; 0 if there is none."
        self._gauge("session_expires_timestamp_seconds", text).set_function(expires_at)
        text = "Why the Consul session cannot be renewed or created; absent while it can."
        ReadInfo(self.registry, "session_failure_reason", text, "reason", failure)

    def fleet(
        self,
        *,
        members: Callable[[], int],
        nodes_owned: Callable[[], int],
        takeovers: Callable[[], int],
        view_index: Callable[[], int],
    ) -> None:
        """Reads the state of the fleet at each scrape. A controller without a fleet has no such series."""
        registry = self.registry
        for name, text, read in (
            ("members", "Members of the fleet, as this controller sees it.", members),
            ("nodes_owned", "Nodes whose pods this controller checks.", nodes_owned),
            ("view_index", "Consul's index of the members that this controller knows.", view_index),
        ):
            Gauge(f"podpulse_fleet_{name}", text, registry=registry).set_function(read)
        text = "Health keys that this controller took over from other members."
        ReadCounter(registry, "fleet_takeovers", text).read(lambda: {"": takeovers()})

    def unpublished(self, place: str, count: Callable[[], int]) -> None:
        """Reads at each scrape for how many pods publication in `place` is overdue."""
        self._unpublished.labels(place).set_function(count)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"podpulse_{name}", text, labels, registry=self.registry)

    def queue(self, name: str) -> "QueueMetrics":
        """Returns the metrics of the work queue `name`. Call it once per queue."""
        return QueueMetrics(self._queues, name)

    def loop(self, controller: str) -> "LoopMetrics":
        """Returns the metrics of the control loop `controller`. Call it once per loop."""
        return LoopMetrics(self._loops, controller)


class ReadCounter(Collector):
    """A counter for each value of `labels`. They are read at each scrape, by the value of the label, "" without one."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, *labels: str) -> None:
        self._name = f"podpulse_{name}"
        self._text = text
        self._labels = labels
        self._values: Callable[[], Mapping[str, int]] = lambda: {} if labels else {"": 0}
        registry.register(self)

    def read(self, values: Callable[[], Mapping[str, int]]) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for label, value in self._values().items():
            family.add_metric([label] if self._labels else [], value)
        yield family


class ReadInfo(Collector):
    """A series with the value 1 and a text as its label, which is read at each scrape. It is absent for ""."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, label: str, value: Callable[[], str]) -> None:
        self._name = f"podpulse_{name}"
        self._text = text
        self._label = label
        self._value = value
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        if value := self._value():
            family.add_metric([value], 1)
        yield family


class ConsulMetrics:
    """Requests to Consul. `op` is the kind of request, `outcome` one of `REQUEST_OUTCOMES`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "podpulse_consul_requests_total", "Requests to Consul, by outcome.", ["op", "outcome"], registry=registry
        )
        self._duration = Histogram(
            "podpulse_consul_request_duration_seconds",
            "How long Consul took to answer, including the wait of a blocking query.",
            ["op"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )

    def expect(self, operations: Iterable[str]) -> None:
        """Shows the counters of these operations as 0, so that the first refusal is an increase."""
        for op, outcome in product(operations, REQUEST_OUTCOMES):
            self._requests.labels(op, outcome)

    def request(self, op: str, outcome: str, seconds: float) -> None:
        self._requests.labels(op, outcome if outcome in REQUEST_OUTCOMES else "unavailable").inc()
        self._duration.labels(op).observe(seconds)


class ProbeMetrics:
    """The punctuality of the engine, over all checks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        lateness = Lateness()
        registry.register(lateness)
        self.started = lateness.observe
        """Counts a probe that started this number of seconds after it was due."""
        self._skipped = Counter(
            "podpulse_probes_skipped_total",
            "Probes that were skipped because the one before was in flight, or because they were overdue.",
            registry=registry,
        )

    def skipped(self, count: int) -> None:
        self._skipped.inc(count)


class Lateness(Collector):
    """A histogram without a lock, which only the probe thread updates, once per probe. prometheus_client's histogram
    takes longer than all other counting of a probe, because it locks and visits all buckets."""

    def __init__(self) -> None:
        self._counts = [0] * (len(LATENESS_BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(LATENESS_BUCKETS, seconds)] += 1
        if seconds > 0.0:
            self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        bounds = [*map(str, LATENESS_BUCKETS), "+Inf"]
        text = "How long a probe started after it was due and the probe before it had ended."
        family = HistogramMetricFamily("podpulse_probe_lateness_seconds", text)
        family.add_metric([], list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)
        yield family


class _QueueFamilies:
    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"workqueue_{name}", text, ["name"], registry=registry)

        def counter(name: str, text: str) -> Counter:
            return Counter(f"workqueue_{name}", text, ["name"], registry=registry)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(f"workqueue_{name}", text, ["name"], buckets=WORK_BUCKETS, registry=registry)

        self.depth = gauge("depth", "Keys that wait in the queue.")
        self.adds = counter("adds_total", "Keys that were added to the queue.")
        self.waited = histogram("queue_duration_seconds", "How long keys waited in the queue.")
        self.worked = histogram("work_duration_seconds", "How long the work on keys took.")
        self.retries = counter("retries_total", "Keys that were queued again because work on them failed.")
        self.unfinished = gauge("unfinished_work_seconds", "The time that all keys now in work have taken so far.")
        self.longest = gauge(
            "longest_running_processor_seconds", "The time that the oldest key now in work has taken so far."
        )


class QueueMetrics:
    """The metrics of one work queue."""

    def __init__(self, families: _QueueFamilies, name: str) -> None:
        self._depth = families.depth.labels(name)
        self._adds = families.adds.labels(name)
        self._waited = families.waited.labels(name)
        self._worked = families.worked.labels(name)
        self._retries = families.retries.labels(name)
        self._unfinished = families.unfinished.labels(name)
        self._longest = families.longest.labels(name)

    def added(self) -> None:
        self._adds.inc()

    def got(self, waited: float) -> None:
        """Counts a key that was taken after `waited` seconds in the queue."""
        self._waited.observe(waited)

    def done(self, worked: float) -> None:
        """Counts a key whose work took `worked` seconds."""
        self._worked.observe(worked)

    def retried(self) -> None:
        self._retries.inc()

    def read(self, depth: Callable[[], int], working: Callable[[], Sequence[float]]) -> None:
        """Reads at each scrape the number of waiting keys, and the seconds that each key in work has been in work."""
        self._depth.set_function(depth)
        self._unfinished.set_function(lambda: sum(working()))
        self._longest.set_function(lambda: max(working(), default=0.0))


class _LoopFamilies:
    def __init__(self, registry: CollectorRegistry) -> None:
        name, label = "controller_runtime_reconcile", "controller"
        self.total = Counter(f"{name}_total", "Reconciled keys, by result.", [label, "result"], registry=registry)
        self.errors = Counter(f"{name}_errors_total", "Keys whose reconciliation failed.", [label], registry=registry)
        self.time = Histogram(
            f"{name}_time_seconds",
            "How long one step of a loop took, with a batch of keys.",
            [label],
            buckets=WORK_BUCKETS,
            registry=registry,
        )


class LoopMetrics:
    """The metrics of one control loop."""

    def __init__(self, families: _LoopFamilies, controller: str) -> None:
        self._results = {result: families.total.labels(controller, result) for result in RECONCILE_RESULTS}
        self._errors = families.errors.labels(controller)
        self._time = families.time.labels(controller)

    def reconciled(self, result: str, count: int) -> None:
        """Counts `count` keys with `result`, one of `RECONCILE_RESULTS`."""
        self._results[result].inc(count)
        if result == "error":
            self._errors.inc(count)

    def took(self, seconds: float) -> None:
        self._time.observe(seconds)
