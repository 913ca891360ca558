"""The files that deploy a fleet: the compose file with three controllers, the drop-in of the unit, the Nomad job."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.cli import main
from tests.conftest import ROOT
from tests.support import sandbox
from tests.support.nomad import JobFile

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.fleet.yaml"
JOB = DEPLOY / "nomad" / "podpulse-fleet.nomad.hcl"
DROP_IN = DEPLOY / "systemd" / "podpulse.service.d" / "fleet.conf"
MEMBERS = ("controller", "controller2", "controller3")
NODES = ("web1", "web2", "web3", "demo.localhost")

UP = """
mkdir state
export STATE_DIRECTORY=$PWD/state
{consul} >consul.log 2>&1 &
until curl -fs http://127.0.0.1:8500/v1/catalog/services >/dev/null; do sleep 0.1; done
{isup} &
{controllers}
for port in 9815 9816 9817; do until curl -fs http://127.0.0.1:$port/-/healthy >/dev/null; do sleep 0.1; done; done
{schedule}
for port in 9815 9816 9817; do until curl -fs http://127.0.0.1:$port/-/ready >/dev/null; do sleep 0.1; done; done
intents() {{ for port in 9815 9816 9817; do curl -s http://127.0.0.1:$port/metrics | grep '^podpulse_intents '; done; }}
until intents | awk '{{ sum += $2; if (!$2) none = 1 }} END {{ exit none || sum != 4 }}'; do sleep 0.5; done
until [ "$(podpulse inspect | grep -c '"status": "passing"')" = 4 ]; do sleep 0.5; done
"""


def merged() -> dict[str, dict[str, Any]]:
    """The services of both files, as compose merges them: fields of the second file replace those of the first one, and
    lists of ports are joined."""
    base = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    over = yaml.safe_load(COMPOSE.read_text())["services"]
    found = {name: {**base.get(name, {}), **over.get(name, {})} for name in {*base, *over}}
    found["consul"]["ports"] = [*base["consul"]["ports"], *over["consul"]["ports"]]
    return found


def parsed(command: list[str]) -> dict[str, Any]:
    """Returns the options of a command line of Podpulse."""
    verb, *arguments = command
    parent = main.make_context("podpulse", [verb])
    known = main.get_command(parent, verb)
    assert known is not None, verb
    return dict(known.make_context(verb, arguments, parent=parent).params)


def test_the_compose_file_follows_the_specification() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout


def test_the_members_differ_only_in_id_and_port() -> None:
    services = merged()
    options = [parsed(services[name]["command"]) for name in MEMBERS]
    assert len({each.pop("node") for each in options}) == 3
    ports = [each.pop("listen").rpartition(":")[2] for each in options]
    assert [f"127.0.0.1:{port}:{port}" in services["consul"]["ports"] for port in ports] == [True] * 3
    assert options[0] == options[1] == options[2]
    assert options[0]["fleet"] == "demo"
    alike = [{**services[name], "command": None, "build": None} for name in MEMBERS]
    assert alike[0] == alike[1] == alike[2]


@pytest.mark.slow
@sandbox.needs_a_namespace
def test_three_controllers_of_the_compose_file_share_the_pods(consul_binary: Path, tmp_path: Path) -> None:
    services = merged()
    (script,) = services["schedule"]["command"]
    controllers = [f"podpulse {shlex.join(services[name]['command'])} 2>{name}.log &" for name in MEMBERS]
    said = UP.format(
        consul=shlex.join(["consul", *services["consul"]["command"]]),
        isup=f'env -i PATH="$PATH" podpulse {shlex.join(services["isup"]["command"])}',
        controllers="\n".join(controllers),
        schedule=script.replace("$$", "$").replace("/demo/", f"{DEPLOY}/compose/"),
    )
    sandbox.run(said, tmp_path, [consul_binary], 110.0)


def test_the_command_of_the_drop_in_is_ours() -> None:
    (command,) = re.findall(r"^ExecStart=(.+)$", DROP_IN.read_text(), re.MULTILINE)
    program, *arguments = shlex.split(command)
    unit = (DEPLOY / "systemd" / "podpulse.service").read_text()
    assert f"ExecStart={program} {shlex.join(arguments[:3])}\n" in unit
    assert arguments[3:] == ["--fleet", "production", "--address", "catalog"]


def test_the_job_is_a_service_of_several_members_on_different_hosts() -> None:
    job = JobFile(JOB).job
    group = job.block("group")
    assert job.attribute("type") == "service"
    assert group.attribute("count") == 3
    assert group.block("constraint").attribute("operator") == "distinct_hosts"
    assert job.block("update").attribute("max_parallel") == 1
    checks = group.block("service").blocks("check")
    assert [check.attribute("path") for check in checks] == ["/-/healthy", "/-/ready"]
