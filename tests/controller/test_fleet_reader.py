"""A fleet is read from a real Consul for people: its controllers, its nodes, and the pods that are searched for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.consul.client import ConsulClient
from controller.members import fleet_reader
from controller.members.fleet_reader import FleetReader, FleetUnreadable
from controller.members.instances import describe_member, read_controllers
from reconcilers.fleet_overview import MemberState
from reconcilers.health import HealthState
from reconcilers.share import FleetView
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.shares import STARTED, publish, register

NODES = [f"node{number}" for number in range(12)]
VIEW = FleetView(4, ("m1", "m2"))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def client(consul: Agent, asked: list[str]) -> Iterator[ConsulClient]:
    with ConsulClient(consul.settings(), timeout=3.0, observe=lambda operation, *_: asked.append(operation)) as client:
        yield client


@pytest.fixture
def reader(client: ConsulClient, consul: Agent, clock: Clock) -> FleetReader:
    """A reader of a fleet with two members, twelve nodes and two pods on each."""
    register(client, "m1")
    register(client, "m2")
    for node in NODES:
        consul.put(f"intent/{node}/a", b"id: a\n")
        publish(consul, node, "a")
        publish(consul, node, "b", HealthState.CRITICAL if node == "node7" else HealthState.PASSING)
    return FleetReader(client, "intent", "f", lambda: VIEW, clock)


def test_the_overview_has_the_members_with_their_shares(reader: FleetReader) -> None:
    found = reader.overview()
    assert [(each.id, each.state, each.version, each.started) for each in found.members] == [
        ("m1", MemberState.MEMBER, "1.2.3", STARTED),
        ("m2", MemberState.MEMBER, "1.2.3", STARTED),
    ]
    assert {member.id: member.nodes for member in found.members} == {
        name: sum(1 for node in NODES if VIEW.owner(node) == name) for name in VIEW.members
    }
    assert (found.index, found.pods, found.read, len(found.nodes)) == (4, 24, 24, 12)
    assert (found.nodes[0].node, found.nodes[0].states[HealthState.CRITICAL]) == ("node7", 1)


def test_controllers_that_join_hang_or_are_of_another_fleet_are_told_apart(
    reader: FleetReader, client: ConsulClient
) -> None:
    register(client, "m3", "warning", "joining the fleet")
    register(client, "m4", "critical", "thread probe hangs")
    register(client, "other", fleet="g")
    register(client, "bad/name")
    found = reader.overview()
    assert [(each.id, each.state, each.detail) for each in found.members] == [
        ("m4", MemberState.GONE, "thread probe hangs"),
        ("m3", MemberState.JOINING, "joining the fleet"),
        ("m1", MemberState.MEMBER, ""),
        ("m2", MemberState.MEMBER, ""),
    ]
    assert sorted(read_controllers(client)) == ["f", "g"]


@pytest.mark.parametrize("started", ["", "yesterday", "2026-01-01T00:00:00"])
def test_a_start_that_is_not_a_time_is_not_known(client: ConsulClient, started: str) -> None:
    register(client, "m1", started=started)
    assert read_controllers(client)["f"][0].started == 0.0


def test_a_page_whose_scheme_could_run_a_script_has_no_link(client: ConsulClient) -> None:
    register(client, "m1", scheme="javascript")
    register(client, "m2", scheme="https")
    assert [each.page for each in read_controllers(client)["f"]] == ["", "https://127.0.0.1:9815"]


def test_without_a_view_the_passing_controllers_share_the_nodes(client: ConsulClient, reader: FleetReader) -> None:
    register(client, "m3", "critical")
    found = FleetReader(client, "intent", "f").overview()
    assert {each.node: each.member for each in found.nodes} == {
        each.node: each.member for each in reader.overview().nodes
    }


def test_an_answer_is_used_again_for_some_seconds_also_for_another_view(
    client: ConsulClient, consul: Agent, reader: FleetReader, clock: Clock, asked: list[str]
) -> None:
    views = [VIEW]
    reader = FleetReader(client, "intent", "f", lambda: views[-1], clock)
    first = reader.overview()
    asked.clear()
    consul.put("intent/node99/a", b"id: a\n")
    assert reader.overview() is first
    views.append(FleetView(5, ("m1",)))
    found = reader.overview()
    assert (found.index, {each.member for each in found.nodes}, len(found.nodes)) == (5, {"m1"}, len(NODES))
    assert asked == []
    clock.now += fleet_reader.KEPT_FOR
    assert len(reader.overview().nodes) == len(NODES) + 1
    assert "members" in asked


def test_names_that_took_long_to_read_are_used_for_longer(consul: Agent) -> None:
    """Reads of very many names may take at most a tenth of the time, however many people ask."""
    clock, asked = Clock(), list[str]()

    class Slow(ConsulClient):
        def list_keys(self, prefix: str, separator: str = "") -> list[str]:
            clock.now += 2.0
            asked.append(prefix)
            return super().list_keys(prefix, separator)

    with Slow(consul.settings()) as slow:
        slow_reader = FleetReader(slow, "intent", "f", lambda: VIEW, clock)
        for _ in range(400):
            slow_reader.overview()
            slow_reader.search(["a"], 0, 1)
            clock.now += 1.0
    most = (clock.now - 100.0) / (2.0 * fleet_reader.RESTS_PER_READ) + 1
    assert 1 < asked.count("health/") <= most
    assert 1 < asked.count("intent/") <= most


def test_only_changed_records_are_decoded_again(reader: FleetReader, consul: Agent, clock: Clock) -> None:
    reader.overview()
    publish(consul, "node3", "a", HealthState.WARNING)
    consul.put("health/a/node4", b"not a record")
    consul.delete("health/b/node5")
    clock.now += fleet_reader.KEPT_FOR
    found = {each.node: each for each in reader.overview().nodes}
    assert found["node3"].states[HealthState.WARNING] == 1
    assert found["node4"].states[HealthState.UNKNOWN] == 1
    assert found["node5"].pods == 1


def test_states_are_read_for_a_limited_time_and_the_others_at_the_next_time(
    client: ConsulClient, consul: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Running(Clock):
        def __call__(self) -> float:
            self.now += 0.4
            return self.now

    for number in range(1000):
        publish(consul, "node1", f"pod{number}")
    reader = FleetReader(client, "intent", "f", lambda: VIEW, clock := Running())
    first = reader.overview()
    assert 0 < first.read < first.pods == 1000
    clock.now += 1000.0
    assert reader.overview().read > first.read
    monkeypatch.setattr(fleet_reader, "MOST_STATES", 999)
    clock.now += 1000.0
    assert (reader.overview().read, reader.overview().pods) == (0, 1000)


def test_pods_are_found_on_all_nodes_by_parts_of_their_names(reader: FleetReader) -> None:
    found = reader.search(["a", "node1"], 0, 2)
    assert [str(each.key) for each in found.pods] == ["node1/a", "node10/a"]
    assert found.matching == 3
    (last,) = reader.search(["a", "node1"], 100, 2).pods
    assert (str(last.key), last.member) == ("node11/a", VIEW.owner("node11"))
    assert last.record
    assert (last.record.status, last.record.detail) == (HealthState.PASSING, "a says so")
    assert last.pod_page == "http://127.0.0.1:9815/pods/node11/a"
    assert reader.search(["nothing"], 0, 100).pods == []


def test_one_pod_has_its_record_and_the_member_that_checks_it(reader: FleetReader) -> None:
    found = reader.pod(PodKey("node7", "b"))
    assert found.record
    assert (found.record.status, found.member) == (HealthState.CRITICAL, VIEW.owner("node7"))
    missing = reader.pod(PodKey("node7", "c"))
    assert (missing.record, missing.member) == (None, VIEW.owner("node7"))


def test_consuls_error_is_said(reader: FleetReader, consul: Agent) -> None:
    consul.stop()
    for ask in (reader.overview, lambda: reader.search([], 0, 1), lambda: reader.pod(PodKey("node1", "a"))):
        with pytest.raises(FleetUnreadable, match="Consul at"):
            ask()


def session_of(consul: Agent, name: str) -> str:
    made = consul.request("PUT", "session/create", json.dumps({"Name": name, "TTL": "60s"}))
    return str(made.json()["ID"])


def test_the_member_that_has_a_session_is_named_with_its_fleet_and_page(client: ConsulClient, consul: Agent) -> None:
    session = session_of(consul, "health:m2:17:0102-030405")
    assert describe_member(client, session) == "member m2 of a fleet"
    register(client, "m1")
    register(client, "m2")
    assert describe_member(client, session) == "member m2 of fleet f (http://127.0.0.1:9815)"
    assert describe_member(client, session_of(consul, "other")) == "a member of fleet f"
    assert describe_member(client, "5e551015-0000-0000-0000-000000000000") == "a member of fleet f"


def test_a_member_is_not_named_if_the_token_may_not_read_who_it_is(consul_binary: Path) -> None:
    with Agent(consul_binary, acl=True) as consul, consul.client() as admin:
        register(admin, "m2")
        session = session_of(consul, "health:m2:17:0102-030405")
        with consul.client(consul.create_token('key_prefix "health/" { policy = "write" }')) as client:
            assert describe_member(client, session) == "a member of a fleet"
        consul.kill()
        assert describe_member(admin, session) == "a member of a fleet"
