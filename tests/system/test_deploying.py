"""Pods that are being deployed: their manifest is in intent, and p2's preparer has not written it into reality yet."""

from pathlib import Path
from typing import Any

from tests.support.authority import Authority
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest, watch_for
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

LONG = "1h"
FAST = {"interval": "200ms", "timeout": "200ms"}
PUBLISH = 'key_prefix "health/" { policy = "write" } session "web1" { policy = "write" }'
WITHOUT_REALITY = PUBLISH + ' key_prefix "intent/" { policy = "read" }'


def reason(fleet: Fleet, pod: str = "a") -> tuple[str | None, str | None]:
    """Returns the published status and reason."""
    record: dict[str, Any] = fleet.health(pod) or {}
    return record.get("Status"), record.get("Reason")


def version(fleet: Fleet, number: int, pod: str = "a") -> bytes:
    """The same check, of another version of the pod."""
    return fleet.manifest(pod) + f"config: {{version: {number}}}\n".encode()


def run(consul: Agent, data: bytes, pod: str = "a") -> None:
    """Does what p2's preparer does once it has launched a pod."""
    consul.put(f"reality/web1/{pod}", data)


def test_a_new_pod_is_deploying_until_its_first_success_and_critical_when_it_fails_then(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    target.behave(answer(503, b"starting\n"), "/a")
    controller = launch(consul, startup_grace=LONG, defaults=FAST)
    fleet.schedule("a")
    until(lambda: reason(fleet) == ("unknown", "deploying"), what="the pod to be deploying")
    fleet.wait_asked("a", 3)
    shown = controller.inspect()["a"]["web1"]
    assert shown["health_check"]["status"] == "unknown"
    assert (shown["reason"], shown["reality_manifest_sha"]) == ("deploying", "")
    assert shown["detail"] == "being deployed, and not well yet: answered with status 503"
    assert "being deployed, and not well yet" in controller.get("/").text
    metrics = controller.metrics()
    assert metrics.sum("podpulse_pods_deploying") == 1
    assert metrics.by_pod("podpulse_health", state="unknown") == {"a": 1.0}
    assert metrics.by_pod("podpulse_probe_failure_reason", reason="status") == {"a": 1.0}
    assert 'reason="deploying"' not in metrics.text

    target.behave(answer(200), "/a")
    until(lambda: reason(fleet) == ("passing", ""))
    target.behave(answer(503), "/a")
    until(lambda: reason(fleet) == ("critical", "status"), what="critical, though nobody ever wrote reality")


def test_a_pod_that_runs_as_intended_is_critical_at_once(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    target.behave(answer(503), "/a")
    fleet.schedule("a")
    run(consul, b"# as p2 wrote it\n" + fleet.manifest("a"))
    launch(consul, startup_grace=LONG, defaults=FAST)
    until(lambda: reason(fleet) == ("critical", "status"), what="critical")


def test_a_new_version_is_deploying_from_its_schedule_to_its_first_success(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.write("a", version(fleet, 1))
    run(consul, version(fleet, 1))
    launch(consul, startup_grace=LONG, defaults=FAST)
    until(lambda: reason(fleet) == ("passing", ""))

    fleet.write("a", version(fleet, 2))
    fleet.wait_asked("a", 3)
    assert reason(fleet) == ("passing", ""), "the old version runs, and answers"
    target.behave(answer(503), "/a")
    until(lambda: reason(fleet) == ("unknown", "deploying"), what="the old version to be stopped")
    run(consul, version(fleet, 2))
    watch_for(1.0)
    fleet.wait_asked("a", 2)
    assert reason(fleet) == ("unknown", "deploying"), "it was launched, and starts"
    target.behave(answer(200), "/a")
    until(lambda: reason(fleet) == ("passing", ""))
    target.behave(answer(503), "/a")
    until(lambda: reason(fleet) == ("critical", "status"), what="critical, since it had started")


def test_after_its_grace_a_pod_is_critical_and_stays_so_over_a_restart(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    target.behave(answer(503), "/a")
    fleet.schedule("a")
    controller = launch(consul, startup_grace="1s", defaults=FAST)
    until(lambda: reason(fleet) == ("unknown", "deploying"))
    until(lambda: reason(fleet) == ("critical", "status"), what="the grace to be over")
    controller.kill()
    controller.options["startup_grace"] = LONG
    controller.start()
    fleet.wait_asked("a", 3)
    until(lambda: consul.entries("health/")["health/a/web1"].get("Session") in consul.sessions())
    assert reason(fleet) == ("critical", "status")
    assert controller.metrics().sum("podpulse_pods_deploying") == 0


def test_without_a_grace_no_pod_is_deploying(consul: Agent, launch: Launch, fleet: Fleet, target: Target) -> None:
    target.behave(answer(503), "/a")
    fleet.schedule("a")
    launch(consul, defaults=FAST)
    until(lambda: fleet.health("a") is not None, what="the first verdict")
    assert reason(fleet) == ("critical", "status")


def test_without_a_right_to_read_reality_a_pod_is_critical_after_its_grace(
    acl_consul: Agent, launch: Launch, target: Target
) -> None:
    fleet = Fleet(acl_consul, target)
    target.behave(answer(503), "/a")
    fleet.schedule("a")
    token = acl_consul.create_token(WITHOUT_REALITY)
    launch(acl_consul, token=token, startup_grace="1s", defaults=FAST)
    until(lambda: reason(fleet) == ("unknown", "deploying"))
    until(lambda: reason(fleet) == ("critical", "status"), what="the grace to be over")


def test_in_the_reality_tree_no_pod_is_being_deployed(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    target.behave(answer(503), "/a")
    run(consul, fleet.manifest("a"))
    launch(consul, tree="reality", startup_grace=LONG, defaults=FAST)
    until(lambda: reason(fleet) == ("critical", "status"), what="critical")


def test_in_a_folder_no_pod_is_being_deployed(tmp_path: Path, target: Target) -> None:
    intents, healths = tmp_path / "pods", tmp_path / "health"
    intents.mkdir()
    target.behave(answer(503), "/a")
    (intents / "a.yaml").write_bytes(manifest("a", target.port, "/a"))
    with Controller(startup_grace=LONG, defaults=FAST, intent_dir=str(intents), health_dir=str(healths)) as controller:
        until(lambda: controller.inspect()["a"]["web1"].get("reason") == "status", what="critical")


def test_a_version_that_only_a_reload_put_in_force_has_its_grace_too(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, tmp_path: Path
) -> None:
    """The new version named a file that did not exist yet. Until the file existed, the version before stayed in
    force."""
    target.behave(answer(200), "/a")
    fleet.schedule("a")
    run(consul, fleet.manifest("a"))
    controller = launch(consul, startup_grace=LONG, defaults=FAST)
    until(lambda: reason(fleet) == ("passing", ""))
    ca = tmp_path / "ca.pem"
    secure = f"id: a\nstatus_port: {target.port}\nstatus: {{path: /a, tls: {{ca_file: {ca}}}}}\n".encode()
    fleet.write("a", secure)
    until(lambda: controller.metrics().flagged("podpulse_manifest_invalid") == {"a"})
    Authority(tmp_path).file.rename(ca)
    controller.reload()
    until(lambda: reason(fleet) == ("unknown", "deploying"), what="the pod to be deploying, not critical")
