"""The same program without Consul: manifests from a folder, health into a folder."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from controller.publish.folder import LEASE
from tests.support.controller import Controller, manifest, podpulse, watch_for
from tests.support.net import until
from tests.support.targets import Target, answer


class Folders:
    """The two folders of one controller."""

    def __init__(self, root: Path) -> None:
        self.intent = root / "pods"
        self.health = root / "health"
        self.intent.mkdir()

    def controller(self, *, ready: bool = True, **options: Any) -> Controller:
        """Returns a controller that the test starts as a context."""
        return Controller(ready=ready, intent_dir=str(self.intent), health_dir=str(self.health), **options)

    def status(self, pod: str) -> str | None:
        """Returns the status in the record; None if there is no record."""
        file = self.health / f"{pod}.json"
        return str(json.loads(file.read_bytes())["Status"]) if file.exists() else None

    def write(self, pod: str, data: bytes) -> None:
        (self.intent / f"{pod}.yaml").write_bytes(data)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def test_a_pod_is_scheduled_fails_recovers_moves_and_goes(folders: Folders, target: Target, tmp_path: Path) -> None:
    file = tmp_path / "isup.yaml"
    file.write_bytes(manifest("isup", target.port, "/one"))
    with folders.controller() as controller:
        podpulse("schedule", file, "--intent-dir", folders.intent, "--node", "web1")
        until(lambda: folders.status("isup") == "passing")
        assert controller.inspect("--pod", "isup")["isup"]["web1"]["health_check"] == {
            "status": "passing",
            "output": "ok\n",
        }
        target.behave(answer(503))
        until(lambda: folders.status("isup") == "critical")
        target.behave(answer(200))
        until(lambda: folders.status("isup") == "passing")

        file.write_bytes(manifest("isup", target.port, "/two"))
        podpulse("schedule", file, "--intent-dir", folders.intent, "--node", "web1")
        until(lambda: target.hits("/two"))
        before = len(target.hits("/one"))
        until(lambda: len(target.hits("/two")) >= 4)
        assert len(target.hits("/one")) == before

        podpulse("unschedule", "isup", "--intent-dir", folders.intent, "--node", "web1")
        until(lambda: folders.status("isup") is None, 4.0, "its health is withdrawn")
        assert controller.inspect() == {}
        assert controller.terminate(within=5.0) == 0
    assert "Traceback" not in controller.log


def test_a_credential_is_shown_nowhere_and_read_again_when_its_file_is_replaced(
    folders: Folders, target: Target, tmp_path: Path
) -> None:
    """The target repeats the credential in its answer."""
    secret, file = "hunter2-first", tmp_path / "credentials" / "token"
    file.parent.mkdir()
    file.write_text(f"{secret}\n")
    target.behave(answer(500, f"Authorization: Bearer {secret}".encode()))
    folders.write("a", manifest("a", target.port, "/a", bearer_token_file=str(file)))
    with folders.controller(credentials_dir=str(file.parent), log_level="debug") as controller:
        until(lambda: folders.status("a") == "critical")
        assert target.hits()[-1].headers["authorization"] == f"Bearer {secret}"
        paths = ("/", "/pods/web1/a", "/api/v1/pods/web1/a", "/api/v1/checks", "/metrics")
        shown = [controller.get(path).text for path in paths]
        shown += [json.dumps(controller.inspect()), (folders.health / "a.json").read_text(), controller.log]
        assert len([each for each in shown if "(hidden)" in each]) >= 3
        assert not [each for each in shown if secret in each]
        beside = file.with_name("new")
        beside.write_text("hunter2-second\n")
        beside.replace(file)
        until(lambda: target.hits()[-1].headers["authorization"] == "Bearer hunter2-second", 20.0)


def test_a_broken_new_version_keeps_the_check(folders: Folders, target: Target) -> None:
    folders.write("a", manifest("a", target.port, "/a"))
    with folders.controller() as controller:
        until(lambda: folders.status("a") == "passing")
        folders.write("a", b"id: [")
        until(lambda: controller.metrics().by_pod("podpulse_manifest_invalid") == {"a": 1.0})
        before = len(target.hits("/a"))
        until(lambda: len(target.hits("/a")) >= before + 2)
        assert folders.status("a") == "passing"


def test_what_an_earlier_run_left_is_removed_or_taken_over(folders: Folders, target: Target) -> None:
    for pod in ("stays", "goes"):
        folders.write(pod, manifest(pod, target.port, f"/{pod}"))
    with folders.controller() as controller:
        until(lambda: folders.status("stays") == folders.status("goes") == "passing")
        controller.kill()
        (folders.intent / "goes.yaml").unlink()
        target.behave(answer(503))
        controller.start()
        until(lambda: folders.status("stays") == "critical")
        until(lambda: folders.status("goes") is None)


def test_a_restart_on_folders_leaves_every_record_as_it_was(folders: Folders, target: Target) -> None:
    folders.write("a", manifest("a", target.port, "/a"))
    with folders.controller(defaults={"interval": "1s", "success_threshold": 5}) as controller:
        until(lambda: folders.status("a") == "passing", 20.0)
        record = (folders.health / "a.json").read_bytes()
        assert controller.terminate() == 0
        controller.start()
        assert controller.inspect()["a"]["web1"]["health_check"]["status"] == "passing"
        before = len(target.hits("/a"))
        until(lambda: len(target.hits("/a")) >= before + 2)
        assert (folders.health / "a.json").read_bytes() == record
        assert controller.metrics().sum("podpulse_health", state="passing") == 1


def test_records_of_a_run_that_ended_long_ago_are_stale(folders: Folders, target: Target) -> None:
    folders.write("a", manifest("a", target.port, "/a"))
    with folders.controller(defaults={"interval": "1s", "success_threshold": 5}) as controller:
        until(lambda: folders.status("a") == "passing", 20.0)
        controller.kill()
        os.utime(folders.health / LEASE, (0, 0))
        (folders.health / "other.json").write_text("{}")
        controller.start()
        assert folders.status("a") is None
        assert (folders.health / "other.json").exists()


def test_records_are_removed_from_folders_with_on_stop_remove(folders: Folders, target: Target) -> None:
    folders.write("a", manifest("a", target.port, "/a"))
    with folders.controller(on_stop="remove") as controller:
        until(lambda: folders.status("a") == "passing")
        assert controller.terminate() == 0
        assert folders.status("a") is None


def test_a_second_controller_on_the_same_folder_says_so_and_ends(folders: Folders, target: Target) -> None:
    folders.write("a", manifest("a", target.port, "/a"))
    with folders.controller() as controller:
        where = ("--intent-dir", folders.intent, "--health-dir", folders.health)
        second = podpulse("run", "--listen", "127.0.0.1:0", *where, check=False)
        assert second.returncode == 1
        assert f"another process publishes into {folders.health}" in second.stderr
        assert "Traceback" not in second.stderr
        until(lambda: folders.status("a") == "passing")
        assert controller.get("/-/ready").status == 200


def test_a_folder_of_manifests_that_is_missing_is_waited_for(folders: Folders, target: Target) -> None:
    folders.intent.rmdir()
    with folders.controller(ready=False) as controller:
        until(lambda: "cannot read the folder of manifests" in controller.log)
        assert controller.get("/-/ready").status == 503
        folders.intent.mkdir()
        folders.write("a", manifest("a", target.port, "/a"))
        until(lambda: folders.status("a") == "passing")
        assert controller.get("/-/ready").status == 200


def test_no_pod_is_removed_when_the_folder_goes_away(folders: Folders, target: Target, tmp_path: Path) -> None:
    folders.write("a", manifest("a", target.port, "/a"))
    with folders.controller() as controller:
        until(lambda: folders.status("a") == "passing")
        folders.intent.rename(tmp_path / "elsewhere")
        until(lambda: "cannot read the folder of manifests" in controller.log)
        before = len(target.hits("/a"))
        until(lambda: len(target.hits("/a")) >= before + 2)
        assert folders.status("a") == "passing"
        assert controller.metrics().sum("podpulse_intents") == 1


def test_a_paused_pod_is_not_probed_and_the_page_shows_it(folders: Folders, target: Target) -> None:
    for pod in ("a", "b"):
        folders.write(pod, manifest(pod, target.port, f"/{pod}"))
    with folders.controller() as controller:
        until(lambda: folders.status("a") == folders.status("b") == "passing")
        folders.write("a", manifest("a", target.port, "/a").replace(b"status:\n", b"status:\n  paused: true\n"))
        until(lambda: folders.status("a") is None, what="its health is withdrawn")
        asked, others = len(target.hits("/a")), len(target.hits("/b"))
        until(lambda: len(target.hits("/b")) >= others + 3)
        assert len(target.hits("/a")) == asked
        assert "its manifest asks for a pause" in controller.get("/pods/web1/a").text
        folders.write("a", manifest("a", target.port, "/a"))
        until(lambda: folders.status("a") == "passing")


def test_pods_are_not_blamed_while_the_node_is_cut_off(folders: Folders, target: Target) -> None:
    pods = ("a", "b", "c")
    for pod in pods:
        folders.write(pod, manifest(pod, target.port, f"/{pod}"))
    with Target() as outside, folders.controller(canary=f"127.0.0.1:{outside.port}") as controller:
        until(lambda: [folders.status(pod) for pod in pods] == ["passing"] * 3)
        outside.refuse()
        target.refuse()
        until(lambda: [folders.status(pod) for pod in pods] == ["unknown"] * 3)
        assert controller.log.count("this node is cut off") >= 1
        target.listen()
        until(lambda: [folders.status(pod) for pod in pods] == ["passing"] * 3)
        until(lambda: "this node is not cut off any more" in controller.log)


def test_a_denied_pod_is_unknown_with_a_reason(folders: Folders, target: Target) -> None:
    folders.write("a", manifest("a", target.port, "/a"))
    with folders.controller(address="169.254.0.1") as controller:
        until(lambda: folders.status("a") == "unknown")
        until(lambda: controller.metrics().sum("podpulse_probe_failure_reason", pod="a", reason="denied") == 1)
        assert "169.254.0.1 is a link-local address, and may not be probed" in controller.get("/").text


@pytest.mark.slow
def test_records_of_a_killed_controller_are_stale_after_twenty_seconds(folders: Folders, target: Target) -> None:
    folders.write("a", manifest("a", target.port, "/a"))
    with folders.controller() as controller:
        until(lambda: folders.status("a") == "passing")
        controller.kill()
        assert folders.status("a") == "passing"
        watch_for(17.0)  # because each look starts a process
        until(lambda: controller.inspect()["a"]["web1"]["health_check"]["status"] == "unknown", 22.0, "a is unknown")
