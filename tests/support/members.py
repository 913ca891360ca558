"""Members of a fleet that publish health into one Consul: each has a session, a share and a sink of its own."""

import http.client
import json
import threading
import time
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from controller.consul.client import ConsulClient
from controller.consul.holders import Holders
from controller.members.current_share import CurrentShare
from controller.publish.handover import Handover
from controller.publish.kv import KvSink
from reconcilers.keys import health_key
from reconcilers.record import HealthRecord, decode
from reconcilers.share import FleetView, Share
from reconcilers.spec import PodKey
from tests.support.consul import Agent


@dataclass
class FakeMembership:
    """Counts how many times the members were to be read at once. `read` is how many times they were read. `settled` are
    the indexes whose members were to count at once."""

    asked: int = 0
    read: int = 0
    settled: list[int] = field(default_factory=list)

    def hurry(self) -> None:
        self.asked += 1

    def settle(self, index: int) -> None:
        self.settled.append(index)

    def reads(self) -> int:
        return self.read


@dataclass
class Member:
    """A sink with a live session. `now` is its clock. `asked` are its requests."""

    agent: Agent
    session: str | None
    client: ConsulClient
    share: CurrentShare
    asked: list[str]
    membership: FakeMembership = field(default_factory=FakeMembership)
    holders: Holders = field(default_factory=Holders)
    scheduled: set[PodKey] = field(default_factory=set)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.handover = Handover(self.share, self.membership, clock=lambda: self.now)
        self.sink = KvSink(
            self.client,
            self,
            lambda: self.scheduled,
            holders=self.holders,
            handover=self.handover,
            clock=lambda: self.now,
            wall_clock=lambda: 1000.0,
        )

    def current(self) -> str | None:
        """See `CurrentSession`."""
        return self.session

    def sees(self, index: int, *members: str) -> None:
        """From now on the fleet has these members, as of this index of Consul."""
        self.share.apply(FleetView(index, tuple(sorted(members))))


@contextmanager
def member(agent: Agent, name: str, index: int = 0, *members: str) -> Iterator[Member]:
    """A member that sees `members` as of `index`. Without any it has no view."""
    asked: list[str] = []
    with ConsulClient(agent.settings(), timeout=2.0, observe=lambda operation, *_: asked.append(operation)) as client:
        made = Member(agent, agent.new_session(), client, CurrentShare(Share(name)), asked)
        made.sees(index, *members)
        yield made


@dataclass(frozen=True, slots=True)
class Key:
    """What Consul has of a health key."""

    record: HealthRecord
    session: str
    flags: int


def key_of(agent: Agent, key: PodKey) -> Key | None:
    """Returns what Consul has of the health key of a pod; None if there is no such key."""
    entry = agent.entries(health_key(key)).get(health_key(key))
    if entry is None:
        return None
    return Key(decode(agent.get(health_key(key)) or b""), str(entry.get("Session", "")), entry["Flags"])


class Reader:
    """Reads health keys consistently, and notes the keys that are missing or without holder. It reads without a pause,
    or every `pause` seconds.

    `statuses` are all statuses that a key has had, and `holders` all sessions that have held any key.
    """

    def __init__(self, agent: Agent, keys: frozenset[PodKey], pause: float = 0.0) -> None:
        self._agent = agent
        self._pause = pause
        self._keys = frozenset(health_key(key) for key in keys)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._decoded: dict[str, int] = {}
        self.reads = 0
        self.faults: list[str] = []
        self.holders: set[str] = set()
        self.statuses: dict[str, set[str]] = defaultdict(set)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._agent.http_port, timeout=10.0)
        while not self._stopped.wait(self._pause):
            connection.request("GET", "/v1/kv/health/?recurse&consistent")
            answer = connection.getresponse()
            body = answer.read()
            found = {each["Key"]: each for each in json.loads(body)} if answer.status == 200 else {}
            for key in self._keys:
                self._note(key, found.get(key))
            self.reads += 1
        connection.close()

    def _note(self, key: str, entry: Mapping[str, Any] | None) -> None:
        if entry is None:
            self.faults.append(f"{time.monotonic():.1f} {key} is missing")
            return
        if not (holder := str(entry.get("Session", ""))):
            self.faults.append(f"{time.monotonic():.1f} {key} has no holder")
        self.holders.add(holder)
        if self._decoded.get(key) != entry["ModifyIndex"]:
            self._decoded[key] = entry["ModifyIndex"]
            self.statuses[key].add(str(json.loads(b64decode(entry["Value"]))["Status"]))
