"""The compose file follows its specification. The files that it names exist, fit together and work together."""

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.cli import main
from tests.conftest import ROOT
from tests.support import sandbox
from tests.support.rules import ALERTS, RECORDED

FILE = ROOT / "deploy" / "compose.yaml"
NAMESPACE = "service:consul"
PORTS = {"consul": 8500, "controller": 9815, "prometheus": 9090, "grafana": 3000}
PROGRAMS = {"hashicorp/consul": "consul", "podpulse": "podpulse", "prom/prometheus": "prometheus"}
"""What the entry point of an image starts. Grafana's is none that can be had here."""

UP = """
mkdir state prometheus
export STATE_DIRECTORY=$PWD/state
{consul} >consul.log 2>&1 &
until curl -fs http://127.0.0.1:8500/v1/catalog/services >/dev/null; do sleep 0.1; done
{controller} 2>controller.log &
until curl -fs http://127.0.0.1:9815/-/healthy >/dev/null; do sleep 0.1; done
{isup} &
{schedule}
{prometheus} 2>prometheus.log &
asked=http://127.0.0.1:9090/api/v1
until curl -s $asked/query -d 'query=probe_success' | grep -q '"pod":"isup".*"1"'; do sleep 0.5; done
"""
"""What `docker compose up` does, without a container: the services by their conditions, one after the other."""

LOOKED_AT = """
for question in rules targets; do curl -s $asked/$question; echo; done
"""


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(FILE.read_text())["services"])


def folders(service: dict[str, Any]) -> dict[str, Path]:
    """Returns the mounted folders of the repository, by their path in the container."""
    mounts = (each.split(":") for each in service.get("volumes", ()))
    return {where: (FILE.parent / source).resolve() for source, where, *_ in mounts if source.startswith(".")}


def test_it_follows_the_specification() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout


def test_every_mounted_folder_is_there_and_read_only(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for folder in folders(service).values():
            assert folder.is_dir(), folder
        assert all(each.endswith(":ro") for each in service.get("volumes", ()) if each.startswith("."))


def test_every_volume_is_declared_and_every_service_that_is_named_is_there(
    services: dict[str, dict[str, Any]],
) -> None:
    declared = yaml.safe_load(FILE.read_text())["volumes"].keys()
    used = {each.split(":")[0] for service in services.values() for each in service.get("volumes", ())}
    assert {name for name in used if not name.startswith(".")} == declared
    assert {name for service in services.values() for name in service.get("depends_on", ())} <= services.keys()


def test_all_stand_for_one_host_and_only_this_machine_reaches_it(services: dict[str, dict[str, Any]]) -> None:
    assert all(service["network_mode"] == NAMESPACE for name, service in services.items() if name != "consul")
    published = services["consul"]["ports"]
    assert published == [f"127.0.0.1:{port}:{port}" for port in PORTS.values()]


def started(service: dict[str, Any]) -> list[str]:
    """Returns the arguments of the container's command, with the paths of the repository in place of those in the
    container."""
    return [found_here(argument, folders(service)) for argument in service["command"]]


def found_here(argument: str, mounted: Mapping[str, Path]) -> str:
    option, equals, path = argument.rpartition("=")
    for where, folder in mounted.items():
        if path.startswith(f"{where}/"):
            return f"{option}{equals}{folder}{path.removeprefix(where)}"
    return argument


def test_the_commands_are_ours(services: dict[str, dict[str, Any]]) -> None:
    """The real command line parses each of them."""
    ours = [service for service in services.values() if service["image"] == "podpulse"]
    assert len(ours) == 3
    for service in ours:
        verb, *arguments = started(service)
        parent = main.make_context("podpulse", [verb])
        known = main.get_command(parent, verb)
        assert known is not None, verb
        known.make_context(verb, arguments, parent=parent)


def test_ports_and_names_agree(services: dict[str, dict[str, Any]]) -> None:
    controller, schedule = services["controller"]["command"], services["schedule"]["command"]
    assert f"0.0.0.0:{PORTS['controller']}" in controller
    node = controller[controller.index("--node") + 1]
    assert f"-node={node}" in services["consul"]["command"]
    assert schedule[schedule.index("--node") + 1] == node
    manifest = yaml.safe_load((FILE.parent / "compose" / "isup.yaml").read_text())
    assert str(manifest["status_port"]) in services["isup"]["command"]
    sources = yaml.safe_load((FILE.parent / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    assert [each["url"] for each in sources["datasources"]] == [f"http://localhost:{PORTS['prometheus']}"]
    found_through = re.search(r"server: (\S+)", (FILE.parent / "prometheus" / "prometheus.yml").read_text())
    assert found_through
    assert found_through[1] == f"localhost:{PORTS['consul']}"


@pytest.mark.slow
@sandbox.needs_a_namespace
def test_they_work_together(
    services: dict[str, dict[str, Any]], consul_binary: Path, consul_prometheus: Path, tmp_path: Path
) -> None:
    """Everything except Grafana runs as processes that share a network, with the real commands and files. Prometheus
    finds the controller, has the rules in force, and names an instance that a browser on this machine reaches."""
    commands = {
        name: shlex.join([PROGRAMS[service["image"].partition(":")[0]], *started(service)])
        for name, service in services.items()
        if name != "grafana"
    }
    commands["prometheus"] = commands["prometheus"].replace("=/prometheus", "=prometheus")
    said = sandbox.run(UP.format(**commands) + LOOKED_AT, tmp_path, [consul_prometheus, consul_binary])
    rules, targets = (json.loads(line)["data"] for line in said.splitlines()[-2:])
    in_force = [rule for group in rules["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in in_force} == ALERTS.keys() | RECORDED
    assert [rule["name"] for rule in in_force if rule["health"] == "err"] == []
    (target,) = targets["activeTargets"]
    assert target["health"] == "up"
    host, _, port = target["labels"]["instance"].partition(":")
    assert host.endswith(".localhost"), "RFC 6761: a browser takes it for this machine"
    assert int(port) == PORTS["controller"]
