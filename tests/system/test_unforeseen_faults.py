"""An unexpected exception ends one turn of a thread. It is logged once and counted, and later changes are seen."""

import itertools
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target, answer
from tests.support.unforeseen import FAULTS, FAULTY_POD

UNFORESEEN = Path(__file__).parents[1] / "support" / "unforeseen.py"
OF_FOLDERS = "lease"
OF_CONSUL = [name for name in FAULTS if name != OF_FOLDERS]
THREAD = {"parser": "watch", "lease": "session"}
"""The thread of a fault that does not have its name."""
LOGGED = "unexpected exception; everything else goes on"
PODS = ("a", "b", "c")


def faulty(*faults: str) -> tuple[str | Path, ...]:
    """The command that becomes a controller with these faults."""
    return (sys.executable, "-P", UNFORESEEN, ",".join(faults))


def expected(*faults: str) -> dict[str, float]:
    """The count of each thread with a fault, where each fault was raised once."""
    threads = [THREAD.get(name, name) for name in faults]
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
    assert controller.log.count(LOGGED) == len(faults)


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

    # What was listed when the exceptions came is checked and published, and so is what comes next.
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
    """All that is saved for a restart."""
    files = Path(controller.options["state_dir"]).rglob("*")
    return "".join(path.read_text("utf-8", "replace") for path in files if path.is_file())


def reread(controller: Controller) -> None:
    controller.hang_up()
    until(lambda: "configuration reloaded" in controller.log, what="a reload")


def see_reality(consul: Agent, fleet: Fleet, target: Target) -> None:
    """A success of the version that really runs does not end the deployment of a new version."""
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
