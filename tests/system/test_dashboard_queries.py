"""Every query of the dashboards runs in a real Prometheus, which scrapes real controllers with all kinds of pods."""

import json
import re
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path

import pytest
import yaml

from deploy.grafana.links import TO_POD_PAGE
from tests.support.authority import Authority
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.dashboards.page import drawn
from tests.support.fleet import Fleet
from tests.support.grafana import Choice, Dashboard, Query
from tests.support.net import free_ports, until
from tests.support.prometheus import Prometheus, Series
from tests.support.rules import FOLDER, RECORDED, hasty
from tests.support.targets import Target, answer, by_turns
from tests.system.conftest import Launch

FILES = sorted((FOLDER.parent / "grafana" / "dashboards").iterdir())
OF_PROMETHEUS = {"ALERTS", "up"}
SHOWN = 60.0
ANSWERED_WITHIN = 60.0
POD, SEEN_AS = "flaps.example", "web1:9815"
SINGLE = {"node": "web1", "pod": POD}
MEMBER, MEMBER_SEEN_AS = "m1", "m1:9815"
NAMES = (
    *("web1", "web2", POD, "bad", "busy", "denied", "invalid", "paused"),
    *(SEEN_AS, "web2:9815", MEMBER, MEMBER_SEEN_AS),
)
"""The possible values of every variable."""


def configuration(controller: Controller, member: Controller, gone: int) -> dict[str, object]:
    """Returns the shipped configuration, with this controller, a member of a fleet, and one that does not answer."""
    config = yaml.safe_load((FOLDER / "prometheus.static.yml").read_text())
    (job,) = config["scrape_configs"]
    job["static_configs"] = [
        {"targets": [f"127.0.0.1:{controller.port}"], "labels": {"node": "web1", "instance": SEEN_AS}},
        {
            "targets": [f"127.0.0.1:{member.port}"],
            "labels": {"node": MEMBER, "instance": MEMBER_SEEN_AS, "fleet": "f"},
        },
        {"targets": [f"127.0.0.1:{gone}"], "labels": {"node": "web2", "instance": "web2:9815"}},
    ]
    return {"scrape_configs": [job]}


def answers(prometheus: Prometheus, query: Query) -> list[Series]:
    """Returns the series that have at least one number."""
    if query.instant:
        found = prometheus.query(query.expression)
    else:
        found = prometheus.query_range(query.expression, time.time() - SHOWN, time.time(), 1.0)
    return [series for series in found if not all(isnan(value) for _, value in series.samples)]


@pytest.fixture
def scene(
    consul: Agent,
    launch: Launch,
    fleet: Fleet,
    target: Target,
    consul_binary: Path,
    prometheus_binary: Path,
    tmp_path: Path,
    stack: ExitStack,
) -> tuple[Controller, Controller, Prometheus]:
    """A node with pods of all kinds: healthy, failing, with a warning, flapping with a certificate that expires soon,
    denied, and with an invalid manifest. Its controller was restarted, and another pod was scheduled after that. The
    controller of another node is down, and a member of a fleet has a Consul of its own."""
    authority = Authority(tmp_path / "tls")
    soon = datetime.now(UTC) + timedelta(days=5)
    flaps = stack.enter_context(Target(authority.server("web1", not_after=soon)))
    flaps.behave(by_turns(answer(200), answer(503)))
    target.behave(answer(503), "/bad")
    target.behave(answer(429), "/busy")
    fleet.schedule("good", "bad")
    fleet.write(POD, manifest(POD, flaps.port, https=True))
    fleet.write("busy", manifest("busy", target.port, "/busy", warn_status=429))
    fleet.write("denied", manifest("denied", 8500))
    fleet.write("invalid", b"id: [")
    fleet.write("paused", manifest("paused", target.port, paused=True))
    listen, gone = free_ports(2)
    controller = launch(consul, listen=f"127.0.0.1:{listen}", ca_file=str(authority.file), damping={"changes": 3})
    member = launch(stack.enter_context(Agent(consul_binary)), ready=False, node_name=MEMBER, fleet="f")
    prometheus = stack.enter_context(
        Prometheus(prometheus_binary, config=configuration(controller, member, gone), rules=hasty(tmp_path))
    )
    until(lambda: prometheus.scrapes("podpulse") > 2, what="scrapes before the restart")
    controller.terminate()
    controller.start()
    fleet.schedule("new")
    return controller, member, prometheus


