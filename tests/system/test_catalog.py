"""Pods on nodes without an agent in Consul's catalog: what readers of DNS, of the health API and of the UI see."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.dns import addresses
from tests.support.net import free_ports, until
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

NODE = "printer1"
NODES = [f"printer{number}" for number in range(12)]
JOINED_WITHIN = 60.0
TAKEN_OVER_WITHIN = 20.0


def schedule(consul: Agent, target: Target, *nodes: str) -> None:
    for node in nodes:
        consul.put(f"intent/{node}/page", manifest("page", target.port, f"/{node}"))


def passing(consul: Agent, service: str = "page") -> set[str]:
    """Returns the nodes of the service that DNS would answer with."""
    found = consul.request("GET", f"health/service/{service}?passing").json()
    return {each["Node"]["Node"] for each in found}


def external_nodes(consul: Agent) -> set[str]:
    found = consul.request("GET", "catalog/nodes?node-meta=external-node:true").json()
    return {each["Node"] for each in found}


def checks(consul: Agent) -> dict[str, dict[str, Any]]:
    """Returns the checks of the service by node."""
    return {each["Node"]: each for each in consul.request("GET", "health/checks/page").json()}


@pytest.mark.parametrize("publish", [["catalog"], ["kv", "catalog"]], ids=str)
def test_dns_answers_for_a_pod_on_a_node_without_an_agent(
    consul_binary: Path, launch: Launch, target: Target, publish: list[str]
) -> None:
    (port,) = free_ports(1)
    with Agent(consul_binary, config={"ports": {"dns": port}}) as consul:
        schedule(consul, target, NODE)
        controller = launch(consul, node_name=NODE, publish=publish, service={"tags": ["podpulse"]})
        until(lambda: addresses(port, "page.service.consul") == ["127.0.0.1"], what="DNS to answer the pod")
        assert addresses(port, f"{NODE}.node.consul") == ["127.0.0.1"]
        assert addresses(port, "podpulse.page.service.consul") == ["127.0.0.1"]
        assert controller.get("/-/ready").status == 200
        assert bool(consul.keys("health/")) == ("kv" in publish)

        target.behave(answer(503, b"no paper\n"))
        until(lambda: addresses(port, "page.service.consul") == [], what="DNS to leave out the pod")
        assert checks(consul)[NODE]["Status"] == "critical"
        assert "no paper" in checks(consul)[NODE]["Output"]
        target.behave(answer(200))
        until(lambda: addresses(port, "page.service.consul") == ["127.0.0.1"], what="DNS to answer the pod again")

        consul.delete(f"intent/{NODE}/page")
        until(lambda: external_nodes(consul) == set(), what="the node to go with its last pod")
        assert controller.terminate() == 0


def test_a_restart_changes_nothing_in_the_catalog(consul: Agent, launch: Launch, target: Target) -> None:
    schedule(consul, target, NODE)
    controller = launch(consul, node_name=NODE, publish=["catalog"])
    until(lambda: passing(consul) == {NODE})
    before = checks(consul)[NODE]["CreateIndex"]
    for end in (controller.terminate, controller.kill):
        end()
        target.clear()
        controller.start()
        until(lambda: len(target.hits(f"/{NODE}")) > 2, what="probes by the next run")
        assert passing(consul) == {NODE}
        assert checks(consul)[NODE]["CreateIndex"] == before


def test_what_a_dead_controller_left_is_removed_by_the_next_one(consul: Agent, launch: Launch, target: Target) -> None:
    schedule(consul, target, NODE)
    controller = launch(consul, node_name=NODE, publish=["catalog"])
    until(lambda: passing(consul) == {NODE})
    controller.kill()
    consul.delete(f"intent/{NODE}/page")
    assert passing(consul) == {NODE}, "nobody expires a check of the catalog"
    controller.start()
    until(lambda: external_nodes(consul) == set(), 30.0, "the node to go")


def test_with_on_stop_remove_nothing_is_left(consul: Agent, launch: Launch, target: Target) -> None:
    schedule(consul, target, NODE)
    controller = launch(consul, node_name=NODE, publish=["kv", "catalog"], on_stop="remove")
    until(lambda: passing(consul) == {NODE})
    assert controller.terminate() == 0
    assert external_nodes(consul) == set()


def test_a_node_with_an_agent_is_left_alone_and_named(consul: Agent, launch: Launch, target: Target) -> None:
    schedule(consul, target, consul.node)
    before = consul.request("GET", f"catalog/node/{consul.node}").json()["Services"].keys()
    controller = launch(consul, node_name=consul.node, publish=["catalog"], register=False)
    until(lambda: "are left alone in the catalog" in controller.log, what="the log to name the node")
    until(lambda: "has a Consul agent" in controller.get("/-/ready").text, 60.0, "the readiness to name it")
    assert consul.request("GET", f"catalog/node/{consul.node}").json()["Services"].keys() == before
    assert controller.log.count("are left alone in the catalog") == 1


# --- a fleet ---


@pytest.fixture
def members(consul: Agent, target: Target, launch: Launch) -> dict[str, Controller]:
    """Three members that have shared the pods among them."""
    schedule(consul, target, *NODES)
    names = ("m1", "m2", "m3")
    found = {name: launch(consul, ready=False, node_name=name, fleet="f", publish=["kv", "catalog"]) for name in names}
    until(lambda: passing(consul) == set(NODES), JOINED_WITHIN, "all pods to be in the catalog")
    until(lambda: writers(consul) == set(names), JOINED_WITHIN, "each member to have written")
    return found


def writers(consul: Agent) -> set[str]:
    """The members that have written the checks last."""
    return {each["Notes"].partition(" by ")[2].partition(",")[0] for each in checks(consul).values()}


@pytest.mark.slow
def test_the_heirs_of_a_killed_member_go_on_and_no_status_changes(
    consul: Agent, members: dict[str, Controller], target: Target
) -> None:
    members.pop("m2").kill()

    def is_taken_over() -> bool:
        assert passing(consul) == set(NODES)
        return writers(consul) == {"m1", "m3"}

    until(is_taken_over, TAKEN_OVER_WITHIN, "the heirs to have written")
    target.behave(answer(503))
    until(lambda: passing(consul) == set(), 30.0, "the heirs to see that the pods fail")
    assert len(checks(consul)) == len(NODES)
    target.behave(answer(200))
    until(lambda: passing(consul) == set(NODES), 30.0)
    for node in NODES:
        consul.delete(f"intent/{node}/page")
    until(lambda: external_nodes(consul) == set(), 60.0, "all nodes to go")


@pytest.mark.slow
def test_pods_that_went_while_all_members_were_dead_are_removed_by_the_next_member(
    consul: Agent, launch: Launch, target: Target
) -> None:
    schedule(consul, target, *NODES[:3])
    member = launch(consul, node_name="m1", fleet="f", publish=["catalog"])
    until(lambda: passing(consul) == set(NODES[:3]), JOINED_WITHIN, "all pods to be in the catalog")
    member.kill()
    for node in NODES[1:3]:
        consul.delete(f"intent/{node}/page")
    member.start()
    until(lambda: external_nodes(consul) == {NODES[0]}, 90.0, "the other nodes to go")
    assert passing(consul) == {NODES[0]}


def test_a_member_of_a_fleet_needs_no_kv(consul: Agent, launch: Launch, target: Target) -> None:
    schedule(consul, target, NODE)
    member = launch(consul, node_name="m1", fleet="f", publish=["catalog"])
    until(lambda: passing(consul) == {NODE}, JOINED_WITHIN)
    assert consul.keys("health/") == []
    assert member.terminate() == 0
    assert passing(consul) == {NODE}
