"""Whole controllers of a fleet: a member dies, stops or stands still, and no reader of the health keys notices."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from reconcilers.keys import health_key
from reconcilers.share import FleetView
from reconcilers.spec import PodKey
from tests.support import targets
from tests.support.cluster import Cluster
from tests.support.consul import Agent
from tests.support.controller import Controller, gaps, manifest
from tests.support.members import Reader
from tests.support.net import until
from tests.support.shares import is_held_as_shared, session_of_controller
from tests.support.standstills import Standstills
from tests.support.targets import Target

NAMES = ("m1", "m2", "m3")
THRESHOLD = 3
EXPIRED_WITHIN = 25.0
"""Seconds in which the session of a dead member has surely ended."""
JOINED_WITHIN = 40.0
TAKEN_WITHIN = 20.0
"""Seconds in which a dead member's keys must be taken over, because its session may end then."""
PROBED_WITHIN = 12.0


class Members:
    """The controllers of a fleet, by name, and the pods that they check together. One pod of five is critical."""

    def __init__(self, consul: Agent, target: Target, stack: ExitStack, pods: int, interval: float) -> None:
        self.consul = consul
        self.target = target
        self.interval = interval
        nodes = [f"node{number:02}" for number in range(12)]
        self.pods = [PodKey(node, f"{node}-pod{number}") for number in range(pods // len(nodes)) for node in nodes]
        self.wanted = {key: "passing" if number % 5 else "critical" for number, key in enumerate(self.pods)}
        for key, status in self.wanted.items():
            if status == "critical":
                target.behave(targets.answer(503), f"/{key.pod}")
            consul.put(f"intent/{key.node}/{key.pod}", manifest(key.pod, target.port, f"/{key.pod}"))
        self.controllers = {name: stack.enter_context(self._start(name)) for name in NAMES}
        until(self.are_owned_by(*NAMES), 2 * JOINED_WITHIN, "each member to hold the keys of its share")
        until(lambda: self.statuses() == self.wanted, 2 * JOINED_WITHIN, "all pods to have their status")

    def _start(self, name: str) -> Controller:
        options = {"interval": f"{self.interval:g}s", "timeout": "2s", "failure_threshold": THRESHOLD}
        section = {"address": self.consul.address}
        return Controller(ready=False, node_name=name, fleet="f", consul=section, defaults=options)

    def session(self, name: str) -> str:
        """The live session of a member; "" if there is none."""
        return session_of_controller(self.consul, name)

    def are_owned_by(self, *names: str) -> Callable[[], bool]:
        """Whether the keys of all pods are held by the owners that a fleet of these members has."""
        return partial(is_held_as_shared, self.consul, self.pods, *names)

    def owned_by(self, name: str) -> list[PodKey]:
        """The pods that a member of the whole fleet checks."""
        view = FleetView(1, NAMES)
        return [key for key in self.pods if view.owner(key.node) == name]

    def statuses(self) -> dict[PodKey, str]:
        found = self.consul.values("health/")
        keys = {key: health_key(key) for key in self.pods}
        return {key: json.loads(found[name])["Status"] for key, name in keys.items() if name in found}

    def longest_gap(self, since: float) -> float:
        """The longest time in which any pod was not probed since then."""
        moments: dict[str, list[float]] = {f"/{key.pod}": [since] for key in self.pods}
        for hit in self.target.hits():
            if hit.connected > since:
                moments[hit.path].append(hit.connected)
        now = time.monotonic()
        return max(max(gaps([*each, now])) for each in moments.values())

    def assert_unnoticed(self, reader: Reader) -> None:
        """No reader has missed a key, or has seen it without a holder or with another status."""
        assert reader.faults == []
        assert reader.statuses == {health_key(key): {status} for key, status in self.wanted.items()}


@pytest.fixture
def members(consul: Agent, target: Target, stack: ExitStack) -> Members:
    """Three members that have published 300 pods."""
    return Members(consul, target, stack, 300, 4.0)


def reader(members: Members) -> Reader:
    return Reader(members.consul, frozenset(members.pods), pause=0.05)


def kill_unnoticed(members: Members) -> None:
    dead = members.session("m2")
    with reader(members) as read, Standstills() as pauses:
        killed_at = time.monotonic()
        members.controllers["m2"].kill()
        until(members.are_owned_by("m1", "m3"), TAKEN_WITHIN, "the heirs to hold all keys")
        until(lambda: dead not in members.consul.sessions(), EXPIRED_WITHIN, "the session of the dead member to end")
        until(lambda: read.reads > 20, EXPIRED_WITHIN)
    members.assert_unnoticed(read)
    assert members.longest_gap(killed_at) < PROBED_WITHIN + pauses.seconds


@pytest.mark.slow
def test_nobody_notices_that_a_member_is_killed(members: Members) -> None:
    kill_unnoticed(members)


@pytest.mark.long
def test_nobody_notices_that_a_member_with_a_thousand_pods_is_killed(
    consul_binary: Path, target: Target, stack: ExitStack
) -> None:
    cluster = stack.enter_context(Cluster(consul_binary))
    kill_unnoticed(Members(cluster.agent, target, stack, 3000, 10.0))


@pytest.mark.slow
def test_what_changes_while_a_member_is_dead_is_published_by_its_heirs(members: Members) -> None:
    ill, removed, *_ = [key for key in members.owned_by("m2") if members.wanted[key] == "passing"]
    with reader(members) as read:
        members.controllers["m2"].kill()
        members.consul.delete(f"intent/{removed.node}/{removed.pod}")
        members.target.behave(targets.answer(503), f"/{ill.pod}")
        until(lambda: members.consul.get(health_key(removed)) is None, TAKEN_WITHIN, "the removed pod's key to go")
        within = PROBED_WITHIN + (THRESHOLD + 1) * members.interval
        until(lambda: "critical" in read.statuses[health_key(ill)], within, "the reader to see the ill pod as critical")
    others = {health_key(key): {status} for key, status in members.wanted.items() if key not in {ill, removed}}
    assert {key: statuses for key, statuses in read.statuses.items() if key in others} == others
    assert read.statuses[health_key(ill)] == {"passing", "critical"}
    assert not [fault for fault in read.faults if health_key(removed) not in fault]


@pytest.mark.slow
def test_nobody_notices_that_all_members_are_restarted_one_after_the_other(members: Members) -> None:
    with reader(members) as read, Standstills() as pauses:
        began = time.monotonic()
        for name, controller in members.controllers.items():
            assert controller.terminate() == 0
            others = [each for each in NAMES if each != name]
            until(members.are_owned_by(*others), TAKEN_WITHIN, f"the heirs of {name} to hold all keys")
            controller.start()
            until(members.are_owned_by(*NAMES), JOINED_WITHIN, f"{name} to hold its keys again")
    members.assert_unnoticed(read)
    assert members.longest_gap(began) < PROBED_WITHIN + pauses.seconds


@pytest.mark.slow
def test_a_member_that_was_frozen_does_not_write_keys_that_are_anothers_by_now(members: Members) -> None:
    frozen = members.controllers["m3"]
    with reader(members) as read:
        frozen.pause()
        until(members.are_owned_by("m1", "m2"), TAKEN_WITHIN, "the heirs to hold all keys")
        frozen.resume()
        until(members.are_owned_by(*NAMES), JOINED_WITHIN, "the member to join again")
    members.assert_unnoticed(read)


@pytest.mark.slow
def test_if_all_members_die_all_keys_are_gone(members: Members) -> None:
    for controller in members.controllers.values():
        controller.kill()
    until(lambda: members.consul.keys("health/") == [], EXPIRED_WITHIN, "all keys to be gone")
