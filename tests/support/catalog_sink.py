"""For tests of the sink in Consul's catalog: sinks of several controllers, and the view of readers."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from controller.consul.client import AgentService, ConsulClient
from controller.consul.ownership import OWNER
from controller.members.current_share import CurrentShare
from controller.publish.agent_service import service_id
from controller.publish.catalog import CatalogSink
from controller.publish.fences import Fences
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.share import FleetView, Share
from reconcilers.spec import PodKey
from tests.support.consul import Agent

NODE = "printer1"
PAGE = PodKey(NODE, "page")
PORT = PodKey(NODE, "port")
PAGE_ID = "podpulse:printer1:page"
ADDRESS = "10.1.2.3"


def passing(key: PodKey = PAGE) -> HealthRecord:
    return HealthRecord(key, HealthState.PASSING, output="all well")


def critical(key: PodKey = PAGE) -> HealthRecord:
    return HealthRecord(key, HealthState.CRITICAL, Reason.STATUS, "answered 500", "oops")


@dataclass
class Reads:
    """A membership that is read by the test."""

    count: int = 0
    hurried: int = 0

    def hurry(self) -> None:
        self.hurried += 1

    def settle(self, index: int) -> None: ...

    def reads(self) -> int:
        return self.count


@dataclass
class Publisher:
    """A sink of one controller. It describes every pod, unless it is in `gone`."""

    client: ConsulClient
    share: CurrentShare
    requests: list[str]
    address: Callable[[str], str | None] = lambda _: ADDRESS
    port: int = 8000
    prefix: str = ""
    gone: set[PodKey] = field(default_factory=set)
    scheduled: set[PodKey] = field(default_factory=set)
    membership: Reads = field(default_factory=Reads)
    now: float = 1000.0

    def __post_init__(self) -> None:
        fences = Fences(self.share, self.membership, clock=lambda: self.now)
        self.sink = CatalogSink(
            self.client,
            self.describe,
            lambda node: self.address(node),  # noqa: PLW0108 -- a test replaces it
            self.share,
            fences,
            lambda: self.scheduled,
            clock=lambda: self.now,
        )

    def describe(self, key: PodKey) -> AgentService | None:
        if key in self.gone:
            return None
        meta = {"podpulse-node": key.node, **dict([OWNER])}
        return AgentService(service_id(key), f"{self.prefix}{key.pod}", self.port, ("blue",), meta)

    def put(self, *records: HealthRecord) -> Mapping[PodKey, str]:
        return self.sink.write(records, ())

    def delete(self, *keys: PodKey) -> Mapping[PodKey, str]:
        return self.sink.write((), keys)

    def count(self, operation: str) -> int:
        return self.requests.count(operation)


@contextmanager
def publishers(agent: Agent) -> Iterator[Callable[..., Publisher]]:
    """Makes publishers: `new("m1", 7, "m1", "m2")` is member m1 with the view 7 of a fleet; `new()` is without one."""
    with ExitStack() as stack:

        def new(
            member: str = "", index: int = 0, *members: str, token: str | None = None, timeout: float = 10.0
        ) -> Publisher:
            requests: list[str] = []
            observe = lambda operation, *_: requests.append(operation)  # noqa: E731
            client = ConsulClient(agent.settings(token), timeout=timeout, observe=observe)
            stack.enter_context(client)
            share = Share(member, FleetView(index, members or (member,))) if member else Share.of_node(NODE)
            return Publisher(client, CurrentShare(share), requests)

        yield new


def node(agent: Agent, name: str = NODE) -> Mapping[str, Any] | None:
    """The node in the catalog, None if there is none."""
    found = _found(agent, name)
    return found and found["Node"]


def services(agent: Agent, name: str = NODE) -> Collection[str]:
    found = _found(agent, name)
    return set(found["Services"]) if found else set()


def _found(agent: Agent, name: str) -> Mapping[str, Any] | None:
    """Without a node of that name, Consul answers with a node whose ID begins with the name."""
    found: Mapping[str, Any] | None = agent.request("GET", f"catalog/node/{name}").json()
    return found if found and found["Node"]["Node"] == name else None


def check(agent: Agent, identity: str = PAGE_ID, name: str = NODE) -> Mapping[str, Any]:
    """The check of a pod; empty if there is none."""
    found = agent.request("GET", f"health/node/{name}").json()
    return next((each for each in found if each["CheckID"] == identity), {})


def index(agent: Agent) -> str:
    """Moves when anything of the node is written."""
    return agent.request("GET", f"health/node/{NODE}").headers["x-consul-index"]


def register(agent: Agent, **fields: Any) -> None:
    """Another program registers something in the catalog."""
    agent.request("PUT", "catalog/register", json.dumps({"Node": NODE, "Address": "10.9.9.9", **fields}))
