"""Three controllers share the pods of thirty nodes through one Consul. Readers of `health/` do not notice."""

import json
import threading
import time
from base64 import b64decode
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from reconcilers.uptime import TICK
from tests.support.consul import Agent
from tests.support.controller import Controller, gaps, manifest, none_is_added
from tests.support.net import until
from tests.support.proxy import Line, TcpProxy
from tests.support.standstills import Standstills
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

MEMBERS = ("m1", "m2", "m3")
NODES = [f"node{number:02}" for number in range(30)]
PODS = ("a", "b")
PATHS = {f"/{node}/{pod}" for node in NODES for pod in PODS}
INTERVAL = 1.0
JOINED_WITHIN = 60.0
TAKEN_OVER_WITHIN = 12.0

pytestmark = pytest.mark.slow


class Readers:
    """Reads `health/` all the time, and collects what a reader would notice. The keys are known by pod and node."""

    def __init__(self, consul: Agent) -> None:
        self._consul = consul
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.missing: set[str] = set()
        self.without_holder: set[str] = set()
        self.statuses: set[str] = set()
        self.looks = 0

    @contextmanager
    def reading(self) -> Iterator["Readers"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            self._thread.join(10)
        assert self.looks > 5

    def _run(self) -> None:
        while not self._stopped.wait(0.1):
            entries = self._consul.entries("health/")
            self.missing |= all_keys() - entries.keys()
            self.without_holder |= {key for key, entry in entries.items() if not entry.get("Session")}
            self.statuses |= {json.loads(b64decode(entry["Value"]))["Status"] for entry in entries.values()}
            self.looks += 1


def all_keys() -> set[str]:
    return {f"health/{pod}/{node}" for node in NODES for pod in PODS}


def schedule(consul: Agent, target: Target) -> None:
    for node in NODES:
        for pod in PODS:
            consul.put(f"intent/{node}/{pod}", manifest(pod, target.port, f"/{node}/{pod}"))


def start(launch: Launch, consul: Agent, member: str, through: str = "") -> Controller:
    """`through` is the address at which the controllers reach Consul, if it is not that of the agent."""
    return launch(
        consul,
        ready=False,
        through=through,
        node_name=member,
        fleet="f",
        defaults={"interval": f"{INTERVAL:g}s", "timeout": "500ms", "failure_threshold": 5},
    )


@pytest.fixture
def members(consul: Agent, target: Target, launch: Launch) -> dict[str, Controller]:
    """Three members that have shared the pods among them."""
    schedule(consul, target)
    found = {member: start(launch, consul, member) for member in MEMBERS}
    for member in found.values():
        until(partial(is_ready, member), JOINED_WITHIN, "every member to be ready")
    until(lambda: consul.entries("health/").keys() == all_keys(), JOINED_WITHIN, "all pods to be published")
    until(lambda: all_share(found.values()), JOINED_WITHIN, "every pod to be checked by one member")
    return found


def is_ready(member: Controller) -> bool:
    return member.get("/-/ready").status == 200


def intents(member: Controller) -> float:
    return member.metrics().sum("podpulse_intents")


def all_share(members: Collection[Controller]) -> bool:
    counts = [intents(member) for member in members]
    return all(counts) and sum(counts) == len(PATHS)


def hits_by_path(target: Target) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {path: [] for path in PATHS}
    for hit in target.hits():
        if hit.path in found:
            found[hit.path].append(hit.requested)
    return found


def uptimes(members: Collection[Controller]) -> list[float]:
    """Returns the known seconds up of each pod, as the member shows them that checks the pod."""
    pages = [member.get(f"/api/v1/pods/{node}/{pod}") for node in NODES for pod in PODS for member in members]
    return [json.loads(page.text)["uptime"]["1h"]["up"] for page in pages if page.status == 200]


def test_every_pod_is_probed_by_one_member(members: dict[str, Controller], target: Target) -> None:
    target.clear()
    until(lambda: all(len(times) >= 12 for times in hits_by_path(target).values()), 60)
    for path, times in hits_by_path(target).items():
        assert none_is_added(times[2:], INTERVAL), (path, times)


def test_a_member_is_killed_and_no_reader_of_the_health_notices(
    members: dict[str, Controller], consul: Agent, target: Target
) -> None:
    with Readers(consul).reading() as readers:
        target.clear()
        members.pop("m2").kill()
        killed = time.monotonic()
        until(lambda: all_share(members.values()), TAKEN_OVER_WITHIN, "the heirs to check all pods")
        until(
            lambda: all(any(at > killed + 5.0 for at in times) for times in hits_by_path(target).values()),
            TAKEN_OVER_WITHIN,
            "the first probe of every pod by its heir",
        )
        until(lambda: time.monotonic() - killed > 30.0, 60, "the session of the killed member to end")
    least = time.monotonic() - killed - TICK
    assert min(uptimes(members.values())) >= least, "the time up continues from before the death of the member"
    assert readers.missing == set()
    assert readers.without_holder == set()
    assert readers.statuses == {"passing"}
    assert holders(consul) <= consul.sessions().keys()


def test_a_member_that_stops_hands_over_and_one_that_returns_takes_its_share(
    members: dict[str, Controller], consul: Agent, target: Target
) -> None:
    with Readers(consul).reading() as readers, Standstills() as pauses:
        target.clear()
        assert members["m3"].terminate() == 0
        stopped = time.monotonic()
        until(lambda: all_share([members["m1"], members["m2"]]), TAKEN_OVER_WITHIN)
        until(
            lambda: all(times and times[-1] > stopped + 4 * INTERVAL for times in hits_by_path(target).values()),
            TAKEN_OVER_WITHIN,
        )
        assert max(max(gaps(times)) for times in hits_by_path(target).values()) < 4 * INTERVAL + pauses.seconds
        members["m3"].start()
        until(lambda: all_share(members.values()), JOINED_WITHIN)
        until(lambda: time.monotonic() - stopped > 25.0, 60, "the session of the stopped member to end")
    assert readers.missing == set()
    assert readers.without_holder == set()
    assert readers.statuses == {"passing"}


def test_a_pod_that_fails_is_noticed_by_its_heir(members: dict[str, Controller], consul: Agent, target: Target) -> None:
    members.pop("m1").kill()
    until(lambda: all_share(members.values()), TAKEN_OVER_WITHIN)
    for path in PATHS:
        target.behave(answer(503), path)
    until(lambda: statuses(consul) == dict.fromkeys(all_keys(), "critical"), 30.0)


def test_all_members_are_killed_and_all_keys_are_gone(members: dict[str, Controller], consul: Agent) -> None:
    for member in members.values():
        member.kill()
    until(lambda: not consul.keys("health/"), 25.0, "all keys to be gone")


def test_a_member_that_is_cut_off_from_its_agent_stops_probing_and_returns_later(
    consul: Agent, target: Target, launch: Launch
) -> None:
    schedule(consul, target)
    with TcpProxy(consul.http_port) as proxy:
        first = start(launch, consul, "m1")
        second = start(launch, consul, "m2", f"http://127.0.0.1:{proxy.port}")
        both = [first, second]
        for member in both:
            until(partial(is_ready, member), JOINED_WITHIN, "both members to be ready")
        until(lambda: all_share(both), JOINED_WITHIN)
        until(lambda: consul.entries("health/").keys() == all_keys(), JOINED_WITHIN)
        with Readers(consul).reading() as readers:
            proxy.behave(Line(stalled=True))
            cut_off = time.monotonic()
            until(lambda: intents(first) == len(PATHS), TAKEN_OVER_WITHIN, "the heir to check all pods")
            until(lambda: intents(second) == 0, TAKEN_OVER_WITHIN, "the other one to check none")
            until(lambda: time.monotonic() - cut_off > 25.0, 60, "the session of the one that is cut off to end")
            target.clear()
            until(lambda: len(target.hits()) > 5 * len(PATHS), 60)
            assert max(map(len, hits_by_path(target).values())) <= 7, "no pod is probed by both"
            proxy.behave(Line())
            until(lambda: all_share(both), JOINED_WITHIN)
            until(lambda: len(holders(consul)) == 2, JOINED_WITHIN, "both to hold keys")
        assert readers.missing == set()
        assert readers.without_holder == set()
        assert readers.statuses == {"passing"}


def test_a_member_that_wakes_up_begins_no_probe_before_it_has_read_the_members(
    consul: Agent, target: Target, launch: Launch
) -> None:
    """The other member stands still at that moment, so every request comes from the member that wakes up."""
    schedule(consul, target)
    both = [start(launch, consul, "m1"), start(launch, consul, "m2")]
    for member in both:
        until(partial(is_ready, member), JOINED_WITHIN, "both members to be ready")
    until(lambda: all_share(both), JOINED_WITHIN)
    first, second = both
    second.pause()
    until(lambda: intents(first) == len(PATHS), TAKEN_OVER_WITHIN, "the heir to check all pods")
    first.pause()
    lasting = {"ID": "podpulse-m1", "Name": "Podpulse", "ServiceID": "podpulse-m1", "TTL": "300s", "Status": "passing"}
    consul.request("PUT", "agent/check/register", json.dumps(lasting))
    until(partial(is_quiet, target), 60, "the requests of the other member to end")
    target.clear()
    second.resume()
    until(lambda: intents(second) == 0, JOINED_WITHIN, "the one that wakes up to check none")
    requests = target.hits()
    first.resume()
    assert requests == []


def is_quiet(target: Target) -> bool:
    before = len(target.hits())
    time.sleep(0.5)
    return len(target.hits()) == before


def statuses(consul: Agent) -> dict[str, str]:
    return {key: json.loads(value)["Status"] for key, value in consul.values("health/").items()}


def holders(consul: Agent) -> set[str]:
    return {entry["Session"] for entry in consul.entries("health/").values()}
