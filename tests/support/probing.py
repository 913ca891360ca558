"""A probe engine for a test, and its results."""

import itertools
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from controller.probes.engine import ProbeEngine
from controller.probes.resolver import Answer, ask_system
from controller.runtime.heartbeat import Heartbeat
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
from reconcilers.target_guard import Guard
from tests.support.recorders import RecordedProbes, RecordedResults
from tests.support.targets import BlackHole, Target


class Bench:
    """An engine and its results."""

    def __init__(
        self,
        ca_file: Path,
        *,
        max_in_flight: int = 500,
        results: RecordedResults | None = None,
        guard: Guard | None = None,
        ask: Callable[[str], Answer] = ask_system,
        ttl: Callable[[str, str], float | None] | None = None,
        may_probe: Callable[[str], bool] | None = None,
    ) -> None:
        self.results = results or RecordedResults()
        self.metrics = RecordedProbes()
        self.heartbeat = Heartbeat("probe", 5, time.monotonic)
        self.engine = ProbeEngine(
            self.results,
            self.metrics,
            self.heartbeat,
            ca_file=str(ca_file),
            max_in_flight=max_in_flight,
            guard=guard,
            ask=ask,
            ttl=ttl,
            may_probe=may_probe,
        )
        self.engine.run()

    def verdict(self, spec: CheckSpec) -> tuple[Outcome, Reason, str]:
        """Returns the result of the first probe of a check."""
        result = self.result(spec)
        return result.outcome, result.reason, result.detail

    def result(self, spec: CheckSpec) -> ProbeResult:
        before = len(self.results.all(spec.key))
        self.engine.start([spec])
        found = self.results.after(spec.key, before)
        self.engine.stop([spec.key])
        return found


def spec(
    target: Target | BlackHole | int,
    pod: str = "isup",
    *,
    host: str = "localhost",
    interval: float = 60.0,
    timeout: float = 5.0,
    address: str | None = None,
    scheme: Literal["http", "https"] | None = None,
) -> CheckSpec:
    port = target if isinstance(target, int) else target.port
    if not scheme:
        scheme = "https" if isinstance(target, Target) and target.tls else "http"
    probe = HttpGet(host, port, f"/{pod}", Tls() if scheme == "https" else None)
    return CheckSpec(PodKey("web1", pod), probe, interval, min(timeout, interval), address=address)


def gaps(moments: Iterable[float]) -> list[float]:
    ordered = list(moments)
    return [later - earlier for earlier, later in itertools.pairwise(ordered)]
