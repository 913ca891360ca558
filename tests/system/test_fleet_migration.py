"""Pods move from the controllers of their nodes to a fleet, and back."""

import time
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from reconcilers.keys import health_key
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.controller import Controller, gaps, manifest
from tests.support.members import Reader
from tests.support.net import until
from tests.support.shares import is_held_as_shared, session_of_controller
from tests.support.targets import Target, answer

NODES = ("node1", "node2", "node3")
MEMBERS = ("m1", "m2")
PODS = [PodKey(node, f"{node}-{pod}") for node in NODES for pod in "abcd"]
WANTED = {key: "critical" if key.pod.endswith("d") else "passing" for key in PODS}
WITHIN = 60.0


def start(stack: ExitStack, consul: Agent, name: str, **options: Any) -> Controller:
    defaults = {"interval": "1s", "timeout": "500ms", "failure_threshold": 3}
    section = {"address": consul.address}
    return stack.enter_context(Controller(ready=False, node_name=name, consul=section, defaults=defaults, **options))


def is_ready(controller: Controller) -> bool:
    return controller.get("/-/ready").status == 200


def are_held_by_nodes(consul: Agent) -> bool:
    entries = consul.entries("health/")
    sessions = {node: session_of_controller(consul, node) for node in NODES}
    return all(sessions.values()) and all(
        entries.get(health_key(key), {}).get("Session") == sessions[key.node] for key in PODS
    )


def names_the_fleet(controller: Controller) -> bool:
    said = controller.get("/-/ready").text
    return "of member m" in said and "of fleet f (http://" in said and "so stop this controller" in said


def wait_for_probes(target: Target) -> None:
    """Wait for about three more probes of each pod."""
    enough = len(target.hits()) + 3 * len(PODS)
    until(lambda: len(target.hits()) >= enough, WITHIN, "three more probes of each pod")


def assert_unnoticed(read: Reader) -> None:
    """No reader has missed a key, or has seen it without a holder or with another status."""
    assert read.reads > 20
    assert read.faults == []
    assert read.statuses == {health_key(key): {status} for key, status in WANTED.items()}


def longest_gap(target: Target, since: float) -> float:
    moments: dict[str, list[float]] = {f"/{key.pod}": [since] for key in PODS}
    for hit in target.hits():
        if hit.connected > since:
            moments[hit.path].append(hit.connected)
    now = time.monotonic()
    return max(max(gaps([*each, now])) for each in moments.values())


@pytest.mark.slow
def test_pods_move_from_their_nodes_to_a_fleet_and_back_and_no_key_vanishes(
    consul: Agent, target: Target, stack: ExitStack
) -> None:
    for key, status in WANTED.items():
        target.behave(answer(503 if status == "critical" else 200), f"/{key.pod}")
        consul.put(f"intent/{key.node}/{key.pod}", manifest(key.pod, target.port, f"/{key.pod}"))
    controllers = {node: start(stack, consul, node) for node in NODES}
    until(lambda: are_held_by_nodes(consul), WITHIN, "the controllers of the nodes to hold their keys")
    began = time.monotonic()
    with Reader(consul, frozenset(PODS), pause=0.02) as read:
        members = {name: start(stack, consul, name, fleet="f") for name in MEMBERS}
        for member in members.values():
            until(partial(is_ready, member), WITHIN, "the members to be ready")
        until(lambda: is_held_as_shared(consul, PODS, *MEMBERS), WITHIN, "the members to hold all keys")
        for controller in controllers.values():
            until(partial(names_the_fleet, controller), WITHIN, "a controller of a node to say that a fleet checks it")
            assert controller.terminate() == 0
        wait_for_probes(target)
    print(f"to the fleet: no pod was without a probe for over {longest_gap(target, began):.1f} s")
    assert_unnoticed(read)
    log = "".join(member.log for member in members.values())
    assert all(f"took over health keys of node {node} from session" in log for node in NODES)

    began = time.monotonic()
    with Reader(consul, frozenset(PODS), pause=0.02) as read:
        for controller in controllers.values():
            controller.start()
            until(partial(names_the_fleet, controller), WITHIN, "a controller of a node to wait for its keys")
        assert members["m1"].terminate() == 0
        until(lambda: is_held_as_shared(consul, PODS, "m2"), WITHIN, "the last member to hold all keys")
        assert members["m2"].terminate() == 0
        until(lambda: are_held_by_nodes(consul), WITHIN, "the controllers of the nodes to hold their keys again")
        wait_for_probes(target)
    print(f"back: no pod was without a probe for over {longest_gap(target, began):.1f} s")
    assert_unnoticed(read)
    for controller in controllers.values():
        until(partial(is_ready, controller), WITHIN, "the controllers of the nodes to be ready")
