"""Forbidden excerpts of answers are in no place: not in published health, page, API or log."""

import json
from pathlib import Path

import pytest
import yaml

from tests.support.consul import Agent
from tests.support.controller import Controller, manifest, podpulse
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

WELL, ILL = "s3cret-of-the-well", "s3cret-of-the-ill"
PODS = ("well", "ill")
PLACES = ("/", "/api/v1/pods", "/metrics", *(f"{root}/pods/web1/{pod}" for pod in PODS for root in ("", "/api/v1")))


@pytest.fixture
def scheduled(fleet: Fleet, target: Target) -> Fleet:
    target.behave(answer(200, WELL.encode()), "/well")
    target.behave(answer(503, ILL.encode()), "/ill")
    for pod in PODS:
        fleet.write(pod, manifest(pod, target.port, f"/{pod}", output=True))
    return fleet


def published(consul: Agent) -> str:
    """All that readers of health in Consul can see."""
    records = [str(consul.get(key)) for key in consul.keys("health/")]
    paths = ("agent/checks", *(f"health/checks/{pod}" for pod in PODS))
    return "".join([*records, *(str(consul.request("GET", path).json()) for path in paths)])


def shown(controller: Controller) -> str:
    return "".join(controller.get(place).text for place in PLACES)


def secrets(text: str) -> set[str]:
    return {secret for secret in (WELL, ILL) if secret in text}


def all_is_known(fleet: Fleet) -> bool:
    return (fleet.status("well"), fleet.status("ill")) == ("passing", "critical")


def test_excerpts_are_kept_by_default_as_in_p2(consul: Agent, launch: Launch, scheduled: Fleet) -> None:
    controller = launch(consul, publish=["kv", "agent"])
    until(lambda: all_is_known(scheduled))
    until(lambda: secrets(published(consul)) == {WELL, ILL}, what="excerpts in Consul")
    assert secrets(shown(controller)) == {WELL, ILL}
    assert secrets(controller.log) == set()


@pytest.mark.parametrize(("allowed", "left"), [("failures", {ILL}), ("never", set())])
def test_forbidden_excerpts_are_removed_by_a_reload(
    consul: Agent, launch: Launch, scheduled: Fleet, allowed: str, left: set[str]
) -> None:
    controller = launch(consul, publish=["kv", "agent"])
    until(lambda: secrets(published(consul)) == {WELL, ILL}, what="excerpts in Consul")
    controller.reload(allow_output=allowed)
    until(lambda: secrets(published(consul)) == left, what="what is forbidden to go from Consul")
    until(lambda: secrets(shown(controller)) == left, what="what is forbidden to go from page and API")
    assert all_is_known(scheduled)
    assert secrets(controller.log) == set()


@pytest.mark.parametrize(("allowed", "left"), [("failures", {ILL}), ("never", set())])
def test_forbidden_excerpts_are_removed_by_a_restart(
    consul: Agent, launch: Launch, scheduled: Fleet, allowed: str, left: set[str]
) -> None:
    controller = launch(consul, publish=["kv", "agent"])
    until(lambda: secrets(published(consul)) == {WELL, ILL}, what="excerpts in Consul")
    controller.terminate()
    controller.options["allow_output"] = allowed
    controller.start()
    until(lambda: secrets(published(consul)) == left, what="what is forbidden to go from Consul")
    until(lambda: secrets(shown(controller)) == left, what="what is forbidden to go from page and API")
    state = b"".join(file.read_bytes() for file in (controller.folder / "state").rglob("*") if file.is_file())
    assert secrets(state.decode("utf-8", "replace")) == set()


def test_probe_shows_no_more_than_the_configuration_allows(
    consul: Agent, scheduled: Fleet, target: Target, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    options = {
        "node_name": "web1",
        "address": "127.0.0.1",
        "allow_output": "never",
        "consul": {"address": consul.address},
    }
    config.write_text(yaml.safe_dump(options))
    for pod in PODS:
        for form in ([], ["--json"]):
            done = podpulse("probe", pod, "--config", config, *form, check=False)
            assert secrets(done.stdout + done.stderr) == set()
    assert len(target.hits("/well")) == 2


def test_allow_output_also_applies_to_folders(target: Target, tmp_path: Path) -> None:
    target.behave(answer(200, WELL.encode()), "/well")
    (tmp_path / "pods").mkdir()
    (tmp_path / "pods" / "well.yaml").write_bytes(manifest("well", target.port, "/well", output=True))
    record = tmp_path / "health" / "well.json"
    with Controller(intent_dir=str(tmp_path / "pods"), health_dir=str(tmp_path / "health")) as controller:
        until(lambda: record.exists() and WELL in record.read_text())
        controller.reload(allow_output="never")
        until(lambda: WELL not in record.read_text(), what="the excerpt to go")
        assert json.loads(record.read_text())["Status"] == "passing"
