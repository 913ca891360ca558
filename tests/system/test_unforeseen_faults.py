"""An unexpected exception ends one turn of a thread. It is logged once and counted, and later changes are seen."""

import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from controller.consul.catalog import EXTERNAL
from controller.consul.ownership import OWNER
from reconcilers.keys import health_key
from reconcilers.share import FleetView
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target, answer
from tests.support.unforeseen import FAULTS, FAULTY_POD, THREAD

UNFORESEEN = Path(__file__).parents[1] / "support" / "unforeseen.py"
OF_FOLDERS = "lease"
AT_START = (
    "members",
    "counting members",
    "member status",
    "names of nodes",
    "gained nodes",
    "reality of nodes",
    "handover",
    "fences",
    "orphans",
    "addresses",
    "catalog",
    "catalog-look",
    "catalog-orphans",
)
"""The faults of a member of a fleet that nobody has asked yet."""
ASKED = "fleet reader"
OF_CONSUL = [name for name in FAULTS if name not in {OF_FOLDERS, *AT_START, ASKED}]
ANSWERING = "web"
"""The thread that counts the faults of the thread that reads the fleet for the page."""
LOGGED = "unexpected exception; everything else goes on"
STEP = "a step failed on"
"""What a control loop logs instead."""
JOINED_WITHIN = 60.0
NODES = tuple(f"node{number}" for number in range(6))
VIEW = FleetView(1, ("m1", "m2"))
PODS = ("a", "b", "c")


def faulty(*faults: str) -> tuple[str | Path, ...]:
    """The command that becomes a controller with these faults."""
    return (sys.executable, "-P", UNFORESEEN, ",".join(faults))


def expected(*faults: str) -> dict[str, float]:
    """The count of each thread with a fault, where each fault was raised once."""
    threads = [ANSWERING if name == ASKED else THREAD.get(name, name) for name in faults]
    return {thread: float(threads.count(thread)) for thread in threads}


def counted(controller: Controller) -> dict[str, float]:
    """The count of each thread that has a fault."""
    totals = controller.metrics().totals("podpulse_thread_faults_total", "thread")
    return {thread: count for thread, count in totals.items() if count}


def check_faults(controller: Controller, *faults: str) -> None:
    """Wait until each fault was raised, and check that each is in the log once, with its trace."""
    until(lambda: sum(counted(controller).values()) >= len(faults), 15.0, "every fault to be counted")
    assert counted(controller) == expected(*faults)
    for name in faults:
        assert controller.log.count(f"RuntimeError: injected into {name}\n") == 1
    assert controller.log.count(LOGGED) + controller.log.count(STEP) == len(faults)


@pytest.fixture
def outside() -> Iterator[Target]:
    """The canary."""
    with Target() as one:
        yield one


def test_every_thread_continues_after_an_unexpected_exception(
    consul: Agent, stack: ExitStack, fleet: Fleet, target: Target, outside: Target
) -> None:
    consul.put("health/gone/web1", b"{}")
    consul.request("PUT", "catalog/register", b'{"Node": "web1", "Address": "127.0.0.1"}')
    fleet.schedule(*PODS, FAULTY_POD)
    controller = stack.enter_context(
        Controller(
            before=faulty(*OF_CONSUL),
            consul={"address": consul.address, "wait": "1s"},
            address="catalog",
            publish=["kv", "agent"],
            register=True,
            startup_grace="1h",
            canary=f"127.0.0.1:{outside.port}",
            service={"ttl": "3s"},
        )
    )
    check_faults(controller, *OF_CONSUL)

    # Pods that were listed during the exceptions are checked and published. Later ones are, too.
    until(lambda: fleet.are("passing", [*PODS, FAULTY_POD]), what="every pod to be published, and a leftover removed")
    fleet.schedule("next")
    until(lambda: fleet.are("passing", [*PODS, FAULTY_POD, "next"]), what="a new manifest to be checked")
    renewed = expiry(controller)
    until(lambda: expiry(controller) > renewed, what="the session to be renewed")
    consul.delete(fleet.health_key("a"))
    until(lambda: fleet.status("a") == "passing", what="a deleted health key to be written again")
    for service in ("podpulse:web1:a", "podpulse-web1"):
        consul.request("PUT", f"agent/service/deregister/{service}")
        until(lambda name=service: name in services(consul), what=f"{service} to be there again")  # type: ignore[misc]
    until(lambda: "next" in saved(controller), what="the restart state to be saved")
    reread(controller)
    see_reality(consul, fleet, target)
    target.behave(answer(503))
    outside.refuse()
    until(lambda: controller.metrics().sum("podpulse_cut_off") == 1, 15.0, "the canary to be asked")
    assert counted(controller) == expected(*OF_CONSUL)


