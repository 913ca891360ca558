"""A machine that was suspended, or paused by what runs it, while a pod died: nobody reads that it is passing.

The process is stopped, and its clocks are set to what such a machine's clocks show afterwards.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

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


class Readers:
    """What is read of the pod in each place: p2's word, or None where nothing is known."""

    def __init__(self, consul: Agent, fleet: Fleet, folder: Path) -> None:
        self._consul = consul
        self._fleet = fleet
        self._folder = folder

    def kv(self) -> str | None:
        return self._fleet.statuses().get("a")

    def agent(self) -> str | None:
        checks = self._consul.request("GET", "agent/checks").json()
        return next((check["Status"] for name, check in checks.items() if name == "podpulse:web1:a"), None)

    def folder(self) -> str | None:
        file = self._folder / "a.json"
        return (
            json.loads(file.read_bytes())["Status"] if is_alive(self._folder, time.time()) and file.exists() else None
        )

    def all(self) -> tuple[Callable[[], str | None], ...]:
        return self.kv, self.agent, self.folder


@pytest.fixture
def readers(consul: Agent, fleet: Fleet, tmp_path: Path) -> Readers:
    return Readers(consul, fleet, tmp_path / "health")


@pytest.fixture
def stopped(
    consul: Agent, fleet: Fleet, target: Target, readers: Readers, tmp_path: Path
) -> Iterator[tuple[list[Controller], Clock]]:
    """Two controllers that were stopped until readers know of nothing any more, and whose pod died meanwhile."""
    clock = Clock(tmp_path / "clock")
    (tmp_path / "pods").mkdir()
    (tmp_path / "pods" / "a.yaml").write_bytes(manifest("a", target.port, "/a"))
    fleet.schedule("a")
    places = (
        {"consul": {"address": consul.address}, "publish": ["kv", "agent"], "service": {"ttl": "3s"}},
        {"intent_dir": str(tmp_path / "pods"), "health_dir": str(tmp_path / "health")},
    )
    with ExitStack() as stack:
        controllers = [stack.enter_context(Controller(clock=clock, defaults=LONG, **place)) for place in places]
        until(lambda: [read() for read in readers.all()] == ["passing"] * 3)
        for controller in controllers:
            controller.pause()
        target.behave(answer(503))
        until(lambda: readers.kv() is None and readers.folder() is None, within=2 * TTL)
        assert readers.agent() == "critical"
        yield controllers, clock


@pytest.mark.slow
@pytest.mark.parametrize("how", [Clock.suspend, Clock.pause], ids=["suspended", "paused"])
def test_a_pod_that_died_while_the_machine_stood_still_is_never_passing_and_is_probed_at_once(
    stopped: tuple[list[Controller], Clock], readers: Readers, how: Callable[[Clock, float], None]
) -> None:
    controllers, clock = stopped
    how(clock, 45.0)
    for controller in controllers:
        controller.resume()
    seen: list[set[str | None]] = [set(), set(), set()]

    def probed() -> bool:
        for read, words in zip(readers.all(), seen, strict=True):
            words.add(read())
        return all("critical" in words for words in (seen[0], seen[2]))

    until(probed, within=PROBED_WITHIN)
    assert seen == [{None, "critical"}, {"critical"}, {None, "critical"}]
