"""Whole controllers of a fleet: a member dies, or stops, and no reader of the health keys notices."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from reconcilers.keys import health_key
from reconcilers.share import FleetView
from reconcilers.spec import PodKey
from tests.support import targets
from tests.support.consul import Agent
from tests.support.controller import Controller, gaps, manifest
from tests.support.members import Reader
from tests.support.net import until
from tests.support.targets import Target

NAMES = ("m1", "m2", "m3")
NODES = [f"node{number}" for number in range(12)]
PODS = [PodKey(node, f"{node}-pod{number}") for node in NODES for number in range(25)]
BAD = frozenset(key for number, key in enumerate(PODS) if number % 5 == 0)
INTERVAL = 4.0
EXPIRED_WITHIN = 25.0
"""Seconds in which the session of a dead member has surely ended."""


class Members:
    """The controllers of a fleet, by name, and the pods that they check together."""

    def __init__(self, consul: Agent, target: Target, stack: ExitStack) -> None:
        self.consul = consul
        self.target = target
        self._stack = stack
        self.controllers = {name: self._start(name) for name in NAMES}

    def _start(self, name: str) -> Controller:
        options = {"interval": f"{INTERVAL:g}s", "timeout": "2s", "failure_threshold": 3}
        return self._stack.enter_context(
            Controller(
                ready=False, node_name=name, fleet="f", consul={"address": self.consul.address}, defaults=options
            )
        )

    def holders(self) -> dict[PodKey, str]:
        """The session that holds the key of each pod."""
        entries = self.consul.entries("health/")
        return {key: str(entries.get(health_key(key), {}).get("Session", "")) for key in PODS}

    def session(self, name: str) -> str:
        """The live session of a member; "" if there is none."""
        found = [id_ for id_, session in self.consul.sessions().items() if f":{name}:" in session["Name"]]
        return found[-1] if found else ""

    def are_owned_by(self, *names: str) -> Callable[[], bool]:
        """Whether the keys of all pods are held by the owners that a fleet of these members has."""
        view = FleetView(1, tuple(sorted(names)))

        def are() -> bool:
            sessions = {name: self.session(name) for name in names}
            return self.holders() == {key: sessions[view.owner(key.node) or ""] for key in PODS}

        return are

    def statuses(self) -> dict[PodKey, str]:
        entries = self.consul.entries("health/")
        published = {key: self.consul.get(health_key(key)) for key in PODS if health_key(key) in entries}
        return {key: json.loads(data)["Status"] for key, data in published.items() if data}

    def probes(self, key: PodKey) -> list[float]:
        return [hit.connected for hit in self.target.hits(f"/{key.pod}")]


@pytest.fixture
def members(consul: Agent, target: Target, stack: ExitStack) -> Members:
    """Three members that have published all pods: one of five is critical."""
    for key in PODS:
        if key in BAD:
            target.behave(targets.answer(503), f"/{key.pod}")
        consul.put(f"intent/{key.node}/{key.pod}", manifest(key.pod, target.port, f"/{key.pod}"))
    made = Members(consul, target, stack)
    until(made.are_owned_by(*NAMES), 60.0, "each member to hold the keys of its share")
    wanted = {key: "critical" if key in BAD else "passing" for key in PODS}
    until(lambda: made.statuses() == wanted, 60.0, "all pods to have their status")
    return made


def longest_gap(members: Members, since: float) -> float:
    """Returns the longest time in which a pod was not probed since then."""
    end = time.monotonic()
    probes = {key: [since, *(moment for moment in members.probes(key) if moment > since), end] for key in PODS}
    return max(max(gaps(moments)) for moments in probes.values())


@pytest.mark.slow
def test_nobody_notices_that_a_member_is_killed(members: Members) -> None:
    victim = "m2"
    dead = members.session(victim)
    with Reader(members.consul, frozenset(PODS), pause=0.05) as reader:
        killed_at = time.monotonic()
        members.controllers[victim].kill()
        until(members.are_owned_by("m1", "m3"), 20.0, "the heirs to hold all keys")
        taken_after = time.monotonic() - killed_at
        until(lambda: dead not in members.consul.sessions(), EXPIRED_WITHIN, "the session of the dead member to end")
        until(lambda: reader.reads > 100, EXPIRED_WITHIN)
    assert reader.faults == []
    assert reader.statuses == {health_key(key): {"critical" if key in BAD else "passing"} for key in PODS}
    assert taken_after < 20, "before its session ends"
    assert longest_gap(members, killed_at) < 12


@pytest.mark.slow
def test_nobody_notices_that_all_members_are_restarted_one_after_the_other(members: Members) -> None:
    with Reader(members.consul, frozenset(PODS), pause=0.05) as reader:
        began = time.monotonic()
        for name, controller in members.controllers.items():
            assert controller.terminate() == 0
            others = [each for each in NAMES if each != name]
            until(members.are_owned_by(*others), 20.0, f"the heirs of {name} to hold all keys")
            controller.start()
            until(members.are_owned_by(*NAMES), 40.0, f"{name} to hold its keys again")
    assert reader.faults == []
    assert reader.statuses == {health_key(key): {"critical" if key in BAD else "passing"} for key in PODS}
    assert longest_gap(members, began) < 12


@pytest.mark.slow
def test_a_member_that_was_frozen_does_not_write_keys_that_are_anothers_by_now(members: Members) -> None:
    frozen = members.controllers["m3"]
    with Reader(members.consul, frozenset(PODS), pause=0.05) as reader:
        frozen.pause()
        until(members.are_owned_by("m1", "m2"), 20.0, "the heirs to hold all keys")
        frozen.resume()
        until(members.are_owned_by(*NAMES), 40.0, "the member to join again")
    assert reader.faults == []
    assert reader.statuses == {health_key(key): {"critical" if key in BAD else "passing"} for key in PODS}


@pytest.mark.slow
def test_if_all_members_die_all_keys_are_gone(members: Members) -> None:
    for controller in members.controllers.values():
        controller.kill()
    until(lambda: members.consul.keys("health/") == [], EXPIRED_WITHIN, "all keys to be gone")
