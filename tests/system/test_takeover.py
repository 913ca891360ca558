"""Podpulse in place of p2: signed manifests, p2's configuration, and the behaviour of p2's later code."""

from contextlib import ExitStack
from pathlib import Path

from tests.support import targets
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.signing import Signer, keyring
from tests.support.targets import Target
from tests.system.conftest import Launch


def invalid(controller: Controller) -> set[str]:
    """Returns the pods with an invalid manifest, according to the metric."""
    return controller.metrics().flagged("podpulse_manifest_invalid")


def test_an_unsigned_manifest_keeps_the_last_one_that_was_signed(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, tmp_path: Path
) -> None:
    alice, stranger = Signer("alice"), Signer("stranger")
    fleet.write("a", alice.sign(fleet.manifest("a")))
    fleet.write("b", fleet.manifest("b"))
    controller = launch(consul, require_signature=str(keyring(tmp_path / "deployers.asc", alice)))
    until(lambda: fleet.are("passing", "a"))
    assert invalid(controller) == {"b"}

    elsewhere = manifest("a", target.port, "/elsewhere")
    for refused in (elsewhere, stranger.sign(elsewhere), elsewhere + alice.sign(fleet.manifest("a"))):
        fleet.write("a", refused)
        until(lambda: invalid(controller) == {"a", "b"}, what="the metric says that it is refused")
        fleet.wait_asked("a", 2)
        fleet.write("a", alice.sign(fleet.manifest("a")))
        until(lambda: invalid(controller) == {"b"}, what="the complaint ends")
    assert target.hits("/elsewhere") == []
    assert fleet.are("passing", "a")
    assert "manifest of web1/a is invalid: not signed, but require_signature is set" in controller.log
    assert "which is not in" in controller.log
    assert "text before or after the signed message" in controller.log

    fleet.write("a", alice.sign(elsewhere))
    until(lambda: target.hits("/elsewhere"), what="what she signs is done")


def test_p2_compat_follows_p2s_later_code(consul: Agent, launch: Launch, fleet: Fleet, target: Target) -> None:
    target.behave(targets.answer(204, b""))
    fleet.schedule("a")
    fleet.write("portless", b"id: portless\nlaunchables: {}\n")
    fleet.write("strict", fleet.manifest("strict") + b"  method: GET\n  expect_status: 200\n")
    controller = launch(consul, p2_compat=True, defaults={})
    until(lambda: fleet.statuses() == {"a": "passing", "portless": "passing", "strict": "critical"})
    assert {hit.method for hit in target.hits("/a")} == {"HEAD"}
    assert {hit.method for hit in target.hits("/strict")} == {"GET"}

    record = fleet.health("portless")
    assert record
    assert (record["Reason"], record["Service"]) == ("", "portless")
    assert record["Output"] == "reported as passing without a probe: the manifest has no status_port"
    metrics = controller.metrics()
    assert metrics.by_pod("podpulse_health", state="passing") == {"a": 1.0, "portless": 1.0, "strict": 0.0}
    assert metrics.by_pod("podpulse_probes_total")["portless"] == 0
    assert "portless" not in metrics.by_pod("probe_success")
    assert "reported as passing without a probe" in controller.get("/").text

    fleet.wait_asked("a", 3)
    assert fleet.status("portless") == "passing"
    target.behave(targets.answer(404, b""))
    until(lambda: fleet.status("a") == "critical", what="404 is no success for p2 either")
    fleet.write("portless", fleet.manifest("portless"))
    until(lambda: fleet.status("portless") == "critical", what="with a port it is probed")
    fleet.write("portless", b"id: portless\n")
    until(lambda: fleet.status("portless") == "passing", what="without one it is not")


def test_p2s_configuration_works_unchanged(
    consul: Agent, stack: ExitStack, fleet: Fleet, target: Target, tmp_path: Path
) -> None:
    fleet.schedule("a")
    controller = Controller()
    controller.options = {
        "preparer": {
            "node_name": "web1",
            "consul_address": consul.address.removeprefix("http://"),
            "hooks_directory": "/etc/p2/hooks",
            "auth": {"type": "keyring", "keyring": "/etc/p2.keyring"},
            "status_port": target.port,
            "log_level": "warn",
        },
        "podpulse": {"address": "127.0.0.1", "listen": "127.0.0.1:0", "log_level": "info"},
    }
    stack.enter_context(controller)
    until(lambda: fleet.are("passing", "a"))
    assert "preparer.status_port: passed over" in controller.log
    assert "preparer.auth: passed over" in controller.log
    assert "hooks_directory" not in controller.log