def expiry(controller: Controller) -> float:
    return controller.metrics().sum("podpulse_session_expires_timestamp_seconds")


def services(consul: Agent) -> set[str]:
    return set(consul.request("GET", "agent/services").json())


def saved(controller: Controller) -> str:
    """Returns all that is saved for a restart."""
    files = Path(controller.options["state_dir"]).rglob("*")
    return "".join(path.read_text("utf-8", "replace") for path in files if path.is_file())


def reread(controller: Controller) -> None:
    controller.hang_up()
    until(lambda: "configuration reloaded" in controller.log, what="a reload")


def see_reality(consul: Agent, fleet: Fleet, target: Target) -> None:
    """The version that really runs succeeds. This does not end the deployment of a new version."""
    consul.put("reality/web1/b", fleet.manifest("b"))
    versions = itertools.count()

    def is_deploying_after_successes() -> bool:
        target.behave(answer(200), "/b")
        fleet.write("b", fleet.manifest("b") + f"config: {{version: {next(versions)}}}\n".encode())
        fleet.wait_asked("b", 3)
        target.behave(answer(503), "/b")
        until(lambda: reason(fleet), what="a failure to be published")
        return reason(fleet) == "deploying"

    until(is_deploying_after_successes, 20.0, "the reality of the pod to be seen")


def reason(fleet: Fleet) -> str:
    return str((fleet.health("b") or {}).get("Reason") or "")


def test_the_lease_of_a_folder_is_renewed_after_an_unexpected_exception(
    stack: ExitStack, target: Target, tmp_path: Path
) -> None:
    (tmp_path / "intent").mkdir()
    (tmp_path / "intent" / "a.yaml").write_bytes(manifest("a", target.port))
    controller = stack.enter_context(
        Controller(
            before=faulty(OF_FOLDERS, "parser"),
            consul={"wait": "1s"},
            intent_dir=str(tmp_path / "intent"),
            health_dir=str(tmp_path / "health"),
        )
    )
    lease = tmp_path / "health" / ".podpulse.lease"
    check_faults(controller, OF_FOLDERS)
    renewed = lease.stat().st_mtime
    until(lambda: lease.stat().st_mtime > renewed, what="the lease to be renewed")
    (tmp_path / "intent" / f"{FAULTY_POD}.yaml").write_bytes(manifest(FAULTY_POD, target.port))
    (tmp_path / "intent" / "next.yaml").write_bytes(manifest("next", target.port))
    for pod in ("next", FAULTY_POD):
        until((tmp_path / "health" / f"{pod}.json").exists, 15.0, f"{pod} to be checked")
    check_faults(controller, OF_FOLDERS, "parser")


# A member of a fleet


