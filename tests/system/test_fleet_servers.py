"""Members of a fleet whose agents answer and reach no server: one agent is cut off, or all servers are lost.

A member cannot distinguish the two. So it goes on in both cases, and publishes nothing.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.controller import Controller
from tests.support.net import until
from tests.support.targets import Target
from tests.system import test_fleet as fleet
from tests.system.conftest import Launch

WITHIN = 60.0
SESSION_ENDED = 25.0
"""Seconds without renewals in which a session has surely ended."""

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(consul_binary: Path) -> Iterator[Cluster]:
    """Each member has an agent of its own."""
    with Cluster(consul_binary, others=["web2"]) as cluster:
        yield cluster


@pytest.fixture
def both(cluster: Cluster, target: Target, launch: Launch) -> tuple[Controller, Controller]:
    """Two members that share the pods."""
    fleet.schedule(cluster.agent, target)
    agents = [cluster.agent, *cluster.others]
    first, second = (fleet.start(launch, agent, f"m{number}") for number, agent in enumerate(agents, 1))
    for member in (first, second):
        until(partial(fleet.is_ready, member), fleet.JOINED_WITHIN, "both members to be ready")
    until(lambda: fleet.all_share([first, second]), fleet.JOINED_WITHIN)
    until(lambda: cluster.agent.entries("health/").keys() == fleet.all_keys(), fleet.JOINED_WITHIN)
    return first, second


def probes(member: Controller) -> float:
    return member.metrics().sum("podpulse_probes_total")


def test_nobody_notices_that_the_agent_of_a_member_is_cut_off_from_the_servers(
    cluster: Cluster, both: tuple[Controller, Controller], target: Target
) -> None:
    first, second = both
    [agent] = cluster.others
    share = fleet.intents(second)
    with fleet.Readers(cluster.agent).reading() as readers:
        cluster.cut_off(agent)
        cut_off = time.monotonic()
        until(lambda: fleet.intents(first) == len(fleet.PATHS), WITHIN, "the heir to check all pods")
        until(lambda: len(fleet.holders(cluster.agent)) == 1, WITHIN, "the heir to hold all keys")
        before = probes(second)
        until(lambda: time.monotonic() - cut_off > SESSION_ENDED, WITHIN, "the session of the other one to end")
        until(lambda: "may check the same pods" in second.get("/-/ready").text, WITHIN)
        assert fleet.intents(second) == share, "it cannot know that the servers are not lost"
        assert probes(second) > before
        assert len(fleet.holders(cluster.agent)) == 1
        cluster.rejoin(agent)
        until(lambda: fleet.all_share(both), WITHIN, "both to share the pods again")
        until(lambda: len(fleet.holders(cluster.agent)) == 2, WITHIN, "both to hold keys")
        until(partial(fleet.is_ready, second), WITHIN)
        target.clear()
        until(lambda: len(target.hits()) > 5 * len(fleet.PATHS), WITHIN)
        assert max(map(len, fleet.hits_by_path(target).values())) <= 7, "no pod is probed by both"
    assert readers.missing == set()
    assert readers.without_holder == set()
    assert readers.statuses == {"passing"}


def test_no_pod_is_without_probes_when_all_servers_are_lost(
    cluster: Cluster, both: tuple[Controller, Controller], target: Target
) -> None:
    for server in cluster.servers:
        server.kill()
    lost = time.monotonic()
    until(lambda: time.monotonic() - lost > SESSION_ENDED, WITHIN, "the sessions of both to end")
    for member in both:
        until(lambda member=member: "may check the same pods" in member.get("/-/ready").text, WITHIN)  # type: ignore[misc]
    assert fleet.all_share(both)
    target.clear()
    until(lambda: all(len(times) > 3 for times in fleet.hits_by_path(target).values()), WITHIN, "every pod's probes")
    for server in cluster.servers:
        server.start(wait=False)
    until(lambda: cluster.agent.entries("health/").keys() == fleet.all_keys(), WITHIN, "all pods to be published")
    until(lambda: fleet.all_share(both), WITHIN)
