"""A pod dies while the machine is suspended, or paused by its hypervisor. No reader may see the pod as passing.

The process is stopped, and its clocks are set to what such a machine's clocks show afterwards.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controller.publish.folder import TTL, is_alive
from tests.support.clock import Clock
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target, answer

LONG = {"interval": "60s", "timeout": "2s"}
PROBED_WITHIN = 15.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A node with its clock, and two controllers: one publishes to Consul, the other into a folder."""

    node: str
    consul: Agent
    fleet: Fleet
    folder: Path
    clock: Clock
    controllers: tuple[Controller, Controller]

    def kv(self) -> str | None:
        """Returns the status of the pod in Consul's KV store; None if there is none. The next methods do it for other
        places."""
        return self.fleet.statuses().get("a")

    def agent(self) -> str | None:
        checks = self.consul.request("GET", "agent/checks").json()
        return next((check["Status"] for name, check in checks.items() if name == f"podpulse:{self.node}:a"), None)

    def health_file(self) -> str | None:
        file = self.folder / "health" / "a.json"
        if not is_alive(file.parent, time.time()) or not file.exists():
            return None
        return str(json.loads(file.read_bytes())["Status"])

    def all(self) -> list[str | None]:
        return [self.kv(), self.agent(), self.health_file()]


@pytest.fixture
def stopped(consul: Agent, target: Target, tmp_path: Path) -> Iterator[Mapping[str, Machine]]:
    """Machines that were stopped until no place shows a status any more. Their pods died meanwhile."""
    with ExitStack() as stack:
        machines = {node: start(stack, consul, target, node, tmp_path / node) for node in ("suspended", "paused")}
        until(lambda: all(machine.all() == ["passing"] * 3 for machine in machines.values()))
        for machine in machines.values():
            for controller in machine.controllers:
                controller.pause()
        target.behave(answer(503))
        until(
            lambda: all(machine.kv() is None and machine.health_file() is None for machine in machines.values()),
            within=2 * TTL,
        )
        assert [machine.agent() for machine in machines.values()] == ["critical"] * 2
        yield machines


def start(stack: ExitStack, consul: Agent, target: Target, node: str, folder: Path) -> Machine:
    """Starts the controllers of one machine, each with the same pod."""
    (folder / "pods").mkdir(parents=True)
    (folder / "pods" / "a.yaml").write_bytes(manifest("a", target.port, "/a"))
    clock, fleet = Clock(folder / "clock"), Fleet(consul, target, node)
    fleet.schedule("a")
    shared: dict[str, Any] = {"clock": clock, "defaults": LONG, "node_name": node}
    places: tuple[dict[str, Any], dict[str, Any]] = (
        {"consul": {"address": consul.address}, "publish": ["kv", "agent"], "service": {"ttl": "3s"}},
        {"intent_dir": str(folder / "pods"), "health_dir": str(folder / "health")},
    )
    first, second = (stack.enter_context(Controller(**shared, **place)) for place in places)
    return Machine(node, consul, fleet, folder, clock, (first, second))


@pytest.mark.slow
def test_a_pod_that_died_while_the_machine_was_suspended_is_never_passing_and_is_probed_at_once(
    stopped: Mapping[str, Machine],
) -> None:
    """On a machine that was suspended, and on one that was paused."""
    stopped["suspended"].clock.suspend(45.0)
    stopped["paused"].clock.pause(45.0)
    for machine in stopped.values():
        for controller in machine.controllers:
            controller.resume()
    seen: dict[str, list[set[str | None]]] = {node: [set(), set(), set()] for node in stopped}

    def probed() -> bool:
        for node, machine in stopped.items():
            for words, read in zip(seen[node], machine.all(), strict=True):
                words.add(read)
        return all("critical" in kv and "critical" in file for kv, _, file in seen.values())

    until(probed, within=PROBED_WITHIN)
    assert set().union(*(kv | file for kv, _, file in seen.values())) <= {None, "critical"}
    assert [agent for _, agent, _ in seen.values()] == [{"critical"}] * 2
