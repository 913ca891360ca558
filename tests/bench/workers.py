"""The scenario `workers`: the engine alone, in this process, starts and stops checks whose targets hang.

So every stop finds a request in flight, which is the most expensive case.
"""

import os
import time
from collections.abc import Iterable, Mapping

from controller.probes.engine import ProbeEngine
from controller.runtime.heartbeat import Heartbeats
from reconcilers.health import ProbeResult
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
from tests.bench import process
from tests.bench.measure import Say, Work
from tests.bench.podpulse import pod
from tests.bench.report import Reach, Report, reached
from tests.bench.targets import NODE, PATH, Targets

ROUNDS = 3


class Nobody:
    """Receives the engine's results and ignores them."""

    def follow(self, _: Iterable[tuple[CheckSpec, int]]) -> Mapping[PodKey, float]:
        return {}

    def observe(self, results: Iterable[ProbeResult]) -> None:
        pass

    def started(self, lateness: float) -> None:
        pass

    def skipped(self, count: int) -> None:
        pass


def run(work: Work, say: Say) -> Report:
    """Starts all checks, waits until most of them wait for an answer, and stops all; three times."""
    with Targets(1, work.scheme, work.checks) as targets:
        engine = _engine(targets, work.checks)
        engine.run()
        try:
            rounds = [_round(engine, _specs(targets, work), work, say) for _ in range(ROUNDS)]
        finally:
            engine.close(5.0)
    started, in_flight, stopped, left = (max(each) for each in zip(*rounds, strict=True))
    reaches = [
        Reach(f"start {work.checks} workers, longest", started, "s", 1),
        Reach(f"stop {work.checks} workers, longest", stopped, "s", 1),
        Reach("descriptors in flight when stopped, most", in_flight, ""),
        Reach("descriptors left", left, "", 0),
    ]
    return reached(f"{work.checks} workers whose targets hang, {ROUNDS} times", work.as_json("workers"), reaches)


def _engine(targets: Targets, checks: int) -> ProbeEngine:
    return ProbeEngine(
        Nobody(), Nobody(), Heartbeats().new("probe", 5), ca_file=str(targets.ca_file), max_in_flight=checks + 64
    )


def _specs(targets: Targets, work: Work) -> list[CheckSpec]:
    return [
        CheckSpec(
            key=PodKey(NODE, pod(port)),
            probe=HttpGet(NODE, port, PATH, Tls() if work.scheme == "https" else None),
            interval=work.interval,
            timeout=work.interval,
            address=targets.address,
        )
        for port in targets.silent_ports
    ]


def _round(engine: ProbeEngine, specs: list[CheckSpec], work: Work, say: Say) -> tuple[float, int, float, int]:
    """Returns the seconds to start, the descriptors in flight, the seconds to stop, and the descriptors left
    afterwards."""
    before, began = _descriptors(), time.monotonic()
    engine.start(specs)
    engine.stop(())  # returns when the engine has started all: it handles calls in order
    started = time.monotonic() - began
    while _descriptors() - before < 0.9 * len(specs) and time.monotonic() - began < 2 * work.interval:
        time.sleep(0.05)
    in_flight, began = _descriptors() - before, time.monotonic()
    engine.stop([spec.key for spec in specs])
    stopped = time.monotonic() - began
    say(f"started in {started:.3f} s, {in_flight} in flight, stopped in {stopped:.3f} s")
    return started, in_flight, stopped, _descriptors() - before


def _descriptors() -> int:
    return process.descriptors(os.getpid())
