"""A label that changes is seen everywhere, and the probes go on."""

import json
from pathlib import Path

from tests.support.cli import good, run
from tests.support.consul import Agent
from tests.support.controller import manifest, none_is_added
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target
from tests.system.conftest import Launch


def test_a_changed_label_reaches_metrics_page_and_services_without_a_restart_of_the_check(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, tmp_path: Path
) -> None:
    def of_team(team: str) -> bytes:
        return manifest("shop", target.port, "/shop", interval="300ms", timeout="300ms", labels={"team": team})

    def tags() -> list[str]:
        return [tag for each in consul.request("GET", "catalog/service/shop").json() for tag in each["ServiceTags"]]

    fleet.write("shop", of_team("shop"))
    controller = launch(consul, publish=["kv", "agent"], labels=["team"], service={"tags": ["podpulse"]})
    until(lambda: tags() == ["podpulse", "team=shop"], what="the service to have the label as a tag")
    before = consul.entries("health/")
    fleet.wait_asked("shop", 3)
    fleet.write("shop", of_team("search"))
    until(lambda: tags() == ["podpulse", "team=search"], what="the tag to change")
    assert json.loads(controller.get("/api/v1/pods?label=team=search").text)["matching"] == 1
    assert controller.metrics().totals("podpulse_pod_labels", "team") == {"search": 1}
    (file := tmp_path / "shop.yaml").write_bytes(of_team("other"))
    plan = ("plan", file, "--config", controller.config_file, "--controller", f"http://127.0.0.1:{controller.port}")
    assert "\n  = shop  labels.team: search -> other\n" in good(run(*plan))
    assert "1 unchanged" not in good(run(*plan))
    planned = json.loads(good(run(*plan, "--json")))
    assert (planned["relabel"], planned["replace"]) == (
        {"shop": {"labels.team": {"before": "search", "after": "other"}}},
        {},
    )

    controller.reload(labels=[])
    until(lambda: tags() == ["podpulse"], what="the tag to go when the label is not declared any more")
    assert "podpulse_pod_labels" not in controller.get("/metrics").text
    fleet.wait_asked("shop", len(fleet.asked("shop")) + 2)
    assert none_is_added(fleet.asked("shop")[1:], 0.3)
    assert consul.entries("health/") == before, "neither a label nor its declaration is a change of health"
