"""`podpulse plan`: what a controller would do, compared with a real one that runs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controller.cli import main
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest, podpulse
from tests.support.fake_http import FakeServer, Reply
from tests.support.gateway import Gateway, marks_filtered
from tests.support.net import until
from tests.support.targets import Target
from tests.support.terminal import OnTerminal


def plan(*arguments: object) -> Result:
    clean = {"CONSUL_HTTP_ADDR": None, "CONSUL_HTTP_TOKEN": None, "CONFIG_PATH": None}
    return CliRunner(env=clean).invoke(main, ["plan", "--node", "web1", *map(str, arguments)])


@pytest.fixture
def pods(tmp_path: Path) -> Path:
    folder = tmp_path / "pods"
    folder.mkdir()
    for pod in ("api", "db"):
        (folder / f"{pod}.yaml").write_bytes(manifest(pod, 8000))
    return folder


def test_without_a_controller_every_check_would_start(pods: Path) -> None:
    result = plan("--intent-dir", pods, "--controller", "none")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "Node web1, compared with no running checks:\n\n"
        "  + api  http://web1:8000/_status every 5s\n"
        "  + db   http://web1:8000/_status every 5s\n\n"
        "2 to start, 0 to replace, 0 to stop, 0 unchanged, 0 invalid\n"
    )
    assert plan("--intent-dir", pods, "--controller", "none", "--exit-code").exit_code == 1
    (pods / "api.yaml").unlink()
    (pods / "db.yaml").unlink()
    assert plan("--intent-dir", pods, "--controller", "none", "--exit-code").exit_code == 0


def test_a_terminal_gets_colours_unless_they_are_disabled(pods: Path) -> None:
    arguments = ("plan", "--node", "web1", "--intent-dir", pods, "--controller", "none")
    with OnTerminal(*arguments) as terminal:
        assert terminal.wait() == 0
        assert "\x1b[32m+ api" in terminal.shown
    with OnTerminal(*arguments, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "+ api" in terminal.shown
        assert "\x1b[32m" not in terminal.shown


def test_a_controller_that_does_not_answer_is_reported(pods: Path) -> None:
    assumed = plan("--intent-dir", pods)
    assert (assumed.exit_code, "the plan starts from no running checks" in assumed.stderr) == (0, True)
    named = plan("--intent-dir", pods, "--controller", "http://alice:s3cret@127.0.0.1:1")
    assert named.exit_code == 1
    assert "no controller answers at http://127.0.0.1:1: " in named.stderr
    assert "s3cret" not in named.stderr


def test_the_plan_lists_checks_to_start_replace_and_stop(consul: Agent, tmp_path: Path) -> None:
    with Target() as target, Controller(consul={"address": consul.address}) as controller:
        for pod in ("api", "db", "old"):
            consul.put(f"intent/web1/{pod}", manifest(pod, target.port))
        until(lambda: len(controller.metrics().by_pod("podpulse_probes_total", result="success")) == 3)
        until(lambda: all(controller.metrics().by_pod("podpulse_probes_total").values()))
        where = ["--controller", f"http://127.0.0.1:{controller.port}", "--consul", consul.address]
        new = tmp_path / "new.yaml"
        new.write_bytes(manifest("new", 80))
        db = tmp_path / "db.yaml"
        db.write_bytes(manifest("db", target.port) + b"  interval: 9s\n")
        broken = tmp_path / "broken.yaml"
        broken.write_bytes(b"id: api\nstatus_port: 80000\n")
        same = [*where, "--config", str(controller.config_file)]
        assert "0 to start, 0 to replace, 0 to stop, 3 unchanged, 0 invalid" in plan(*same, "--exit-code").stdout
        assert f"{broken}: status_port: expected a port" in plan(*same, broken).stderr
        consul.put("intent/web1/api", broken.read_bytes())
        said = json.loads(plan(*same, new, db, "--without", "old", "--json").stdout)
        assert list(said["start"]) == ["new"]
        assert said["replace"]["db"] == {"interval": {"before": "500ms", "after": "9s"}}
        assert said["stop"] == {"old": "its manifest is gone"}
        assert said["invalid"]["api"].startswith("status_port: expected a port")
        assert said["unchanged"] == []
        assert "; its old check keeps running\n" in plan(*same).stdout
        assert "; it has no check\n" in plan(*same[2:], "--controller", "none").stdout
        text = podpulse("plan", "--node", "web1", *same, db, "--without", "old").stdout
        assert "  ~ db   interval: 500ms -> 9s\n" in text
        assert "  - old  its manifest is gone\n" in text
        others = plan(*where, "--address", "127.0.0.1").stdout
        assert "interval: 500ms -> 5s" in others
        wrong = CliRunner().invoke(main, ["plan", "--node", "web2", *where])
        assert "is that of node 'web1', not of 'web2'" in wrong.stderr


def test_another_server_is_not_taken_for_the_controller(pods: Path) -> None:
    with Target() as target:
        result = plan("--intent-dir", pods, "--controller", f"http://127.0.0.1:{target.port}")
    assert result.exit_code == 1
    assert "answered with status 200 and without checks" in result.stderr


def test_no_plan_is_made_if_consul_has_no_leader() -> None:
    says = {"X-Consul-Index": "7", "X-Consul-KnownLeader": "false"}
    with FakeServer(lambda _: Reply(404, b"", says)) as consul:
        result = plan("--consul", consul.address, "--controller", "none")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "intent/web1/ is not known: Consul has no leader" in result.stderr


def test_the_plan_reads_and_names_the_namespace() -> None:
    says = {"X-Consul-Index": "7", "X-Consul-KnownLeader": "true"}
    with FakeServer(lambda _: Reply(404, b"", says)) as consul:
        where = ["--consul", f"{consul.address}/consul", "--namespace", "team", "--partition", "east"]
        result = plan(*where, "--controller", "none")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Node web1, namespace team, partition east, compared with no running checks:")
    assert consul.asked[0].path.startswith("/consul/v1/kv/intent/web1/?")
    assert {"ns=team", "partition=east"} <= set(consul.asked[0].path.partition("?")[2].split("&"))


def test_a_check_is_planned_to_stop_only_if_a_read_of_its_key_confirms_the_deletion(acl_consul: Agent) -> None:
    with (
        Target() as target,
        Controller(consul={"address": acl_consul.address, "token": acl_consul.token}) as controller,
    ):
        acl_consul.put("intent/web1/api", manifest("api", target.port))
        until(lambda: controller.metrics().by_pod("podpulse_probes_total", result="success"))
        where = ["--controller", f"http://127.0.0.1:{controller.port}", "--consul", acl_consul.address]
        blind = plan(*where, "--token", acl_consul.create_token('key_prefix "health/" { policy = "read" }'))
        assert (blind.exit_code, blind.stdout) == (1, "")
        assert (
            "a check runs for intent/web1/api, and a single read does not confirm that the key was deleted"
            in blind.stderr
        )

        hides = 'key_prefix "intent/" { policy = "read" } key "intent/web1/secret" { policy = "deny" }'
        acl_consul.put("intent/web1/secret", b"")
        with Gateway(acl_consul.http_port) as newer:
            newer.lie = marks_filtered(newer, acl_consul.token)
            where[-1] = f"http://127.0.0.1:{newer.port}"
            told = plan(*where, "--token", acl_consul.create_token(hides))
        assert (told.exit_code, "0 to stop" in told.stdout) == (0, True)
        assert "warning: the token may not read everything below intent/web1/" in told.stderr
