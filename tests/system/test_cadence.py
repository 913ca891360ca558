"""The targets' logs show how often they were probed."""

import itertools
from contextlib import ExitStack

import pytest

from tests.support.consul import Agent
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.standstills import Standstills
from tests.support.targets import Target
from tests.system.conftest import Launch

PODS = [f"pod-{number}" for number in range(200)]
TARGETS = 100
INTERVAL = 2.0
TURNS = 12
BOUND = 0.25


@pytest.mark.slow
@pytest.mark.alone
def test_two_hundred_pods_are_each_probed_every_two_seconds(consul: Agent, launch: Launch, stack: ExitStack) -> None:
    """The pods use many ports, as real pods do. With a single port the kernel reuses a local port within a minute, and
    drops some SYN packets, which are sent again a second later (TcpExtPAWSTimewait counts them)."""
    fleets = [Fleet(consul, stack.enter_context(Target())) for _ in range(TARGETS)]
    for number, pod in enumerate(PODS):
        fleets[number % TARGETS].schedule(pod)

    def asked_by_pod() -> dict[str, list[float]]:
        return {pod: times for fleet in fleets for pod, times in fleet.asked_by_pod().items()}

    with Standstills() as pauses:
        controller = launch(consul, defaults={"interval": f"{INTERVAL:g}s", "timeout": "1s"})
        until(lambda: asked_by_pod().keys() == set(PODS), INTERVAL + 1, "every pod is asked within one interval")
        until(lambda: all(len(times) >= TURNS + 3 for times in asked_by_pod().values()), 2 * TURNS * INTERVAL)

    # without the first two: one comes at once, and another one may precede those in phase
    in_phase = [pair for times in asked_by_pod().values() for pair in itertools.pairwise(times[2 : TURNS + 3])]
    prompt = [late - early for early, late in in_phase if not pauses.within(early - INTERVAL, late)]
    worst = sorted(abs(gap - INTERVAL) for gap in prompt)
    print(f"{len(worst)} gaps: worst {worst[-1]:.3f} s off, 99.9 % {worst[int(len(worst) * 0.999)]:.3f} s")
    assert len(worst) > len(in_phase) / 4, "the machine stood still too often"
    assert worst[-1] <= BOUND
    assert controller.metrics().sum("podpulse_probes_skipped_total") == 0 or pauses.seconds


def test_the_probes_in_the_metrics_are_those_in_the_targets_log(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    fleet.schedule(*PODS[:20])
    controller = launch(consul)

    def agree() -> bool:
        before = {pod: len(times) for pod, times in fleet.asked_by_pod().items()}
        counted = controller.metrics().by_pod("podpulse_probes_total", result="success")
        return counted == before and min(before.values()) >= 5

    until(agree, what="the metrics count what the target's log shows")
