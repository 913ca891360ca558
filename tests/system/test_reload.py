"""A reload applies or rejects the whole configuration. Unchanged checks miss no probe."""

from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.consul import Agent
from tests.support.controller import Controller, gaps, manifest, none_is_added, podpulse
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.signing import Signer, keyring
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

SUCCESSFUL = "podpulse_config_last_reload_successful"
SUCCESS_TIME = "podpulse_config_last_reload_success_timestamp_seconds"
RULES = """
key_prefix "intent/" { policy = "read" }
key_prefix "health/" { policy = "write" }
session "web1" { policy = "write" }
"""


def reloaded(controller: Controller, times: int = 1) -> None:
    until(lambda: controller.log.count("configuration reloaded") >= times, what=f"reload {times}")


def with_own_interval(target: Target, pod: str) -> bytes:
    return f"id: {pod}\nstatus_port: {target.port}\nstatus_http: true\nstatus:\n  path: /{pod}\n".encode() + (
        b"  interval: 500ms\n  timeout: 500ms\n"
    )


def test_new_defaults_restart_only_the_checks_that_they_change(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    for pod in ("own-1", "own-2"):
        fleet.write(pod, with_own_interval(target, pod))
    fleet.schedule("plain")
    controller = launch(consul, defaults={"interval": "2s", "timeout": "500ms"})
    until(lambda: fleet.are("passing", ["own-1", "own-2", "plain"]))
    loaded = controller.metrics().sum(SUCCESS_TIME)
    before = consul.entries("health/")
    fleet.wait_asked("own-1", 3)
    controller.reload(defaults={"interval": "300ms", "timeout": "300ms"})
    reloaded(controller)
    fleet.wait_asked("plain", 5)
    until(lambda: max(gaps(fleet.asked("plain"))[-3:]) < 1.5, what="probes at the new interval")
    assert all(none_is_added(fleet.asked(pod)[1:], 0.5) for pod in ("own-1", "own-2"))
    assert consul.entries("health/") == before
    assert "configuration reloaded; changed: defaults" in controller.log
    assert controller.metrics().sum(SUCCESSFUL) == 1
    assert controller.metrics().sum(SUCCESS_TIME) > loaded


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen: everywhere", "listen: expected HOST:PORT"),
        ("defaults: {interval: soon}", "defaults.interval: expected a duration"),
        ("consul: {address: 'ftp://x'}", "Consul's address is"),
        (
            "consul: {token_file: /nowhere}",
            "consul.token_file: expected a file that can be read, got /nowhere: No such",
        ),
        ("consul: {ca_file: /etc/hostname}", "consul.ca_file: expected certificates of authorities, got /etc/hostname"),
        (
            "consul: {cert_file: /etc/hostname, key_file: /etc/hostname}",
            "consul.cert_file: expected a certificate with its key in consul.key_file, got /etc/hostname and ",
        ),
        ("ca_file: /etc/hostname", "ca_file: expected certificates of authorities, got /etc/hostname"),
        ("a: [", "line 2, column 1"),
        (None, "cannot be read"),
    ],
)
def test_an_invalid_configuration_changes_nothing_and_is_reported(
    consul: Agent, launch: Launch, fleet: Fleet, text: str | None, said: str
) -> None:
    fleet.schedule("a")
    controller = launch(consul)
    until(lambda: fleet.are("passing", "a"))
    loaded = controller.metrics().sum(SUCCESS_TIME)
    good = controller.config_file.read_text()
    if text is None:
        controller.config_file.unlink()
        controller.config_file.mkdir()
    else:
        controller.config_file.write_text(f"{text}\n")
        assert podpulse("check-config", controller.config_file, check=False).returncode == 1
    controller.hang_up()
    until(lambda: controller.metrics().sum(SUCCESSFUL) == 0)
    assert controller.metrics().sum(SUCCESS_TIME) == loaded
    assert "the configuration could not be reloaded, the previous one stays in force" in controller.get("/").text
    until(lambda: said in controller.log)
    assert controller.get("/-/ready").status == 200
    fleet.wait_asked("a", 3)
    assert none_is_added(fleet.asked("a")[1:], 0.5)
    assert fleet.are("passing", "a")

    if text is None:
        controller.config_file.rmdir()
    controller.config_file.write_text(good)
    assert podpulse("check-config", controller.config_file).returncode == 0
    controller.hang_up()
    until(lambda: controller.metrics().sum(SUCCESSFUL) == 1)
    assert "could not be reloaded" not in controller.get("/").text
    assert "Traceback" not in controller.log


