"""The compose file is one by its specification, and what it names is there and fits together."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.cli import main
from tests.conftest import ROOT

FILE = ROOT / "deploy" / "compose.yaml"
NAMESPACE = "service:consul"
PORTS = {"consul": 8500, "controller": 9815, "prometheus": 9090, "grafana": 3000}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(FILE.read_text())["services"])


def folders(service: dict[str, Any]) -> dict[str, Path]:
    """What is mounted from the repository, by where it stands in the container."""
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


def test_the_commands_are_ours(services: dict[str, dict[str, Any]]) -> None:
    """Each is read by the real command line; what a container has mounted is read where it comes from."""
    ours = [service for service in services.values() if service["image"] == "podpulse"]
    assert len(ours) == 3
    for service in ours:
        mounted = folders(service)
        verb, *arguments = [
            next((argument.replace(at, str(here)) for at, here in mounted.items() if argument.startswith(at)), argument)
            for argument in service["command"]
        ]
        parent = main.make_context("podpulse", [verb])
        command = main.get_command(parent, verb)
        assert command is not None, verb
        command.make_context(verb, arguments, parent=parent)


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
