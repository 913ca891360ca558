"""Grafana's dashboards: they are up to date, valid for Grafana's SDK, and have working links."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard as Model

from deploy.grafana import build, look, overview
from tests.support.documents import OPERATIONS, sections
from tests.support.grafana import Dashboard
from tests.support.rules import ALERTS
from tests.support.rules import FOLDER as PROMETHEUS

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
FILES = sorted((FOLDER / "dashboards").iterdir())
DASHBOARDS = [Dashboard(file) for file in FILES]
MOST_PANELS = 30
WIDTH = 24
CUT = re.compile(r"(max by \([^)]*\) \()?(top|bottom)k\(\d+,")

each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)


def texts(value: object) -> Iterator[str]:
    """Every text in a document."""
    match value:
        case str():
            yield value
        case dict():
            for part in value.values():
                yield from texts(part)
        case list():
            for part in value:
                yield from texts(part)


def links(dashboard: Dashboard) -> set[str]:
    """Returns all links except the one that contains a cell's text."""
    begin = ("/", "${scheme}://", "${runbook}#")
    return {text for text in texts(dashboard.document) if text.startswith(begin) and "__value" not in text}


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """The squares of the grid that a panel covers."""
    place = panel["gridPos"]
    return {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}


def test_the_dashboards_are_up_to_date() -> None:
    assert {file.name: file.read_text("utf-8") for file in FILES} == {
        file.name: text for file, text in build.written().items()
    }


@each_dashboard
def test_grafanas_models_accept_every_dashboard(dashboard: Dashboard) -> None:
    register_default_plugins()
    again = json.loads(JSONEncoder().encode(Model.from_json(dashboard.document)))
    for document in (again, expected := json.loads(json.dumps(dashboard.document))):
        for link in document["links"]:
            del link["placement"]  # the models know only one, in a menu, where nobody looks at night
    assert again == expected


@each_dashboard
def test_every_panel_has_a_description_and_links_to_what_to_do(dashboard: Dashboard) -> None:
    assert len(dashboard.panels) <= MOST_PANELS
    assert [panel["title"] for panel in dashboard.panels if len(panel["description"].split()) < 5] == []
    for key in ("id", "title"):
        values = [panel[key] for panel in dashboard.document["panels"]]
        assert len(set(values)) == len(values)


@each_dashboard
def test_panels_fill_the_width_and_none_covers_another(dashboard: Dashboard) -> None:
    covered = [cells(panel) for panel in dashboard.document["panels"]]
    assert [one & other for one, other in combinations(covered, 2) if one & other] == []
    lines = {y for squares in covered for _, y in squares}
    assert all({x for squares in covered for x, row in squares if row == y} == set(range(WIDTH)) for y in lines)


@each_dashboard
def test_tables_about_single_pods_have_limited_rows(dashboard: Dashboard) -> None:
    """A browser cannot show all pods of a fleet."""
    asked = [target["expr"] for panel in dashboard.panels if panel["type"] == "table" for target in panel["targets"]]
    assert [one for one in asked if re.search(r"\bpod=~", one) and not CUT.match(one)] == []


@each_dashboard
def test_links_lead_to_existing_dashboards_and_headings(dashboard: Dashboard) -> None:
    uids = {one.uid for one in DASHBOARDS}
    for link in links(dashboard):
        if found := re.match(r"/d/([\w-]+)\?", link):
            assert found[1] in uids, link
        elif found := re.fullmatch(r"\$\{runbook\}#(.+)", link):
            assert found[1] in sections(OPERATIONS), link
        else:
            assert re.match(r"\$\{scheme\}://\$\{__(data\.fields|field\.labels)\.instance\}/", link), link


def test_every_alert_leads_to_its_heading() -> None:
    (overview,) = (one for one in DASHBOARDS if one.uid == "podpulse")
    (panel,) = (panel for panel in overview.panels if panel["title"] == "Firing alerts")
    (properties,) = (
        {one["id"]: one["value"] for one in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["options"] == "todo"
    )
    (mapping,) = properties["mappings"]
    anchors = {alert: result["text"] for alert, result in mapping["options"].items()}
    assert anchors.keys() == ALERTS.keys()
    assert {anchor for anchor in anchors.values() if anchor not in sections(OPERATIONS)} == set()
    assert properties["links"][0]["url"] == "${runbook}#${__value.text}"


def test_dashboards_and_alerts_have_the_same_certificate_limits() -> None:
    limits = {step / look.DAY for step, _ in look.TIME_LEFT}
    expression = ALERTS["PodpulseCertificateExpiring"]["expr"]
    assert {float(days) for days in re.findall(r"(\d+) \* 86400", expression)} == limits


def test_a_pod_counts_as_forgotten_when_its_alert_says_so() -> None:
    assert ALERTS["PodpulsePodPaused"]["expr"].rstrip().endswith(f">= {overview.FORGOTTEN}")


def test_provisioning_uses_the_folder_and_the_scrape_interval() -> None:
    (source,) = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    for name in ("prometheus.yml", "prometheus.static.yml"):
        scraping = yaml.safe_load((PROMETHEUS / name).read_text())["global"]
        assert scraping["scrape_interval"] == source["jsonData"]["timeInterval"]
    (provider,) = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "podpulse.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"] == {"path": "/etc/podpulse/grafana/dashboards"}
