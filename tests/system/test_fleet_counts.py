"""What a member continues when it takes over a pod: the counts after a handover in order, and the flap damping."""

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
NODE, OTHER_NODE = (
    next(node for node in (f"node{number}" for number in range(99)) if VIEW.owner(node) == member) for member in MEMBERS
)
"""A node of m1 and one of m2."""
POD = "a"
THRESHOLD = 200
FAILED_BEFORE = 60
"""Failures before the handover. Without them, the heir needs as many more probes."""
FEW = 20
JOINED_WITHIN = 60.0
REACHED_WITHIN = 120.0
ROUNDED = 0.1
OFTEN = {"interval": "200ms", "timeout": "200ms"}

pytestmark = pytest.mark.slow


class Pod:
    """The pod `POD` of a node, with what is published of it."""

    def __init__(self, consul: Agent, target: Target, node: str) -> None:
        self.consul = consul
        self.target = target
        self.node = node
        consul.put(f"intent/{node}/{POD}", manifest(POD, target.port, f"/{node}"))

    def answers(self, status: int) -> None:
        self.target.behave(answer(status), f"/{self.node}")

    def probes(self) -> int:
        """Returns how many times the pod was probed."""
        return len(self.target.hits(f"/{self.node}"))

    def probes_until_this_status(self) -> int:
        """Returns how many times the pod was probed until its present status began."""
        since = datetime.fromisoformat(self.record()["Since"]).timestamp() - time.time() + time.monotonic()
        return sum(1 for hit in self.target.hits(f"/{self.node}") if hit.connected < since + ROUNDED)

    def wait_probed(self, times: int) -> None:
        enough = self.probes() + times
        until(lambda: self.probes() >= enough, REACHED_WITHIN, f"{times} more probes")

    def record(self) -> dict[str, Any]:
        data = self.consul.get(f"health/{POD}/{self.node}")
        found: dict[str, Any] = json.loads(data) if data else {}
        return found

    def is_published(self, status: str, reason: str = "") -> bool:
        record = self.record()
        return (record.get("Status"), record.get("Reason")) == (status, reason)

    def wait_for(self, status: str, reason: str = "") -> None:
        until(lambda: self.is_published(status, reason), REACHED_WITHIN, f"{status} {reason}")

    def holder(self) -> str:
        """Returns the member whose session holds the key."""
        session = self.consul.entries("health/").get(f"health/{POD}/{self.node}", {}).get("Session")
        name = str(self.consul.sessions().get(str(session), {}).get("Name", ""))
        return next((member for member in MEMBERS if f":{member}:" in name), "")


@pytest.fixture
def pod(consul: Agent, target: Target) -> Pod:
    """A pod of m1."""
    return Pod(consul, target, NODE)


def start(launch: Launch, consul: Agent, *names: str, **options: Any) -> list[Controller]:
    """Members that share the nodes."""
    members = [launch(consul, ready=False, node_name=name, fleet="f", **options) for name in names]
    for member in members:
        until(partial(has_joined, member, len(names)), JOINED_WITHIN, "the members to have joined")
    return members


def has_joined(member: Controller, count: int) -> bool:
    ready = member.get("/-/ready").status == 200
    return ready and member.metrics().sum("podpulse_fleet_members") == count


def test_a_member_that_stops_passes_the_counts_on(consul: Agent, launch: Launch, pod: Pod) -> None:
    first, _ = start(launch, consul, *MEMBERS, defaults={**OFTEN, "failure_threshold": THRESHOLD})
    pod.wait_for("passing")
    before = pod.probes()
    pod.answers(503)
    pod.wait_probed(FAILED_BEFORE)
    assert "Misses" not in pod.record(), "nothing is written for a probe that does not change the status"
    assert first.terminate() == 0
    pod.wait_for("critical", "status")
    assert pod.holder() == "m2"
    assert pod.probes_until_this_status() - before < THRESHOLD + FAILED_BEFORE / 2
    assert "Misses" not in pod.record()


def test_a_member_that_joins_continues_the_counts(consul: Agent, launch: Launch, target: Target) -> None:
    pod = Pod(consul, target, OTHER_NODE)
    defaults = {**OFTEN, "failure_threshold": THRESHOLD}
    start(launch, consul, "m1", defaults=defaults)
    pod.wait_for("passing")
    before = pod.probes()
    pod.answers(503)
    pod.wait_probed(FAILED_BEFORE)
    second = launch(consul, ready=False, node_name="m2", fleet="f", defaults=defaults)
    until(lambda: pod.holder() == "m2", JOINED_WITHIN, "the new member to hold the key")
    until(partial(has_joined, second, len(MEMBERS)), JOINED_WITHIN)
    pod.wait_for("critical", "status")
    assert pod.probes_until_this_status() - before < THRESHOLD + FAILED_BEFORE / 2


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_flapping_pod_stays_damped_with_its_heir(consul: Agent, launch: Launch, pod: Pod, end: str) -> None:
    damping = {"changes": 3, "refill": "1h", "quiet": "1h"}
    first, _ = start(launch, consul, *MEMBERS, defaults=OFTEN, damping=damping)
    pod.wait_for("passing")
    pod.answers(503)
    pod.wait_for("critical", "status")
    pod.answers(200)
    pod.wait_for("unknown", "flapping")
    before = pod.record()
    getattr(first, end)()
    until(lambda: pod.holder() == "m2", 30.0, "the heir to hold the key")
    pod.wait_probed(FEW)
    after = pod.record()
    names = ("Status", "Reason", "LastSeen", "Changes", "Since")
    assert [after[name] for name in names] == [before[name] for name in names]
    assert after["Detail"] == "flapping: 3 changes of status in a short time; last seen passing"


def test_an_heir_counts_the_changes_before_the_handover(consul: Agent, launch: Launch, pod: Pod) -> None:
    damping = {"changes": 4, "refill": "1h", "quiet": "1h"}
    first, _ = start(launch, consul, *MEMBERS, defaults=OFTEN, damping=damping)
    pod.wait_for("passing")
    assert "Tokens" not in pod.record()
    pod.answers(503)
    pod.wait_for("critical", "status")
    assert (pod.record()["Tokens"], pod.record()["Changes"]) == (2, 2)
    first.kill()
    until(lambda: pod.holder() == "m2", 30.0, "the heir to hold the key")
    for status, wanted in ((200, ("passing", "")), (503, ("unknown", "flapping"))):
        pod.answers(status)
        pod.wait_for(*wanted)
    assert pod.record()["Changes"] == 4