@pytest.mark.slow
def test_every_thread_of_a_member_of_a_fleet_continues_after_an_unexpected_exception(
    consul: Agent, stack: ExitStack, target: Target
) -> None:
    nodes = {member: [node for node in NODES if VIEW.owner(node) == member] for member in VIEW.members}
    for node in NODES:
        add_node(consul, node)
        Fleet(consul, target, node).schedule(*PODS)
    fleet = Fleet(consul, target, nodes["m1"][0])
    consul.put(f"reality/{fleet.node}/b", fleet.manifest("b"))
    consul.put(f"health/gone/{fleet.node}", b"{}")
    add_stray(consul, fleet.node)

    controller = stack.enter_context(member(consul, "m1", before=faulty(*AT_START, ASKED)))
    check_faults(controller, *AT_START)
    assert controller.get("/fleet").status == 500
    check_faults(controller, *AT_START, ASKED)
    assert controller.get("/fleet").status == 200

    # The work that was due during the exceptions is done. Later work is, too.
    every = [Fleet(consul, target, node) for node in NODES]
    until(lambda: all(each.are("passing", PODS) for each in every), 30.0, "every pod to be published, and no other")
    until(lambda: catalog(consul) == {(node, pod) for node in NODES for pod in PODS}, 30.0, "the catalog to have them")
    consul.put(f"health/gone/{fleet.node}", b"{}")
    until(lambda: consul.get(f"health/gone/{fleet.node}") is None, 30.0, "a later record without a pod to be removed")
    consul.delete(fleet.health_key("a"))
    until(lambda: fleet.status("a") == "passing", 30.0, "a deleted health key to be written again")
    removed = {"Node": fleet.node, "ServiceID": f"podpulse:{fleet.node}:a"}
    consul.request("PUT", "catalog/deregister", json.dumps(removed).encode())
    until(lambda: (fleet.node, "a") in catalog(consul), 30.0, "a removed entry of the catalog to be there again")
    add_stray(consul, fleet.node)
    until(lambda: (fleet.node, "gone") not in catalog(consul), 30.0, "a later entry without a pod to be removed")
    add_node(consul, "later")
    later = Fleet(consul, target, "later")
    later.schedule("a")
    until(lambda: later.are("passing", ["a"]), 30.0, "a node with a new address to be checked")
    see_reality(consul, fleet, target)

    # Another member takes its share, and dies.
    wanted = {health_key(PodKey(node, pod)) for node in nodes["m2"] for pod in PODS}
    with member(consul, "m2") as other:
        until(lambda: both_share(controller, other), JOINED_WITHIN, "the other member to check its share")
        until(lambda: took_over(other) >= len(wanted), 30.0, "the other member to hold its keys")
        other.kill()
    until(lambda: controller.metrics().sum("podpulse_fleet_members") == 1, 30.0, "the other member to be missed")
    until(lambda: controller.metrics().sum("podpulse_fleet_nodes_owned") == len(NODES) + 1, 30.0)
    until(lambda: took_over(controller) >= len(wanted), 30.0, "keys to be taken")
    assert counted(controller) == expected(*AT_START, ASKED)


def member(consul: Agent, name: str, **options: Any) -> Controller:
    section = {"address": consul.address, "wait": "1s"}
    return Controller(
        ready=False,
        node_name=name,
        fleet="f",
        consul=section,
        address="catalog",
        publish=["kv", "catalog"],
        startup_grace="1h",
        **options,
    )


def took_over(controller: Controller) -> float:
    """Returns how many keys the controller has taken over from other members."""
    return controller.metrics().sum("podpulse_fleet_takeovers_total")


def both_share(first: Controller, second: Controller) -> bool:
    """Whether both check some nodes, and together check all."""
    owned = [one.metrics().sum("podpulse_fleet_nodes_owned") for one in (first, second)]
    return all(owned) and sum(owned) == len(NODES) + 1


def add_node(consul: Agent, node: str) -> None:
    """A node without an agent."""
    entry = {"Node": node, "Address": "127.0.0.1", "NodeMeta": dict([EXTERNAL])}
    consul.request("PUT", "catalog/register", json.dumps(entry).encode())


def add_stray(consul: Agent, node: str) -> None:
    """A service that a controller has left behind, whose pod does not exist."""
    service = {"ID": f"podpulse:{node}:gone", "Service": "gone", "Meta": dict([OWNER])}
    entry = {"Node": node, "Address": "127.0.0.1", "NodeMeta": dict([EXTERNAL]), "Service": service}
    consul.request("PUT", "catalog/register", json.dumps(entry).encode())


def catalog(consul: Agent) -> set[tuple[str, str]]:
    """The pods of the nodes that are services, as node and pod."""
    found = (consul.request("GET", f"catalog/node/{node}").json() for node in NODES)
    ids = [service for each in found if each for service in each["Services"]]
    return {(node, pod) for _, node, pod in (each.split(":") for each in ids)}
