"""The Nomad job: its syntax, and that what it says of us is so. There is no nomad to ask here."""

import re
import textwrap
from pathlib import Path
from typing import Any

import hcl2
import pytest

from controller import config as configuration
from controller.cli import main
from controller.config import Config
from tests.conftest import ROOT

FILE = ROOT / "deploy" / "nomad" / "podpulse.nomad.hcl"
HEREDOC = re.compile(r"<<-END\n(.*?)\n *END", re.DOTALL)
RENDERED = {'env "node.unique.name"': "web1.example.com", 'env "NOMAD_ADDR_http"': "10.0.0.1:9815"}


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """The job's body; labels and texts are quoted as in the file, every block is a list of one or more."""
    with FILE.open() as file:
        parsed = hcl2.load(file)
    (job,) = parsed["job"]
    return dict(job['"podpulse"'])


def text(value: str) -> str:
    return value.strip('"')


def config_template() -> str:
    """As Nomad would render it where there is a token."""
    first, _ = HEREDOC.findall(FILE.read_text())
    lines = textwrap.dedent(first)
    for call, value in RENDERED.items():
        lines = lines.replace(f"{{{{ {call} }}}}", value)
    return re.sub(r"^ *\{\{-? .*\}\}\n?", "", lines, flags=re.MULTILINE)


def test_it_runs_on_every_node_one_after_the_other(job: dict[str, Any]) -> None:
    assert text(job["type"]) == "system"
    assert job["update"][0]["max_parallel"] == 1


def test_the_check_asks_what_we_answer(job: dict[str, Any]) -> None:
    (group,) = job["group"]
    (service,) = group['"controller"']["service"]
    (check,) = service["check"]
    assert text(check["path"]) == "/-/healthy"
    (network,) = group['"controller"']["network"]
    assert network["port"][0]['"http"']["static"] == Config().listen_address[1]


def test_its_command_line_and_the_configuration_that_it_writes_are_ours(job: dict[str, Any], tmp_path: Path) -> None:
    (group,) = job["group"]
    task = group['"controller"']["task"][0]['"podpulse"']
    verb, option, path = [text(each) for each in task["config"][0]["args"]]
    assert f"/{text(task['template'][0]['destination'])}" == path
    file = tmp_path / "config.yaml"
    file.write_text(config_template())
    config = configuration.load(file, {})
    assert (config.node_name, config.listen) == ("web1.example.com", "10.0.0.1:9815")
    assert str(config.consul.token_file) == f"/{text(task['template'][1]['destination'])}"
    parent = main.make_context("podpulse", [verb])
    command = main.get_command(parent, verb)
    assert command is not None
    command.make_context(verb, [option, str(file)], parent=parent)