def test_an_option_that_needs_a_restart_is_named_and_not_changed(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    controller = launch(consul)
    controller.reload(listen="127.0.0.1:1", publish=["agent"], log_level="debug", consul={"address": "127.0.0.1:1"})
    reloaded(controller)
    expected = "changed: log_level; unchanged until a restart: publish, listen, consul.address"
    assert expected in controller.log
    assert "new values need a restart: publish, listen, consul.address" in controller.get("/").text
    assert controller.metrics().sum(SUCCESSFUL) == 1
    controller.reload(listen="127.0.0.1:0", publish=["kv"], consul={"address": consul.address})
    reloaded(controller, 2)
    assert "need a restart" not in controller.get("/").text


def test_a_reload_over_http_works_if_enabled(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    controller = launch(consul, enable_lifecycle=True)
    assert controller.get("/-/reload").status == 405
    done = controller.get("/-/reload", method="POST")
    assert (done.status, done.text) == (200, "configuration reloaded; changed: nothing\n")
    controller.config_file.write_text("listen: everywhere\n")
    refused = controller.get("/-/reload", method="POST")
    assert refused.status == 500
    assert "listen: expected HOST:PORT, or :PORT for every address, got 'everywhere'" in refused.text
    assert controller.metrics().sum(SUCCESSFUL) == 0


def test_a_reload_over_http_is_refused_if_not_enabled(consul: Agent, launch: Launch) -> None:
    controller = launch(consul)
    refused = controller.get("/-/reload", method="POST")
    assert (refused.status, refused.text) == (403, "not enabled: set enable_lifecycle\n")
    assert controller.get("/-/reload").status == 405
    assert "configuration reloaded" not in controller.log


def test_addresses_are_allowed_and_denied_without_a_restart(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    fleet.write("agent", manifest("agent", consul.http_port, "/v1/status/leader"))
    controller = launch(consul)
    until(lambda: fleet.status("agent") == "unknown")
    controller.reload(allow_addresses=[f"127.0.0.1:{consul.http_port}"])
    until(lambda: fleet.status("agent") == "passing")
    controller.reload(allow_addresses=[])
    until(lambda: fleet.status("agent") == "unknown")


def test_damping_and_on_stop_change_without_a_restart(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.schedule("shaky")
    controller = launch(consul, damping={"changes": 2})
    until(lambda: fleet.status("shaky") == "passing")
    target.behave(answer(500))
    until(lambda: fleet.status("shaky") == "unknown")
    controller.reload(damping={"changes": 0}, on_stop="remove")
    until(lambda: fleet.status("shaky") == "critical")
    assert controller.terminate() == 0
    assert consul.entries("health/") == {}


def test_a_keyring_that_changed_is_read_again(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, tmp_path: Path
) -> None:
    alice, bob = Signer("alice"), Signer("bob")
    ring = keyring(tmp_path / "ring", alice)
    fleet.write("a", alice.sign(manifest("a", target.port)))
    fleet.write("b", bob.sign(manifest("b", target.port)))
    controller = launch(consul, require_signature=str(ring))
    until(lambda: fleet.are("passing", "a"))
    controller.hang_up()
    reloaded(controller)
    assert "configuration reloaded; changed: nothing" in controller.log
    keyring(ring, alice, bob)
    controller.hang_up()
    until(lambda: fleet.are("passing", "ab"))
    assert "configuration reloaded; changed: require_signature" in controller.log


def test_the_names_of_services_change_without_a_restart(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    def names() -> set[str]:
        return {service["Service"] for service in consul.request("GET", "agent/services").json().values()}

    fleet.schedule("a")
    controller = launch(consul, publish=["agent"], register=False)
    until(lambda: names() == {"a"})
    controller.reload(service={"name_prefix": "pod-"})
    until(lambda: names() == {"pod-a"})


def test_another_token_is_used_without_a_restart(acl_consul: Agent, launch: Launch, target: Target) -> None:
    fleet = Fleet(acl_consul, target)
    fleet.schedule("a")
    old, new = acl_consul.create_token(RULES), acl_consul.create_token(RULES)
    controller = launch(acl_consul, token=old)
    until(lambda: fleet.are("passing", "a"))
    controller.reload(consul={"address": acl_consul.address, "token": new})
    reloaded(controller)
    acl_consul.delete_token(old)
    target.behave(answer(500))
    until(lambda: fleet.are("critical", "a"))
    assert "configuration reloaded; changed: consul.token" in controller.log
    assert old not in controller.log
    assert new not in controller.log


def test_authorities_that_were_replaced_are_noticed(consul: Agent, launch: Launch, tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(old.file.read_bytes())
    with Target(old.server("web1")) as target:
        fleet = Fleet(consul, target)
        fleet.write("a", manifest("a", target.port, "/a", https=True))
        controller = launch(consul, ca_file=str(bundle))
        until(lambda: fleet.status("a") == "passing")
        target.tls = new.server("web1")
        until(lambda: fleet.status("a") == "critical")
        (tmp_path / "next.pem").write_bytes(new.file.read_bytes())
        (tmp_path / "next.pem").replace(bundle)
        until(lambda: fleet.status("a") == "passing", 20.0, "the new authorities are in force")
        assert f"{bundle} replaced" in controller.log
        asked = fleet.asked("a")
        assert max(gaps(asked)) < 30.0
        bundle.write_text("garbage")
        until(lambda: f"{bundle} replaced, and cannot be used" in controller.log, 20.0)
        before = len(target.hits("/a"))
        until(lambda: len(target.hits("/a")) > before + 3)
        assert fleet.status("a") == "passing"


def test_authorities_that_are_replaced_right_after_the_first_verdict_are_noticed(
    consul: Agent, launch: Launch, tmp_path: Path
) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    mine, other = tmp_path / "mine.pem", tmp_path / "next.pem"
    mine.write_bytes(old.file.read_bytes())
    other.write_bytes(new.file.read_bytes())
    with Target(old.server("web1")) as target:
        fleet = Fleet(consul, target)
        launch(consul, ca_file=str(new.file))
        fleet.write("a", manifest("a", target.port, "/a", https=True, tls={"ca_file": str(mine)}))
        until(lambda: fleet.status("a") == "passing")
        other.replace(mine)
        until(lambda: fleet.status("a") == "critical", 20.0, "the old authorities are trusted no more")
