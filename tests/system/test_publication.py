"""The records below `health/` in Consul: their format, their owner, and when they are removed."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.consul import Agent
from tests.support.controller import Controller, in_step
from tests.support.fleet import Fleet
from tests.support.http2 import in_turn
from tests.support.net import until
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

P2_FIELDS = {"Id", "Node", "Service", "Status", "Output", "Time", "Expires"}
OUR_FIELDS = {"Reason", "Detail", "Since", "LastProbe", "ManifestSha"}


READS = {"agent_checks", "agent_services", "leader", "list_manifests", "read_transaction"}
"""The operations that the controller may use at any time."""


def all_pass(consul: Agent) -> bool:
    """Whether the checks of both pods and of the controller pass in the catalog."""
    return len(consul.request("GET", "health/state/passing").json()) == len(["node", "a", "b", "podpulse"])


def requests(controller: Controller) -> dict[str, float]:
    """Returns the number of requests to Consul, by operation."""
    return controller.metrics().totals("podpulse_consul_requests_total", "op")


def made(controller: Controller, before: dict[str, float]) -> dict[str, float]:
    """Returns the number of requests since `before`."""
    now = requests(controller)
    return {name: count - before.get(name, 0) for name, count in now.items() if count > before.get(name, 0)}


def modify_indexes(consul: Agent) -> dict[tuple[str, str], int]:
    """Returns the index of every key, session, service and check."""
    checks = consul.request("GET", f"health/node/{consul.node}").json()
    found = {
        "key": consul.entries(),
        "session": consul.sessions(),
        "service": consul.request("GET", f"catalog/node/{consul.node}").json()["Services"],
        "check": {check["CheckID"]: check for check in checks},
    }
    return {(kind, name): one["ModifyIndex"] for kind, some in found.items() for name, one in some.items()}


def p2_record(pod: str, node: str, status: str = "passing") -> bytes:
    """Returns a record in p2's format: without our fields, with nine fractional digits and an offset."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789-08:00")
    later = (datetime.now(UTC) + timedelta(days=36_525)).strftime("%Y-%m-%dT%H:%M:%S.123456789-08:00")
    fields = {"Id": pod, "Node": node, "Service": pod, "Status": status, "Time": now, "Expires": later}
    return json.dumps(fields).encode()


def moment(text: object) -> datetime:
    """Parses an RFC 3339 time and checks that it has an offset."""
    assert isinstance(text, str)
    read = datetime.fromisoformat(text)
    assert read.tzinfo is not None
    return read


def record_of(fleet: Fleet, pod: str, status: str) -> dict[str, Any]:
    until(lambda: fleet.status(pod) == status, what=f"{pod} is {status}")
    record = fleet.health(pod)
    assert record is not None
    return record


def test_a_health_key_has_p2s_json_and_our_session(consul: Agent, launch: Launch, fleet: Fleet, target: Target) -> None:
    target.behave(answer(200, "gr\u00fcn \u2713\n".encode()), "/good")
    target.behave(answer(503, b"no disk\n"), "/bad")
    fleet.schedule("good", "bad")
    controller = launch(consul)
    good, bad = record_of(fleet, "good", "passing"), record_of(fleet, "bad", "critical")

    assert good.keys() == bad.keys() == P2_FIELDS | OUR_FIELDS
    assert (good["Id"], good["Node"], good["Service"], good["Output"]) == ("good", "web1", "good", "gr\u00fcn \u2713\n")
    assert (bad["Output"], bad["Reason"], bad["Detail"]) == ("no disk\n", "status", "answered with status 503")
    for record in (good, bad):
        age = datetime.now(UTC) - moment(record["Time"])
        assert timedelta() <= age < timedelta(seconds=30)
        assert moment(record["Since"]) <= moment(record["LastProbe"]) <= moment(record["Time"])
        assert moment(record["Expires"]) - moment(record["Time"]) > timedelta(days=36_000)

    entries, sessions = consul.entries("health/"), consul.sessions()
    assert sorted(entries) == ["health/bad/web1", "health/good/web1"]
    (session,) = {entry["Session"] for entry in entries.values()}
    assert sessions[session]["Name"].startswith(f"health:web1:{controller.pid}:")
    assert sessions[session]["Behavior"] == "delete"
    assert not sessions[session].get("NodeChecks")


