"""Runs a single probe now, in the same engine that the controller uses."""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from controller.probes.engine import ProbeEngine
from controller.runtime.heartbeat import Heartbeat
from reconcilers.health import ProbeResult
from reconcilers.spec import CheckSpec, PodKey
from reconcilers.target_guard import Guard

SLACK = 5.0
"""Seconds to wait beyond the probe's timeout. The engine ends every probe itself, so this wait is never used up."""


def probe_once(spec: CheckSpec, *, ca_file: str, guard: Guard) -> ProbeResult:
    """Run one probe of `spec` and return its result, within its timeout.

    Raises:
        TimeoutError: the engine did not end the probe.
    """
    first = _First()
    engine = ProbeEngine(
        first, _Untold(), Heartbeat("probe", SLACK, time.monotonic), ca_file=ca_file, max_in_flight=1, guard=guard
    )
    engine.run()
    try:
        engine.start([replace(spec, interval=max(spec.interval, spec.timeout))])
        return first.wait(spec.timeout + SLACK)
    finally:
        engine.close(SLACK)


class _First:
    """Keeps the first result."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._result: ProbeResult | None = None

    def follow(self, _: Iterable[tuple[CheckSpec, int]]) -> Mapping[PodKey, float]:
        """There is only one check with one generation."""
        return {}

    def observe(self, results: Iterable[ProbeResult]) -> None:
        for result in results:
            self._result = self._result or result
            self._came.set()

    def wait(self, seconds: float) -> ProbeResult:
        if not self._came.wait(seconds) or self._result is None:
            raise TimeoutError("the probe did not end")
        return self._result


class _Untold:
    """Discards the metrics of a single probe."""

    def started(self, lateness: float) -> None: ...
    def skipped(self, count: int) -> None: ...
