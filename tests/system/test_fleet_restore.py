"""Consul is restored from a snapshot while a fleet runs: its index goes back, and publication goes on."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from reconcilers.keys import health_key
from reconcilers.share import FleetView
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.members import Reader
from tests.support.net import until
from tests.support.shares import is_held_as_shared
from tests.support.targets import Target, answer

PODS = [PodKey(f"node{number:02}", f"pod{number:02}") for number in range(24)]
NOISE = 2_000
"""Writes between the save and the restore, so that the restored index stays far behind."""
WITHIN = 90.0
WENT_BACK = "Consul's index went back"


@pytest.fixture
def agent(consul_binary: Path) -> Iterator[Agent]:
    """A server that keeps its data, as snapshots need."""
    with Agent(consul_binary, persistent=True) as agent:
        yield agent


def start(stack: ExitStack, agent: Agent, member: str) -> Controller:
    defaults = {"interval": "1s", "timeout": "500ms"}
    consul = {"address": agent.address}
    return stack.enter_context(Controller(ready=False, node_name=member, fleet="f", consul=consul, defaults=defaults))


def snapshot(consul_binary: Path, agent: Agent, verb: str, file: Path) -> None:
    command: list[str | Path] = [consul_binary, "snapshot", verb, f"-http-addr={agent.address}", file]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def restore_into_a_new_server(consul_binary: Path, agent: Agent, file: Path) -> None:
    """Restores as after the loss of all servers. The new server has the name and the id of the old one, but not its
    data."""
    agent.stop()
    data = agent.folder / "data"
    node_id = (data / "node-id").read_text()
    shutil.rmtree(data)
    data.mkdir()
    (data / "node-id").write_text(node_id)
    agent.start()
    snapshot(consul_binary, agent, "restore", file)


def index(agent: Agent) -> int:
    return int(agent.request("GET", "health/service/podpulse?passing").headers["x-consul-index"])


def statuses(agent: Agent) -> set[str]:
    return {json.loads(agent.get(health_key(key)) or b"{}").get("Status", "missing") for key in PODS}


def owned_by(member: str, *members: str) -> list[PodKey]:
    view = FleetView(1, tuple(sorted(members)))
    return [key for key in PODS if view.owner(key.node) == member]


def write_late(agent: Agent, pods: list[PodKey], flags: int) -> None:
    """Writes what a member writes that has not noticed the restore yet: its Flags are of the view before."""
    entries = agent.entries("health/")
    for key in map(health_key, pods):
        agent.put(key, agent.get(key) or b"", acquire=str(entries[key]["Session"]), flags=str(flags))


@pytest.mark.slow
def test_publication_goes_on_after_consul_was_restored_from_a_snapshot(
    consul_binary: Path, agent: Agent, target: Target, stack: ExitStack, tmp_path: Path
) -> None:
    for key in PODS:
        agent.put(f"intent/{key.node}/{key.pod}", manifest(key.pod, target.port))
    members = {name: start(stack, agent, name) for name in ("m1", "m2")}
    is_shared = partial(is_held_as_shared, agent, PODS)
    until(lambda: is_shared("m1", "m2"), WITHIN, "both members to hold their keys")
    snapshot(consul_binary, agent, "save", tmp_path / "snapshot")
    for number in range(NOISE):
        agent.put("noise", str(number))
    assert members["m2"].terminate() == 0
    until(lambda: is_shared("m1"), WITHIN, "one member to hold all keys")
    members["m2"].start()
    until(lambda: is_shared("m1", "m2"), WITHIN, "both members to hold their keys again")
    before = index(agent)

    restore_into_a_new_server(consul_binary, agent, tmp_path / "snapshot")
    assert index(agent) < before - NOISE / 2
    until(lambda: is_shared("m1", "m2"), WITHIN, "both members to hold their keys after the restore")
    target.behave(answer(503))
    until(lambda: statuses(agent) == {"critical"}, WITHIN, "a change to be published after the restore")

    late = [key for key in owned_by("m3", "m1", "m2", "m3") if key in owned_by("m1", "m1", "m2")]
    assert late
    write_late(agent, late, before)
    with Reader(agent, frozenset(PODS), pause=0.05) as read:
        members["m3"] = start(stack, agent, "m3")
        until(lambda: is_shared("m1", "m2", "m3"), WITHIN, "the new member to hold its keys")
    assert read.faults == []
    assert read.statuses == {health_key(key): {"critical"} for key in PODS}
    assert WENT_BACK in members["m3"].log
    target.behave(answer(200))
    until(lambda: statuses(agent) == {"passing"}, WITHIN, "a change to be published by all three")