def test_sigterm_ends_it_with_code_0_and_removes_keys_and_session_with_on_stop_remove(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    fleet.schedule("a", "b")
    controller = launch(consul, on_stop="remove")
    until(lambda: fleet.are("passing", "ab"))
    assert controller.terminate(within=5.0) == 0
    assert consul.entries("health/") == {}
    assert consul.sessions() == {}
    assert "Traceback" not in controller.log


@pytest.mark.parametrize("publish", [["kv"], ["kv", "agent"]], ids=str)
def test_sigterm_ends_it_with_code_0_within_5_seconds_while_consul_hangs(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, publish: list[str]
) -> None:
    fleet.schedule("a", "b")
    controller = launch(consul, publish=publish, on_stop="remove", startup_grace="1s")
    until(lambda: fleet.are("passing", "ab"))
    consul.pause()
    target.behave(answer(503))  # so that a write is under way
    fleet.wait_asked("a", 2)
    assert controller.terminate(within=5.0) == 0
    assert "Traceback" not in controller.log


def test_sigterm_ends_it_with_code_0_while_a_probe_hangs(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    target.behave(lambda connection: connection.hold())
    fleet.schedule("a")
    controller = launch(consul, defaults={"interval": "60s", "timeout": "60s"})
    until(lambda: fleet.asked("a"))
    assert controller.terminate(within=5.0) == 0
    assert "Traceback" not in controller.log


def test_an_orphan_of_an_earlier_run_is_removed_and_one_of_a_scheduled_pod_taken_over(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    consul.put("health/gone/web1", p2_record("gone", "web1"))
    consul.put("health/here/web1", p2_record("here", "web1", "critical"))
    fleet.schedule("here", "also-here")
    launch(consul)
    until(lambda: fleet.are("passing", ["here", "also-here"]), what="the orphan of a scheduled pod is taken over")
    until(lambda: consul.get("health/gone/web1") is None, what="the orphan of a pod that is gone is removed")


def test_the_keys_of_an_earlier_run_that_a_session_still_holds_are_taken_over_when_it_ends(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    earlier = consul.new_session()
    consul.put("health/here/web1", p2_record("here", "web1", "critical"), acquire=earlier)
    fleet.schedule("here")
    launch(consul, ready=False)  # it is not ready while another session holds the key
    fleet.wait_asked("here", 3)
    assert consul.entries("health/")["health/here/web1"]["Session"] == earlier
    consul.destroy_session(earlier)
    until(lambda: fleet.are("passing", ["here"]), what="our session holds the key")


def test_keys_of_other_nodes_and_malformed_keys_are_not_changed(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    others = {
        "health/here/web10": p2_record("here", "web10"),
        "health/gone/web2": p2_record("gone", "web2"),
        "health/web1": b"odd",
        "health/a/b/web1": b"odd",
        "health/gone/web1/": b"",
    }
    for key, value in others.items():
        consul.put(key, value)
    before = consul.entries("health/")
    fleet.schedule("here")
    controller = launch(consul, on_stop="remove")
    until(lambda: fleet.are("passing", ["here"]))
    assert controller.terminate() == 0
    assert consul.entries("health/") == before


def test_everything_is_published_again_after_somebody_destroyed_the_session(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    fleet.schedule("a", "b", "c")
    launch(consul)
    until(lambda: fleet.are("passing", "abc"))
    (session,) = consul.sessions()
    consul.destroy_session(session)
    assert consul.entries("health/") == {}
    until(lambda: fleet.are("passing", "abc"), 8.0, "all is published under a new session")
    assert session not in consul.sessions()


def test_the_configured_thresholds_decide_when_a_pod_is_critical_and_when_it_passes_again(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.schedule("a")
    defaults = {"interval": "500ms", "timeout": "500ms", "failure_threshold": 3, "success_threshold": 2}
    launch(consul, defaults=defaults)
    until(lambda: fleet.status("a") == "passing")
    assert len(fleet.asked("a")) >= 2

    before = len(fleet.asked("a"))
    target.behave(answer(503))
    until(lambda: fleet.status("a") == "critical")
    assert len(fleet.asked("a")) >= before + 3

    before = len(fleet.asked("a"))
    target.behave(answer(200))
    until(lambda: fleet.status("a") == "passing")
    assert len(fleet.asked("a")) >= before + 2


def test_one_bad_answer_among_good_ones_changes_nothing_below_the_threshold(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.schedule("a")
    launch(consul, defaults={"interval": "200ms", "timeout": "200ms", "failure_threshold": 3})
    until(lambda: fleet.status("a") == "passing")
    index = consul.entries("health/")["health/a/web1"]["ModifyIndex"]
    for _ in range(3):
        target.behave(in_turn(answer(503), answer(200)))
        fleet.wait_asked("a", 4)
    assert consul.entries("health/")["health/a/web1"]["ModifyIndex"] == index


def test_nothing_is_written_while_nothing_changes(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    fleet.schedule("a", "b")
    launch(consul, defaults={"interval": "200ms", "timeout": "200ms", "failure_threshold": 5})
    until(lambda: fleet.are("passing", "ab"))
    before = consul.entries("health/")
    until(lambda: len(fleet.asked("a")) > 10)
    assert consul.entries("health/") == before
    until(lambda: in_step(fleet.asked("a")[-8:], 0.2), 60, "one probe in each interval")


def test_while_nothing_changes_only_the_session_and_the_checks_ttl_are_renewed(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    fleet.schedule("a", "b")
    controller = launch(consul, publish=["kv", "agent"], service={"ttl": "6s"})
    until(
        lambda: fleet.are("passing", "ab") and all_pass(consul), what="both places to be told, and the controller's own"
    )
    before, indexes = requests(controller), modify_indexes(consul)
    until(lambda: made(controller, before).get("session_renew", 0) >= 1, what="a renewal of the session")
    until(lambda: made(controller, before).get("update_check", 0) >= 12, 30, "renewals of the checks")
    assert made(controller, before).keys() - READS == {"session_renew", "update_check"}
    assert modify_indexes(consul) == indexes


@pytest.mark.parametrize("status", [301, 404, 500])
def test_every_status_but_200_is_critical(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, status: int
) -> None:
    target.behave(answer(status))
    fleet.schedule("a")
    launch(consul)
    record = record_of(fleet, "a", "critical")
    assert record["Detail"].startswith(f"answered with status {status}")