@pytest.mark.slow
def test_every_query_has_a_result_and_uses_exported_metrics(scene: tuple[Controller, Controller, Prometheus]) -> None:
    controller, member, prometheus = scene
    dashboards = [Dashboard(file) for file in FILES]
    choices = [(one, chosen(one, several)) for one in dashboards for several in ("$__all", NAMES)]
    asked = {query for one, choice in choices for query in one.queries(choice)}
    values = {pair for one, choice in choices for pair in one.values(choice)}

    left = set(asked)

    def none_is_left() -> bool:
        left.difference_update([query for query in left if answers(prometheus, query)])
        return not left

    with suppress(AssertionError):
        until(none_is_left, ANSWERED_WITHIN)
    assert sorted(f"{query.place}: {query.expression}" for query in left) == []

    assert found(prometheus, asked, "Unhealthy pods A") >= {
        ("bad", "critical", "status"),
        ("busy", "warning", "status"),
        ("denied", "unknown", "denied"),
    }
    assert found(prometheus, asked, "Pods with an invalid manifest A") == {("invalid",)}
    assert found(prometheus, asked, "Certificates that expire first A") == {(POD,)}
    assert found(prometheus, asked, "Paused pods A") == {("paused",)}
    for sign in ("Invalid manifests", "Not checked", "Paused", "Controllers down", "Certificates expiring"):
        assert {answers(prometheus, query)[0].value for query in asked if query.place == f"podpulse: {sign} A"} == {1}

    for one, choice in choices[::2]:
        until(lambda shown=one, of=choice: "no data" not in drawn(shown, prometheus, of), ANSWERED_WITHIN)  # type: ignore[misc]
    assert unplaced(prometheus, dashboards, asked) == set()
    assert unlinked(prometheus, dashboards, asked) == set()

    for query, label in values:
        assert {labels.get(label) for labels in prometheus.series(query.expression)} & set(NAMES), query
    scrapes = (one.get("/metrics").text for one in (controller, member))
    exported = {name for scrape in scrapes for name in re.findall(r"^([a-z_]+)[{ ]", scrape, re.MULTILINE)}
    page = TO_POD_PAGE["url"].partition(".instance}")[2]
    page = page.replace("${__data.fields.node}", "web1").replace("${__data.fields.pod}", POD)
    assert controller.get(page).status == 200
    names = set().union(*(query.metrics() for query in asked), *(query.metrics() for query, _ in values))
    assert names - exported - RECORDED - OF_PROMETHEUS == set()


def found(prometheus: Prometheus, asked: Iterable[Query], place: str) -> set[tuple[str, ...]]:
    """Returns the rows of a table about pods: the pod, and its state and reason if the table has them."""
    return {
        tuple(series.labels[name] for name in ("pod", "state", "reason") if name in series.labels)
        for query in asked
        if query.place == f"podpulse: {place}"
        for series in answers(prometheus, query)
    }


def unplaced(prometheus: Prometheus, dashboards: Iterable[Dashboard], asked: Iterable[Query]) -> set[tuple[str, str]]:
    """Returns the labels that a table shows although it has no column for them, such as the name of a metric. They can
    also split a row in two."""
    places = {
        f"{one.uid}: {panel['title']}": panel["transformations"][-1]["options"]["indexByName"].keys()
        for one in dashboards
        for panel in one.panels
        if panel["type"] == "table"
    }
    return {
        (title, label)
        for query in asked
        if (title := query.place[:-2]) in places
        for series in answers(prometheus, query)
        for label in series.labels.keys() - places[title]
    }


def unlinked(prometheus: Prometheus, dashboards: Iterable[Dashboard], asked: Iterable[Query]) -> set[tuple[str, str]]:
    """Returns the labels that the links of a panel need and a series does not have."""
    needed = {
        f"{one.uid}: {panel['title']}": set(
            re.findall(r"\$\{__(?:data\.fields|field\.labels)\.(\w+)\}", json.dumps(panel))
        )
        for one in dashboards
        for panel in one.panels
    }
    return {
        (title, label)
        for query in asked
        if (title := query.place[:-2]) in needed
        for series in answers(prometheus, query)
        for label in needed[title] - series.labels.keys()
    }


def chosen(dashboard: Dashboard, several: Choice) -> dict[str, Choice]:
    """Returns a value for every variable; `several` if the variable accepts several values."""
    return {
        one["name"]: several if one.get("includeAll") else SINGLE[one["name"]]
        for one in dashboard.variables
        if one["type"] == "query"
    }
