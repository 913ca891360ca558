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
from tests.support.recorders import FakeClock, RecordedProbes, RecordedResults
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
        clock: FakeClock | None = None,
        details: bool = False,
    ) -> None:
        """With `clock`, time passes for the engine only when the test says so."""
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
            details=details,
            ask=ask,
            ttl=ttl,
            may_probe=may_probe,
            clock=clock or time.monotonic,
            wall_clock=clock or time.time,
        )
        self.engine.run()

    def verdict(self, spec: CheckSpec) -> tuple[Outcome, Reason, str]:
        """Returns the result of the first probe of a check; see `result`."""
        result = self.result(spec)
        return result.outcome, result.reason, result.detail

    def result(self, spec: CheckSpec) -> ProbeResult:
        """Returns the result of the first probe of a check that the machine did not delay."""
        for _ in range(10):
            if not is_delayed(found := self._first_result(spec)):
                return found
        raise AssertionError(f"delayed too often: {found}")

    def _first_result(self, spec: CheckSpec) -> ProbeResult:
        before = len(self.results.all(spec.key))
        self.engine.start([spec])
        found = self.results.after(spec.key, before)
        self.engine.stop([spec.key])
        return found


def is_delayed(result: ProbeResult) -> bool:
    """Whether the engine says that it was late or overloaded: the machine or this process stood still."""
    return result.outcome is Outcome.LOCAL and result.detail.startswith("this controller ")


def spec(
    target: Target | BlackHole | int,
    pod: str = "isup",
    *,
    host: str = "localhost",
    interval: float = 60.0,
    timeout: float = 20.0,
    address: str | None = None,
    scheme: Literal["http", "https"] | None = None,
) -> CheckSpec:
    """The timeout may be longer than the interval, so that probes are frequent and succeed on a busy machine too."""
    port = target if isinstance(target, int) else target.port
    if not scheme:
        scheme = "https" if isinstance(target, Target) and target.tls else "http"
    probe = HttpGet(host, port, f"/{pod}", Tls() if scheme == "https" else None)
    return CheckSpec(PodKey("web1", pod), probe, interval, timeout, address=address)


def gaps(moments: Iterable[float]) -> list[float]:
    ordered = list(moments)
    return [later - earlier for earlier, later in itertools.pairwise(ordered)]
