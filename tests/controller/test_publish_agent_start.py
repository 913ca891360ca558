"""The node of the Consul agent, and the first registration of a pod."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconcilers.health import HealthState, Reason
from tests.support.agent_sink import CRITICAL, ISUP, PASSING, Bench, sink_at
from tests.support.consul import Agent


@pytest.fixture
def bench(consul: Agent) -> Iterator[Bench]:
    with sink_at(consul) as one:
        yield one


def test_a_pod_that_is_being_deployed_is_not_registered_before_its_first_verdict(bench: Bench) -> None:
    """Consul could only show it as critical. The check of a registered service stays warning, so DNS answers it."""
    deploying = replace(CRITICAL, status=HealthState.UNKNOWN, reason=Reason.DEPLOYING)
    assert bench.sink.write([deploying], []) == {}
    assert (bench.services(), bench.sink.published(ISUP)) == ({}, None)
    bench.sink.write([PASSING], [])
    bench.sink.write([deploying], [])
    assert bench.status() == "warning"


def test_an_agent_of_another_node_causes_one_warning(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for node in ("WEB1", "web1.example.com", "web1.example.com"):
        bench.sink.leftovers(node)
    assert bench.asked.count("agent_node") == 2
    (message,) = caplog.messages
    assert message.startswith("the Consul agent is that of node web1: the services of node web1.example.com's pods")


def test_an_agent_that_refuses_to_name_its_node_causes_no_warning(
    consul_binary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Agent(consul_binary, acl=True) as agent:
        token = agent.create_token('service_prefix "" { policy = "write" }')
        with sink_at(agent, token=token) as denied:
            assert denied.sink.leftovers("web2") == frozenset()
            assert denied.asked[-1] == "agent_node"
    assert caplog.messages == []
