"""Pods that are being deployed in a fleet: a running grace passes to the heir, and an old pod gets none."""

import json
import time
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from reconcilers.share import FleetView
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.net import until
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

MEMBERS = ("m1", "m2")
VIEW = FleetView(1, MEMBERS)
POD = "a"
NODE, OTHER_NODE = (
    next(node for node in (f"node{number}" for number in range(99)) if VIEW.owner(node) == member) for member in MEMBERS
)
"""A node of m1 and one of m2. The nodes of each are those of no other member."""
HOUR = "1h"
JOINED_WITHIN = 60.0
GRACE = 40.0

pytestmark = pytest.mark.slow


class Pods:
    """The pod `POD` of any node: its manifest, what runs, and what is published."""

    def __init__(self, consul: Agent, target: Target) -> None:
        self.consul = consul
        self.target = target

    def version(self, node: str, number: int) -> bytes:
        data = manifest(POD, self.target.port, f"/{node}")
        return data + f"config: {{version: {number}}}\n".encode()

    def schedule(self, node: str, number: int = 1) -> None:
        self.consul.put(f"intent/{node}/{POD}", self.version(node, number))

    def run(self, node: str, number: int = 1) -> None:
        """Does what p2's preparer does once it has launched a pod."""
        self.consul.put(f"reality/{node}/{POD}", self.version(node, number))

    def answers(self, node: str, status: int) -> None:
        self.target.behave(answer(status), f"/{node}")

    def record(self, node: str) -> dict[str, Any]:
        data = self.consul.get(f"health/{POD}/{node}")
        found: dict[str, Any] = json.loads(data) if data else {}
        return found

    def is_published(self, node: str, status: str, reason: str = "") -> bool:
        record = self.record(node)
        return (record.get("Status"), record.get("Reason")) == (status, reason)

    def since(self, node: str) -> float:
        return datetime.fromisoformat(self.record(node)["Since"]).timestamp()

    def holder(self, node: str) -> str:
        """Returns the member whose session holds the key."""
        session = self.consul.entries("health/").get(f"health/{POD}/{node}", {}).get("Session")
        name = str(self.consul.sessions().get(str(session), {}).get("Name", ""))
        return next((member for member in MEMBERS if f":{member}:" in name), "")

    def wait_probed(self, node: str, times: int = 3) -> None:
        """Waits until the pod was probed `times` times more."""
        enough = len(self.target.hits(f"/{node}")) + times
        until(lambda: len(self.target.hits(f"/{node}")) >= enough, 30.0, f"the pod of {node} to be probed")


@pytest.fixture
def pods(consul: Agent, target: Target) -> Pods:
    return Pods(consul, target)


def start(launch: Launch, consul: Agent, grace: str) -> dict[str, Controller]:
    """Two members that share the nodes."""
    defaults = {"interval": "1s", "timeout": "500ms"}
    members = {
        name: launch(consul, ready=False, node_name=name, fleet="f", startup_grace=grace, defaults=defaults)
        for name in MEMBERS
    }
    for member in members.values():
        until(partial(has_joined, member), JOINED_WITHIN, "both members to have joined")
    return members


def has_joined(member: Controller) -> bool:
    ready = member.get("/-/ready").status == 200
    return ready and member.metrics().sum("podpulse_fleet_members") == len(MEMBERS)


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_running_grace_passes_to_the_heir_and_an_old_pod_gets_none(
    consul: Agent, launch: Launch, pods: Pods, end: str
) -> None:
    """p2 has launched the pod by the time of the handover, and it is starting."""
    old = next(node for node in (f"old{number}" for number in range(99)) if VIEW.owner(node) == "m1")
    pods.answers(NODE, 503)
    members = start(launch, consul, HOUR)
    for node in (NODE, OTHER_NODE, old):
        pods.schedule(node)
    until(lambda: pods.is_published(NODE, "unknown", "deploying"), what="the new pod to be deploying")
    until(lambda: pods.is_published(old, "passing"), what="the other pod to be passing")
    began = pods.since(NODE)
    pods.run(NODE)
    getattr(members["m1"], end)()
    until(lambda: {pods.holder(NODE), pods.holder(old)} == {"m2"}, 30.0, "the heir to hold the keys")
    pods.answers(old, 503)
    until(lambda: pods.is_published(old, "critical", "status"), 30.0, "the old pod to be critical")
    pods.wait_probed(NODE)
    assert pods.is_published(NODE, "unknown", "deploying")
    assert pods.since(NODE) == began

    pods.answers(NODE, 200)
    until(lambda: pods.is_published(NODE, "passing"), 30.0, "the pod to have started")
    pods.answers(NODE, 503)
    until(lambda: pods.is_published(NODE, "critical", "status"), 30.0, "critical, since it had started")


def test_a_new_pod_has_its_grace_from_the_member_that_checks_it(consul: Agent, launch: Launch, pods: Pods) -> None:
    """The first version of each pod has no other reality than that of its node, which is empty or not."""
    pods.consul.put(f"reality/{NODE}/other", b"id: other\n")
    start(launch, consul, HOUR)
    for node in (NODE, OTHER_NODE):
        pods.answers(node, 503)
        pods.schedule(node)
        until(lambda node=node: pods.is_published(node, "unknown", "deploying"), 30.0)  # type: ignore[misc]
        pods.run(node)
        pods.wait_probed(node, 5)
        assert pods.is_published(node, "unknown", "deploying"), "it was launched, and is starting"
        pods.answers(node, 200)
        until(lambda node=node: pods.is_published(node, "passing"), 30.0)  # type: ignore[misc]

    # A new version is deployed: the old one answers until it is stopped.
    for node in (NODE, OTHER_NODE):
        pods.schedule(node, 2)
        pods.wait_probed(node)
        pods.answers(node, 503)
        until(lambda node=node: pods.is_published(node, "unknown", "deploying"), 30.0)  # type: ignore[misc]


def test_a_handover_does_not_make_a_grace_longer(consul: Agent, launch: Launch, pods: Pods) -> None:
    pods.answers(NODE, 503)
    members = start(launch, consul, f"{GRACE:g}s")
    pods.schedule(NODE)
    until(lambda: pods.is_published(NODE, "unknown", "deploying"), what="the new pod to be deploying")
    began = pods.since(NODE)
    until(lambda: time.time() > began + GRACE / 2, GRACE, "half of the grace to be over")
    assert pods.is_published(NODE, "unknown", "deploying")
    handed_over = time.time()
    members["m1"].kill()
    until(lambda: pods.is_published(NODE, "critical", "status"), 2 * GRACE, "the grace to be over")
    assert pods.holder(NODE) == "m2"
    assert datetime.fromisoformat(pods.record(NODE)["LastProbe"]).timestamp() < handed_over + GRACE
