"""Consul hangs or is stopped for a while. Probes continue, and the current health is published afterwards."""

import itertools

import pytest

from tests.support.consul import Agent
from tests.support.controller import Controller, watch_for
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.standstills import Standstills
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

PODS = [f"pod-{number}" for number in range(20)]
TURNS = PODS[:5]
INTERVAL = 0.5
BOUND = 0.25
SILENT = "Consul has not answered since"
OFTEN = {"interval": f"{INTERVAL:g}s", "timeout": f"{INTERVAL:g}s"}


def turn_bad(target: Target) -> None:
    for pod in TURNS:
        target.behave(answer(503), f"/{pod}")


def right_again(fleet: Fleet) -> bool:
    """Whether every pod has a key with its current status, held by a live session."""
    return fleet.statuses() == {pod: "critical" if pod in TURNS else "passing" for pod in PODS}


def assert_asked_all_along(fleet: Fleet, since: dict[str, list[float]], pauses: Standstills) -> None:
    """Asserts that each pod was probed at its interval since `since`, except while the machine stood still."""
    for pod, asked in fleet.asked_by_pod().items():
        during = asked[len(since[pod]) - 1 :]
        assert len(during) >= 10, pod
        late = [pair for pair in itertools.pairwise(during) if pair[1] - pair[0] > INTERVAL + BOUND]
        assert [pair for pair in late if not pauses.within(*pair)] == [], pod


def assert_no_pod_was_removed(controller: Controller) -> None:
    metrics = controller.metrics()
    assert metrics.sum("podpulse_intents") == len(PODS)
    assert metrics.sum("podpulse_removals_held") == 0


@pytest.mark.slow
@pytest.mark.alone
def test_probes_continue_while_consul_is_frozen_and_health_is_published_again_afterwards(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.schedule(*PODS)
    controller = launch(consul, defaults=OFTEN)
    until(lambda: fleet.are("passing", PODS))
    until(lambda: all(len(asked) > 1 for asked in fleet.asked_by_pod().values()))
    before, said = fleet.asked_by_pod(), controller.log.count(SILENT)
    with Standstills() as pauses:
        consul.pause()
        turn_bad(target)
        watch_for(15)
        assert controller.log.count(SILENT) <= said + 1
        assert f"{SILENT} " in controller.get("/-/ready").text
        consul.resume()
        until(lambda: right_again(fleet), 10.0, "what is published is right again")
        assert_asked_all_along(fleet, before, pauses)
    assert_no_pod_was_removed(controller)


@pytest.mark.slow
@pytest.mark.alone
def test_probes_continue_while_consul_is_gone_and_health_is_published_again_afterwards(
    persistent_consul: Agent, launch: Launch, target: Target
) -> None:
    fleet = Fleet(persistent_consul, target)
    fleet.schedule(*PODS)
    controller = launch(persistent_consul, defaults=OFTEN)
    until(lambda: fleet.are("passing", PODS))
    until(lambda: all(len(asked) > 1 for asked in fleet.asked_by_pod().values()))
    before = fleet.asked_by_pod()
    with Standstills() as pauses:
        persistent_consul.kill()
        turn_bad(target)
        watch_for(6)
        persistent_consul.start()
        until(lambda: right_again(fleet), 10.0, "what is published is right again")
        assert_asked_all_along(fleet, before, pauses)
    assert_no_pod_was_removed(controller)


@pytest.mark.slow
def test_a_manifest_written_soon_after_consuls_return_is_probed_within_24_seconds(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    fleet.schedule("old")
    launch(consul)
    until(lambda: fleet.asked("old"))
    consul.pause()
    watch_for(5)
    consul.resume()
    fleet.schedule("new")
    until(lambda: fleet.asked("new"), 24.0, "the new pod is asked")
