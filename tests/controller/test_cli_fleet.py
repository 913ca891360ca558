"""`podpulse fleet` against a real Consul, and against the page of a member."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from controller.consul.client import ConsulClient
from controller.members.fleet_reader import FleetReader
from reconcilers.health import HealthState
from reconcilers.share import FleetView
from tests.support.cli import complaint, good, on, run
from tests.support.consul import Agent
from tests.support.fake_http import FakeServer, Reply
from tests.support.shares import publish, register
from tests.support.site import HOSTILE, Site
from tests.support.terminal import OnTerminal

VIEW = FleetView(4, ("m1", "m2"))
NODES = [f"node{number:03}" for number in range(12)]


@pytest.fixture
def client(consul: Agent) -> Iterator[ConsulClient]:
    with closing(consul.client()) as client:
        yield client


@pytest.fixture
def fleet(consul: Agent, client: ConsulClient) -> None:
    """Two members and twelve nodes with a pod, one of which is critical."""
    register(client, "m1")
    register(client, "m2")
    for node in NODES:
        consul.put(f"intent/{node}/isup", b"id: isup\n")
        publish(consul, node, "isup", HealthState.CRITICAL if node == "node007" else HealthState.PASSING)


@pytest.fixture
def site(fleet: None, client: ConsulClient) -> Iterator[Site]:
    with Site(fleet=FleetReader(client, "intent", "f", lambda: VIEW)) as site:
        yield site


def page(site: Site) -> str:
    return f"http://127.0.0.1:{site.server.port}"


@pytest.mark.usefixtures("fleet")
def test_members_and_nodes_are_shown_with_the_worst_first(consul: Agent) -> None:
    said = good(on(consul, "fleet")).splitlines()
    assert said[0].split() == ["STATE", "MEMBER", "NODES", "PODS", "NOT", "PASSING", "UP", "PAGE"]
    assert [line.split()[:2] for line in said[1:3]] == [["member", "m1"], ["member", "m2"]]
    assert said[4].split() == ["NODE", "MEMBER", "PODS", "NOT", "PASSING"]
    assert said[5].split() == ["node007", VIEW.owner("node007"), "1", "1", "critical"]
    assert len(said[5:-2]) == len(NODES)
    assert said[-1] == "fleet f: 2 members, 12 nodes, 12 pods"


@pytest.mark.usefixtures("fleet")
def test_a_controller_that_is_gone_is_not_up(consul: Agent, client: ConsulClient) -> None:
    register(client, "m3", "critical", "TTL expired")
    gone, first, _ = (line.split() for line in good(on(consul, "fleet")).splitlines()[1:4])
    assert gone[:6] == ["gone", "m3", "0", "0", "-", "-"]
    assert first[5] != "-"


@pytest.mark.usefixtures("fleet")
def test_the_nodes_can_be_limited(consul: Agent) -> None:
    said = good(on(consul, "fleet", "--node", "NODE003")).splitlines()
    assert said[5].split() == ["node003", VIEW.owner("node003"), "1", "-"]
    assert said[-1] == "fleet f: 2 members, 1 of 12 nodes, 12 pods"


def test_consul_and_a_member_say_the_same(site: Site, consul: Agent) -> None:
    ours = json.loads(good(on(consul, "fleet", "--format", "json")))
    theirs = json.loads(good(run("fleet", "--url", page(site), "--format", "json", "--fleet", "f")))
    assert {each["node"]: each["member"] for each in ours["nodes"]} == {node: VIEW.owner(node) for node in NODES}
    for member in (*ours["members"], *theirs["members"]):
        member.pop("started")
    assert theirs.pop("view_index") == 4
    assert ours.pop("view_index") == 0
    assert ours == theirs
    said = good(run("fleet", "--controller", page(site)))
    assert said.splitlines()[-1] == "fleet f: 2 members, 12 nodes, 12 pods"


def test_all_pages_of_a_large_fleet_are_read(site: Site, consul: Agent) -> None:
    for number in range(600):
        consul.put(f"intent/more{number}/isup", b"id: isup\n")
    found = json.loads(good(run("fleet", "--url", page(site), "--format", "json")))
    assert len({each["node"] for each in found["nodes"]}) == len(NODES) + 600


def test_the_table_has_the_first_nodes_of_a_large_fleet_unless_all_are_wanted(site: Site, consul: Agent) -> None:
    for number in range(90):
        consul.put(f"intent/more{number}/isup", b"id: isup\n")
    said = run("fleet", "--url", page(site))
    assert said.exit_code == 0
    lines = said.stdout.splitlines()
    assert lines[5].split()[0] == "node007"
    assert len(lines[5:-2]) == 100
    assert lines[-1] == "fleet f: 2 members, 102 nodes, 12 pods"
    assert said.stderr == "the first 100 of 102 nodes are shown; --all shows all of them\n"
    assert len(good(run("fleet", "--url", page(site), "--all")).splitlines()[5:-2]) == 102
    assert len(good(run("fleet", "--url", page(site), "--node", "more")).splitlines()[5:-2]) == 90


def test_one_of_several_fleets_must_be_named(consul: Agent, client: ConsulClient) -> None:
    assert "no controller of a fleet is registered in Consul" in complaint(on(consul, "fleet"))
    assert "no controller of any fleet is" in complaint(on(consul, "fleet", "--fleet", "f"))
    register(client, "m1")
    register(client, "n1", fleet="g")
    assert "--fleet: expected one of f, g" in complaint(on(consul, "fleet"))
    assert "no controller of fleet h is registered in Consul; there are controllers of f, g" in complaint(
        on(consul, "fleet", "--fleet", "h")
    )
    assert good(on(consul, "fleet", "--fleet", "g")).splitlines()[-1] == "fleet g: 1 member, 0 nodes, 0 pods"


@pytest.mark.usefixtures("fleet")
def test_a_fleet_without_a_member_has_an_exit_code_of_its_own(consul: Agent, client: ConsulClient) -> None:
    register(client, "m1", "critical", "thread probe hangs")
    register(client, "m2", "warning", "joining the fleet")
    said = on(consul, "fleet")
    assert said.exit_code == 3
    assert "thread probe hangs" in said.stdout
    assert said.stdout.count("no member") == len(NODES)


def test_a_controller_that_has_no_such_fleet_is_named(site: Site) -> None:
    assert "is of fleet f, not of g" in complaint(run("fleet", "--url", page(site), "--fleet", "g"))
    with Site() as lone:
        assert "answered 404 and no fleet: GET /api/v1/fleet: This controller checks the pods of one node" in complaint(
            run("fleet", "--url", page(lone))
        )
    with FakeServer(lambda _: Reply(200, b"hello")) as fake:
        assert complaint(run("fleet", "--url", fake.address)).rstrip().endswith("answered 200 and no fleet")
    assert "no controller answers at http://127.0.0.1:1" in complaint(run("fleet", "--url", "http://127.0.0.1:1"))


def test_without_consul_there_is_one_error() -> None:
    assert "Consul at http://127.0.0.1:1" in complaint(run("fleet", "--consul", "127.0.0.1:1"))


def answer_with(name: str, read: int) -> bytes:
    counts: dict[str, object] = {"pods": 2, "critical": 1, "unknown": 0, "warning": 0, "passing": 0}
    member: dict[str, object] = {
        "id": name,
        "state": "member",
        "page": name,
        "detail": name,
        "version": "1",
        "started": None,
        "nodes": 1,
    }
    node: dict[str, object] = {"node": name, "member": name}
    found: dict[str, object] = {"fleet": name, "view_index": 1, "pods": 2, "pods_read": read, "pages": 1}
    return json.dumps(
        found | {"members": [member | counts | {"started": None, "nodes": 1}], "nodes": [node | counts]}
    ).encode()


def test_text_of_others_is_shown_safely_and_what_was_not_read_is_said() -> None:
    hostile = HOSTILE.replace("\ud800", "") + "\x1b[31m\u202e"
    with FakeServer(lambda _: Reply(200, answer_with(hostile, 1))) as fake:
        said = run("fleet", "--url", fake.address)
    assert said.exit_code == 0
    assert "\x1b" not in said.stdout
    assert "\u202e" not in said.stdout
    assert said.stderr == "the states of 1 of 2 pods were read, only these are counted\n"


def test_a_terminal_gets_colours(site: Site) -> None:
    with OnTerminal("fleet", "--url", page(site)) as terminal:
        assert terminal.wait() == 0
    assert "\x1b[32mmember" in terminal.shown
    assert "\x1b[1;31m1 critical" in terminal.shown
    with OnTerminal("fleet", "--url", page(site), NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
    assert "\x1b[32m" not in terminal.shown
