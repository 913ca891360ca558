"""A restart changes no published health and keeps the counts, and a second controller of a node is refused."""

import json
import math
import resource
import subprocess
import threading
import time
from base64 import b64decode
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.clock import Clock
from tests.support.consul import Agent
from tests.support.controller import Controller, gaps, manifest, podpulse, watch_for
from tests.support.fleet import Fleet
from tests.support.net import free_ports, until
from tests.support.standstills import Standstills
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

SLOWLY = {"interval": "5s", "timeout": "2s", "failure_threshold": 3, "success_threshold": 3}


@dataclass
class Watched:
    """The health keys that a poller saw. Each item of `looks` maps a key to (session, lock index, status)."""

    looks: list[dict[str, tuple[str, int, str]]] = field(default_factory=list)

    def missing(self, keys: Collection[str]) -> set[str]:
        """Returns the keys that were missing at least once."""
        return {key for look in self.looks for key in keys if key not in look}

    def changed(self) -> dict[str, set[tuple[str, int, str]]]:
        """Returns the keys that changed, with their different values."""
        seen: dict[str, set[tuple[str, int, str]]] = {}
        for look in self.looks:
            for key, state in look.items():
                seen.setdefault(key, set()).add(state)
        return {key: states for key, states in seen.items() if len(states) > 1}


@contextmanager
def watching(consul: Agent) -> Iterator[Watched]:
    """Polls the health keys about twenty times per second."""
    watched, stopped = Watched(), threading.Event()

    def look() -> None:
        while not stopped.wait(0.05):
            entries = consul.entries("health/")
            watched.looks.append({key: _state(entry) for key, entry in entries.items()})

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        stopped.set()
        thread.join()


def _state(entry: dict[str, object]) -> tuple[str, int, str]:
    record = json.loads(b64decode(str(entry["Value"])))
    return str(entry.get("Session")), int(str(entry["LockIndex"])), record["Status"]


def restart(controller: Controller, how: str) -> None:
    if how == "SIGTERM":
        assert controller.terminate() == 0
    else:
        controller.kill()
    controller.start()


def states(controller: Controller) -> dict[str, str]:
    """Returns the first metrics with a pod. A controller that is ready may not have started its checks yet."""
    until(lambda: controller.metrics().by_pod("podpulse_health"))
    metrics = controller.metrics()
    return {
        pod: state
        for state in ("passing", "warning", "critical", "unknown")
        for pod, value in metrics.by_pod("podpulse_health", state=state).items()
        if value
    }


