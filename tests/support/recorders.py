"""Observers for tests. They record the calls of the controller's parts, and a test waits for a record."""

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from controller.probes.engine import Observer
from reconcilers.health import ProbeResult
from reconcilers.spec import CheckSpec, PodKey
from tests.support.net import until


@dataclass
class FakeClock:
    """A clock in seconds that the test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class RecordedQueue:
    """`QueueMetrics` that counts."""

    adds: int = 0
    retries: int = 0
    waits: list[float] = field(default_factory=list)
    works: list[float] = field(default_factory=list)

    def added(self) -> None:
        self.adds += 1

    def got(self, waited: float) -> None:
        self.waits.append(waited)

    def done(self, worked: float) -> None:
        self.works.append(worked)

    def retried(self) -> None:
        self.retries += 1


@dataclass
class RecordedLoop:
    """`LoopMetrics` that counts."""

    results: dict[str, int] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)

    def reconciled(self, result: str, count: int) -> None:
        self.results[result] = self.results.get(result, 0) + count

    def took(self, seconds: float) -> None:
        self.durations.append(seconds)


@dataclass
class RecordedProbes:
    """`ProbeMetrics` that counts."""

    lateness: list[float] = field(default_factory=list)
    skips: int = 0

    def started(self, lateness: float) -> None:
        self.lateness.append(lateness)

    def skipped(self, count: int) -> None:
        self.skips += count


class RecordedResults(Observer):
    """An `Observer` that keeps every result of any generation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: list[ProbeResult] = []
        self.followed: list[tuple[CheckSpec, int]] = []
        self.before: dict[PodKey, float | None] = {}
        """The times of the last probes of an earlier run. None if another controller has probed the pod until now."""

    def follow(self, specs: Iterable[tuple[CheckSpec, int]]) -> Mapping[PodKey, float | None]:
        self.followed += specs
        return self.before

    def observe(self, results: Iterable[ProbeResult]) -> None:
        with self._lock:
            self._results += results

    def all(self, key: PodKey | None = None) -> list[ProbeResult]:
        """Returns every result so far, or those of one pod, the oldest first."""
        with self._lock:
            return [result for result in self._results if key in {None, result.key}]

    def first(self, key: PodKey, within: float = 10.0) -> ProbeResult:
        """Waits for the first result of a pod and returns it."""
        until(lambda: self.all(key), within, f"a result of {key}")
        return self.all(key)[0]

    def after(self, key: PodKey, count: int, within: float = 10.0) -> ProbeResult:
        """Waits for the result after the first `count` results of a pod and returns it."""
        until(lambda: len(self.all(key)) > count, within, f"result {count + 1} of {key}")
        return self.all(key)[count]


class Announced:
    """Records the changed pods, as a queue would."""

    def __init__(self) -> None:
        self.batches: list[frozenset[PodKey]] = []

    def __call__(self, keys: Collection[PodKey]) -> None:
        self.batches.append(frozenset(keys))

    def keys(self) -> frozenset[PodKey]:
        return frozenset().union(*self.batches)
