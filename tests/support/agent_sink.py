"""For tests of the sink at Consul's agent: the sink, a directory of services, and the view of the agent."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from controller.consul.client import AgentService, ConsulClient, ConsulSettings
from controller.consul.ownership import OWNER
from controller.publish.agent import TTL, AgentSink
from controller.publish.agent_service import service_id
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.net import until

ISUP = PodKey("web1", "isup")
ISUP_ID = "podpulse:web1:isup"
PASSING = HealthRecord(ISUP, HealthState.PASSING, output="all well")
WARNING = HealthRecord(ISUP, HealthState.WARNING, detail="slow")
CRITICAL = HealthRecord(ISUP, HealthState.CRITICAL, Reason.STATUS, "answered 500", "oops")
UNKNOWN = HealthRecord(ISUP, HealthState.UNKNOWN, Reason.LOCAL, "no descriptors")


@dataclass
class Directory:
    """Describes every pod, unless it is in `gone`."""

    port: int = 8000
    tags: tuple[str, ...] = ("blue",)
    prefix: str = ""
    gone: set[PodKey] = field(default_factory=set)

    def describe(self, key: PodKey) -> AgentService | None:
        if key in self.gone:
            return None
        meta = {"podpulse-node": key.node, **dict([OWNER])}
        return AgentService(service_id(key), f"{self.prefix}{key.pod}", self.port, self.tags, meta)


@dataclass
class Bench:
    """A sink at an agent, its client, the operations that it requested, and the pods that it reported lost or found."""

    agent: Agent
    sink: AgentSink
    client: ConsulClient
    directory: Directory
    asked: list[str]
    lost: list[PodKey]
    found: list[Collection[PodKey]] = field(default_factory=list)
    voids: int = 0

    def services(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.agent.request("GET", "agent/services").json()
        return found

    def checks(self) -> dict[str, dict[str, Any]]:
        """Returns the checks of the agent."""
        found: dict[str, dict[str, Any]] = self.agent.request("GET", "agent/checks").json()
        return found

    def status(self, identity: str = ISUP_ID) -> str:
        return str(self.checks()[identity]["Status"])

    def in_catalog(self, pod: str = "isup") -> Mapping[str, Any]:
        """Returns the pod's check as every reader in the datacenter sees it. Empty if there is none."""
        checks = self.agent.request("GET", f"health/checks/{pod}").json()
        return dict(checks[0]) if checks else {}

    def await_catalog(self, status: str, pod: str = "isup") -> None:
        """Wait until every reader in the datacenter sees this status: the agent is ahead of the catalog."""
        until(lambda: self.in_catalog(pod).get("Status") == status, what=f"{status} in the catalog")

    def index(self) -> str:
        """Returns an index that changes with each write to the catalog about this node."""
        return self.agent.request("GET", f"health/node/{self.agent.node}").headers["x-consul-index"]


@contextmanager
def sink_at(
    agent: Agent,
    *,
    ttl: float = TTL,
    token: str | None = None,
    settings: ConsulSettings | None = None,
    timeout: float = 2.0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Bench]:
    """A sink with a client of its own, closed at the end; like a controller that is killed, it removes nothing."""
    asked: list[str] = []
    lost: list[PodKey] = []
    directory = Directory()

    def note(operation: str, *_: object) -> None:
        asked.append(operation)

    def lose(keys: Collection[PodKey]) -> None:
        lost.extend(keys)

    def void() -> None:
        bench.voids += 1

    with ConsulClient(settings or agent.settings(token), timeout=timeout, observe=note) as client:
        sink = AgentSink(client, directory.describe, lose, void=void, ttl=ttl, clock=clock)
        bench = Bench(agent, sink, client, directory, asked, lost)
        yield bench


def named(count: int, status: HealthState = HealthState.PASSING) -> list[HealthRecord]:
    return [HealthRecord(PodKey("web1", f"pod{at}"), status, output="x" * 200) for at in range(count)]