@pytest.mark.slow
def test_a_rolling_restart_with_200_pods_changes_no_health_key(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    """Restarts after SIGTERM, then after SIGKILL."""
    pods = [f"pod-{number:03}" for number in range(200)]
    bad = pods[::10]
    for pod in bad:
        target.behave(answer(503, b"no disk\n"), f"/{pod}")
    fleet.schedule(*pods)
    controller = launch(consul, defaults=SLOWLY)
    expected = {pod: "critical" if pod in bad else "passing" for pod in pods}
    until(lambda: fleet.statuses() == expected, 60.0, "all pods have their verdict")
    until(lambda: controller.metrics().sum("podpulse_probes_total") >= 600, 60.0, "some rounds of probes")
    assert_restart_is_seen_by_nobody(consul, controller, fleet, expected, "SIGTERM")
    watch_for(6.0)  # so that what SIGKILL finds saved is newer than the last verdict
    assert_restart_is_seen_by_nobody(consul, controller, fleet, expected, "SIGKILL")
    assert "Traceback" not in controller.log


def assert_restart_is_seen_by_nobody(
    consul: Agent, controller: Controller, fleet: Fleet, expected: dict[str, str], how: str
) -> None:
    with watching(consul) as watched, Standstills() as pauses:
        until(lambda: len(watched.looks) > 10)
        ended = time.monotonic()
        restart(controller, how)
        began = time.monotonic()
        first = states(controller)
        shown = controller.metrics().by_pod("probe_success")
        until(lambda: min(map(max, fleet.asked_by_pod().values())) > began + 6.0, 30.0, "two more rounds")
    assert fleet.asked_by_pod().keys() == expected.keys()
    assert watched.missing([fleet.health_key(pod) for pod in expected]) == set()
    assert watched.changed() == {}
    assert first == expected, "no gauge begins anew"
    assert shown.keys() == expected.keys()
    assert len(consul.sessions()) == 1
    waited = max(max(gaps(times)[-4:]) for times in fleet.asked_by_pod().values())
    missed = math.ceil((began - ended) / 5.0)
    within = 5.0 * (1 + missed) + 2.5 + pauses.seconds
    assert waited <= within, "what fell into the pause was made up for within one interval"


def assert_misses_go_on(controller: Controller, fleet: Fleet, target: Target) -> None:
    """Three to five of six failures happen before a restart, and the others after it."""
    target.behave(answer(503))
    fleet.wait_asked("a", 3)
    assert controller.terminate() == 0
    asked = len(fleet.asked("a"))
    assert fleet.status("a") == "passing"
    controller.start()
    until(lambda: fleet.status("a") == "critical")
    assert len(fleet.asked("a")) < asked + 6


def test_counts_survive_a_restart(consul: Agent, launch: Launch, fleet: Fleet, target: Target) -> None:
    fleet.schedule("a")
    controller = launch(consul, defaults={"interval": "1s", "timeout": "500ms", "failure_threshold": 6})
    until(lambda: fleet.status("a") == "passing")
    assert_misses_go_on(controller, fleet, target)


def test_counts_survive_a_restart_after_the_clock_was_set_back(
    consul: Agent, stack: ExitStack, fleet: Fleet, target: Target, tmp_path: Path
) -> None:
    """The clock is set back by an hour between the change of status and the save."""
    fleet.schedule("a")
    clock = Clock(tmp_path / "clock")
    clock.set(3600.0)
    controller = stack.enter_context(
        Controller(
            clock=clock,
            consul={"address": consul.address},
            defaults={"interval": "1s", "timeout": "500ms", "failure_threshold": 6},
        )
    )
    until(lambda: fleet.status("a") == "passing")
    clock.set(0.0)
    assert_misses_go_on(controller, fleet, target)


def test_the_published_record_overrides_an_older_saved_state(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    """The controller is killed at a change of status: the state file has passing, Consul has critical."""
    fleet.schedule("a")
    controller = launch(consul, defaults={"interval": "1s", "timeout": "500ms", "success_threshold": 6})
    until(lambda: fleet.status("a") == "passing", 20.0)
    assert controller.terminate() == 0
    saved = state_file(controller).read_bytes()
    controller.start()
    target.behave(answer(503))
    until(lambda: fleet.status("a") == "critical")
    controller.kill()
    state_file(controller).write_bytes(saved)
    target.behave(answer(200))
    with watching(consul) as watched:
        controller.start()
        assert states(controller) == {"a": "critical"}
        fleet.wait_asked("a", 2)
        assert states(controller) == {"a": "critical"}, "its successes of an earlier time do not count"
    assert not watched.changed()
    until(lambda: fleet.status("a") == "passing")


def test_a_check_that_changed_meanwhile_inherits_no_counts(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.schedule("a", "b")
    controller = launch(consul, defaults={"interval": "2s", "timeout": "500ms", "success_threshold": 2})
    until(lambda: fleet.are("passing", "ab"))
    assert controller.terminate() == 0
    fleet.write("a", manifest("a", target.port, "/other"))
    target.behave(answer(503), "/other")
    controller.start()
    until(lambda: target.hits("/other"))
    until(lambda: fleet.status("a") == "critical", what="one failure is enough for a check that never passed")
    assert states(controller) == {"a": "critical", "b": "passing"}


def test_a_restart_does_not_repeat_the_initial_delay(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    target.behave(answer(503))
    fleet.schedule("a")
    controller = launch(consul, defaults={"interval": "500ms", "timeout": "500ms", "initial_delay": "8s"})
    fleet.wait_asked("a", 14)
    began = fleet.asked("a")[0]
    assert controller.terminate() == 0
    before = len(fleet.asked("a"))
    controller.start()
    until(lambda: fleet.status("a") == "critical", 20.0)
    assert time.monotonic() - began > 7.5
    assert len(fleet.asked("a")) < before + 12, (
        "seven of eight seconds had passed: of the whole delay it would be sixteen"
    )


def test_after_the_session_ended_health_is_published_again_from_new_probes(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.schedule("good", "bad")
    controller = launch(consul, defaults={"interval": "500ms", "success_threshold": 3})
    until(lambda: fleet.are("passing", ["good", "bad"]))
    assert controller.terminate() == 0
    (session,) = consul.sessions()
    consul.destroy_session(session)
    target.behave(answer(503), "/bad")
    with watching(consul) as watched:
        controller.start()
        until(lambda: fleet.statuses() == {"good": "passing", "bad": "critical"})
    assert all(look.get("health/bad/web1", ("", 0, ""))[2] != "passing" for look in watched.looks)
    assert session not in consul.sessions()


@pytest.mark.parametrize("garbage", [b"", b"\0\0", b"[]\n{", b'{"format": 99, "node": "web1", "boot": ""}\n'])
def test_a_corrupt_state_file_loses_only_the_counts(
    consul: Agent, launch: Launch, fleet: Fleet, garbage: bytes
) -> None:
    fleet.schedule("a", "b")
    controller = launch(consul)
    until(lambda: fleet.are("passing", "ab"))
    controller.kill()
    state_file(controller).write_bytes(garbage)
    with watching(consul) as watched:
        controller.start()
        fleet.wait_asked("a", 2)
    assert watched.missing(["health/a/web1", "health/b/web1"]) == set()
    assert watched.changed() == {}
    assert "every check starts without its earlier state" in controller.log
    assert "Traceback" not in controller.log


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe", b"x\n../../agent/leave\n", b"1" * 5000])
def test_a_corrupt_lock_file_is_replaced(consul: Agent, launch: Launch, fleet: Fleet, garbage: bytes) -> None:
    fleet.schedule("a")
    controller = launch(consul)
    until(lambda: fleet.are("passing", "a"))
    assert controller.terminate() == 0
    consul.destroy_session(next(iter(consul.sessions())))
    (controller.folder / "state" / "web1.lock").write_bytes(garbage)
    controller.start()
    until(lambda: fleet.are("passing", "a"))
    said = (controller.folder / "state" / "web1.lock").read_text().splitlines()
    assert said == [str(controller.pid), next(iter(consul.sessions()))]


def test_the_error_of_a_second_controller_names_the_first(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    fleet.schedule("a")
    first = launch(consul)
    until(lambda: fleet.are("passing", "a"))
    second = podpulse("run", "--config", first.config_file, check=False)
    assert second.returncode == 1
    assert f"a controller of node web1 is already running: process {first.pid} holds" in second.stderr
    assert "Traceback" not in second.stderr
    assert first.get("/-/ready").status == 200
    assert len(consul.sessions()) == 1
    first.kill()
    first.start()


def test_a_configured_state_folder_that_is_unusable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = tmp_path / "config.yaml"
    config.write_text(f"node_name: web1\nstate_dir: {tmp_path}/file/state\n")
    ended = podpulse("run", "--config", config, check=False)
    assert ended.returncode == 1
    assert f"state_dir: {tmp_path}/file/state cannot be used: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_without_a_successor_the_health_vanishes_within_21_seconds(
    consul: Agent, launch: Launch, target: Target
) -> None:
    """One controller is stopped and another is killed, each with a separate node."""
    ended, killed = (Fleet(consul, target, node) for node in ("web1", "web2"))
    for fleet in (ended, killed):
        fleet.schedule("a", "b")
    controllers = [launch(consul, node_name=fleet.node) for fleet in (ended, killed)]
    until(lambda: all(fleet.are("passing", "ab") for fleet in (ended, killed)))
    assert controllers[0].terminate() == 0
    controllers[1].kill()
    assert ended.are("passing", "ab")
    assert killed.are("passing", "ab")
    until(lambda: not consul.entries("health/"), 21.0, "no health outlives its controller for long")


def test_a_pod_that_flaps_is_still_quiet_after_a_restart(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.schedule("shaky")
    controller = launch(consul, damping={"changes": 2}, defaults={"interval": "200ms"})
    until(lambda: fleet.status("shaky") == "passing")
    target.behave(answer(500), "/shaky")
    until(lambda: fleet.status("shaky") == "unknown", what="the second change to be damped")
    with watching(consul) as watched:
        restart(controller, "SIGTERM")
        fleet.wait_asked("shaky", 3)
    assert watched.changed() == {}
    assert states(controller) == {"shaky": "critical"}
    assert controller.metrics().sum("podpulse_pods_damped") == 1


def test_a_disk_that_fails_does_not_end_the_publishing(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    """No file may grow, so the log is not written to a file."""
    (port,) = free_ports(1)
    fleet.schedule("a", "b")
    controller = launch(consul, output=subprocess.DEVNULL, listen=f"127.0.0.1:{port}")
    until(lambda: fleet.are("passing", "ab"))
    resource.prlimit(controller.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    (lost,) = consul.sessions()
    consul.destroy_session(lost)
    until(lambda: fleet.are("passing", "ab"), 30.0, "all is published under a new session")
    (second,) = consul.sessions()
    consul.destroy_session(second)
    until(lambda: fleet.are("passing", "ab"), 30.0, "and once more")
    resource.prlimit(controller.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert controller.get("/-/healthy").status == 200
    restart(controller, "SIGTERM")
    until(lambda: fleet.are("passing", "ab"))


def test_services_survive_a_restart_and_are_removed_with_on_stop_remove(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    def checks() -> dict[str, str]:
        every = consul.request("GET", "agent/checks").json().values()
        return {check["ServiceName"]: check["Status"] for check in every}

    target.behave(answer(503), "/bad")
    fleet.schedule("good", "bad")
    defaults = {"interval": "2s", "timeout": "500ms", "success_threshold": 2}
    controller = launch(consul, publish=["agent"], register=False, defaults=defaults)
    expected = {"good": "passing", "bad": "critical"}
    until(lambda: checks() == expected, 20.0)
    assert controller.terminate() == 0
    assert checks() == expected
    controller.options["on_stop"] = "remove"
    controller.start()
    assert states(controller)["good"] == "passing"
    fleet.wait_asked("good", 1)
    assert checks() == expected
    assert controller.terminate() == 0
    assert checks() == {}


@pytest.mark.slow
def test_after_a_freeze_results_from_before_it_are_not_published(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    """A frozen controller's health expires. After it resumes, it publishes only the results of new probes."""

    def serving(pod: str) -> bool:
        return bool(consul.request("GET", f"health/service/{pod}?passing").json())

    fleet.schedule("good", "bad")
    defaults = {"interval": "2s", "timeout": "1s", "failure_threshold": 3, "success_threshold": 1}
    controller = launch(consul, publish=["kv", "agent"], register=False, defaults=defaults)
    until(lambda: fleet.are("passing", ["good", "bad"]) and serving("good") and serving("bad"), 30.0)
    controller.pause()
    target.behave(answer(503), "/bad")
    until(lambda: not consul.sessions() and not serving("good") and not serving("bad"), 60.0, "all claims to be over")
    asked = len(fleet.asked("bad"))
    watched: list[tuple[str | None, bool]] = []

    def are_told() -> bool:
        watched.append((fleet.status("bad"), serving("bad")))
        return fleet.are("passing", ["good"]) and serving("good")

    def is_critical() -> bool:
        watched.append((fleet.status("bad"), serving("bad")))
        return watched[-1][0] == "critical"

    controller.resume()
    until(are_told, 20.0, "a success to be published in both places, though it is no change")
    until(is_critical, 60.0)
    assert {status for status, _ in watched} == {None, "critical"}
    assert {served for _, served in watched} == {False}
    assert len(fleet.asked("bad")) >= asked + 3, "as many misses as are asked for"
    assert "Traceback" not in controller.log


def state_file(controller: Controller) -> Path:
    return controller.folder / "state" / "web1.state"
