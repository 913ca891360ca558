"""`inspect` and `watch` say what the controllers know: held removals, refused manifests and running deployments."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controller.cli import accounts, inspection
from controller.cli.accounts import Nodes
from controller.cli.condition import OLDER, REMAINS
from reconcilers.health import HealthState
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.cli import good, on
from tests.support.consul import Agent
from tests.support.fake_http import FakeServer, Reply
from tests.support.net import until
from tests.support.shares import enrol
from tests.support.site import NODE, Site
from tests.support.terminal import OnTerminal, Running

GOOD = b"id: a\nstatus_port: 1\n"
REFUSED = b"id: b\nstatus_port: 1\nstatus: {method: DELETE}\n"
HELD = "its manifest is gone, and its removal is held: 3 of 3 pods gone at once"


@pytest.fixture
def site(consul: Agent) -> Iterator[Site]:
    """The controller of NODE: it holds the removal of `a`, and refuses the manifest of `b`, which Consul has."""
    with Site() as site, closing(consul.client()) as client:
        site.schedule(1, a=GOOD, b=GOOD.replace(b"a", b"b", 1))
        site.schedule(2, b=b"id: b\nstatus_port: 99999\n")
        site.held[PodKey(NODE, "a")] = "3 of 3 pods gone at once"
        site.follow("a", "b")
        site.passes("a", "b")
        for pod in ("a", "b", "c"):
            record = HealthRecord(PodKey(NODE, pod), HealthState.PASSING, manifest_sha="0" * 64)
            consul.put(f"health/{pod}/{NODE}", record.encode(1.7e9))
        consul.put(f"intent/{NODE}/b", "id: b\nstatus_port: 2\n")
        consul.put(f"intent/{NODE}/c", "id: c\nstatus_port: 1\n")
        enrol(client, NODE, site.server.port)
        yield site


def page(site: Site) -> str:
    return f"http://127.0.0.1:{site.server.port}"


def test_the_controllers_of_doubtful_pods_are_asked_and_named(consul: Agent, site: Site) -> None:
    pods = {pod["pod"]: pod for pod in json.loads(good(on(consul, "inspect", "--format", "list")))}
    assert (pods["a"]["state"], pods["a"]["note"], pods["a"]["told_by"]) == ("passing", HELD, page(site))
    assert pods["b"]["note"].startswith("an older manifest is in force, the newest is invalid: status_port: ")
    assert (pods["c"]["note"], "told_by" in pods["c"]) == (OLDER, False)
    table = on(consul, "inspect", "--format", "table")
    assert HELD in table.stdout
    assert table.stderr == (f"2 pods as {page(site)} says; 1 pod by Consul alone: its controller knows no more\n")


def test_without_an_answer_consul_alone_is_shown_and_the_reason_named(consul: Agent, site: Site) -> None:
    for controller, why in (("none", "no controller was asked"), ("http://127.0.0.1:1", "no controller answers at")):
        table = on(consul, "inspect", "--format", "table", "--controller", controller)
        assert REMAINS in table.stdout
        assert table.stderr.startswith(f"3 pods by Consul alone: {why}")
    pods = [{"node": NODE, "pod": "a", "state": "bad", "note": "\x1b[2J"}]
    hostile: list[bytes] = [b"[" * 10_000, json.dumps({"pods": pods}).encode(), b"\xff"]
    with FakeServer(lambda _: Reply(200, hostile[0])) as fake:
        for _ in range(len(hostile)):
            table = on(consul, "inspect", "--format", "table", "--controller", fake.address)
            assert "\x1b" not in table.output
            assert REMAINS in table.stdout
            hostile.append(hostile.pop(0))


def test_only_registered_controllers_of_the_nodes_are_asked(consul: Agent, site: Site) -> None:
    with closing(consul.client()) as client:
        for nodes in (Nodes(frozenset({NODE})), Nodes(others=frozenset({NODE, "web2"}))):
            assert accounts.ask(nodes, client).told[PodKey(NODE, "a")].note == HELD
        enrol(client, "web2", 1)
        assert accounts.ask(Nodes(frozenset({"web2"})), client).trouble.startswith("no controller answers at ")
        assert accounts.ask(Nodes(others=frozenset({"web2"})), client).told == {}
        assert accounts.ask(Nodes(frozenset({"web3"})), client).trouble == "no controller of their nodes is registered"
        pods = inspection.from_consul(client, "intent", None, "c")
    assert accounts.NO_ACCOUNTS.sentence(pods).startswith("1 pod by Consul alone: ")


def test_watch_writes_what_the_controller_says_when_it_says_it(consul: Agent, site: Site, tmp_path: Path) -> None:
    with Running("watch", "--consul", consul.address) as watching:
        until(lambda: f" {NODE} a passing: {HELD}\n" in watching.out, 20.0)
        until(lambda: f" {NODE} b passing: an older manifest is in force" in watching.out)
        assert watching.interrupt() == 0
        pods = [line.split()[2] for line in watching.out.splitlines()]
        assert pods == ["a", "b", "c"], "each pod has one line at the start"
    with OnTerminal("watch", "--consul", consul.address, columns=160) as terminal:
        until(lambda: HELD in terminal.shown, 20.0)
        until(lambda: f"2 pods as {page(site)} says" in terminal.shown)
        assert terminal.interrupt() == 0
