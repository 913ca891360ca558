"""The Nomad jobs: Nomad knows all of their fields, and what they say about Podpulse is true.

There is no Nomad here. test_image runs the task.
"""

from pathlib import Path

import pytest

from controller import config as configuration
from controller.cli import main
from controller.config import Config
from tests.conftest import ROOT
from tests.support.nomad import JobFile

FILES = sorted((ROOT / "deploy" / "nomad").glob("*.hcl"))
VALUES = {"node.unique.name": "web1.example.com", "NOMAD_ADDR_http": "10.0.0.1:9815", "var.fleet": "production"}


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.name)
def file(request: pytest.FixtureRequest) -> JobFile:
    return JobFile(request.param)


@pytest.fixture(scope="module")
def node_mode() -> JobFile:
    return JobFile(ROOT / "deploy/nomad/podpulse.nomad.hcl")


def test_nomad_knows_every_block_and_attribute(file: JobFile) -> None:
    assert [each for block in file.blocks for each in block.unknown()] == []


def test_an_attribute_that_nomad_does_not_know_would_be_found(tmp_path: Path) -> None:
    text = FILES[-1].read_text()
    for name, wrong in (("kill_timeout", "kill_timout"), ('"10s"', '"10 s"'), ("memory_max", "max_memory")):
        text = text.replace(name, wrong)
    (tmp_path / "job.hcl").write_text(text)
    found = [each for block in JobFile(tmp_path / "job.hcl").blocks for each in block.unknown()]
    assert found == ["check.interval", "task.kill_timout", "resources.max_memory"]


def test_the_node_mode_runs_on_every_node_one_after_the_other(node_mode: JobFile) -> None:
    assert node_mode.job.attribute("type") == "system"
    assert node_mode.job.block("update").attribute("max_parallel") == 1


def test_the_check_asks_what_we_answer(file: JobFile) -> None:
    group = file.job.block("group")
    service, port = group.block("service"), group.block("network", "port")
    assert service.blocks("check")[0].attribute("path") == "/-/healthy"
    assert (service.attribute("port"), port.name) == ("http", "http")
    assert port.attribute("static") == Config().listen_address[1]


@pytest.mark.parametrize("token", ["", "2b778dd9-f5f1-6f29-b4b4-9a5fa948757a"])
def test_its_command_line_and_the_configuration_that_it_writes_are_ours(
    file: JobFile, token: str, tmp_path: Path
) -> None:
    verb, option, path = file.task.block("config").attribute("args")
    files = file.rendered(VALUES, token)
    (tmp_path / "config.yaml").write_text(files[path])
    config = configuration.load(tmp_path / "config.yaml", {})
    assert (config.node_name, config.listen, config.address) == ("web1.example.com", "10.0.0.1:9815", "catalog")
    assert str(config.state_dir) == "/alloc/data"
    assert config.fleet == (None if "fleet" not in files[path] else "production")
    assert (str(config.consul.token_file) in files) == bool(token)
    assert files["/secrets/consul-token"].strip() == token
    parent = main.make_context("podpulse", [verb])
    command = main.get_command(parent, verb)
    assert command is not None
    command.make_context(verb, [option, str(tmp_path / "config.yaml")], parent=parent)
