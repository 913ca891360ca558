"""A fleet of two real controllers: its pages in a real browser, its metrics, and its verb."""

import json
from collections.abc import Callable

import pytest

from tests.support.browser import LAPTOP, PHONE, Browser
from tests.support.cli import good, on, run
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.net import until
from tests.support.targets import Target
from tests.system.conftest import Launch
from tests.system.test_page_accessibility import TOO_SMALL

NODES = [f"node{number:02}" for number in range(12)]
WITHIN = 60.0

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(consul: Agent, launch: Launch, target: Target) -> dict[str, Controller]:
    """Two members that share twelve nodes with one pod each."""
    for node in NODES:
        consul.put(f"intent/{node}/isup", manifest("isup", target.port))
    members = {name: launch(consul, ready=False, node_name=name, fleet="f") for name in ("m1", "m2")}
    until(lambda: all(owned(one) for one in members.values()), WITHIN, "both members to have a share")
    until(lambda: len(consul.keys("health/")) == len(NODES), WITHIN, "all pods to be published")
    return members


def owned(member: Controller) -> float:
    return member.metrics().sum("podpulse_fleet_nodes_owned")


def shares(member: Controller) -> dict[str, str]:
    """The member that checks each node, as `member` sees it."""
    return {each["node"]: each["member"] for each in json.loads(member.get("/api/v1/fleet").text)["nodes"]}


def page(member: Controller, path: str) -> str:
    return f"http://127.0.0.1:{member.port}{path}"


def knows(member: Controller, *members: str) -> Callable[[], bool]:
    """Whether exactly these check nodes, as `member` sees it."""
    return lambda: set(shares(member).values()) == set(members)


def test_the_page_of_one_member_leads_to_a_pod_of_the_other(pair: dict[str, Controller], browser: Browser) -> None:
    until(knows(pair["m1"], "m1", "m2"), WITHIN)
    theirs = next(node for node, member in shares(pair["m1"]).items() if member == "m2")
    for script in (True, False):
        browser.switch_script(on=script)
        try:
            browser.open(page(pair["m1"], "/"))
            browser.click('nav a[href="fleet"]')
            browser.wait(lambda: browser.text("h1") == "Fleet f")
            assert browser.texts("table[aria-label=Members] th[scope=row]") == ["m1 (this one)", "m2"]
            browser.type("#pod", theirs)
            browser.click("form[action='fleet/pods'] button")
            browser.wait(lambda: browser.text("h1") == "Pods of the whole fleet")
            browser.click("tbody th a")
            browser.wait(lambda: "The member m2 of the fleet checks it" in browser.text(".lead"))
            browser.click(".lead a")
            browser.wait(lambda: "The check" in browser.texts("h2"))
            assert browser.url == page(pair["m2"], f"/pods/{theirs}/isup")
        finally:
            browser.switch_script(on=True)


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_the_pages_of_the_fleet_have_no_accessibility_violations(
    pair: dict[str, Controller], browser: Browser, size: tuple[int, int]
) -> None:
    theirs = next(node for node, member in shares(pair["m1"]).items() if member == "m2")
    browser.resize(size)
    try:
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            for path in ("/fleet", "/fleet?q=node0&per_page=2", "/fleet/pods?q=isup", f"/pods/{theirs}/isup"):
                browser.open(page(pair["m1"], path))
                assert browser.barriers() == [], f"{path}, {scheme}"
                assert browser.evaluate(TOO_SMALL) == [], path
                assert browser.evaluate("return document.documentElement.scrollWidth") <= size[0], path
    finally:
        browser.prefer("")
        browser.resize()


def test_metrics_page_and_verb_follow_a_member_that_dies(pair: dict[str, Controller], consul: Agent) -> None:
    m1 = pair["m1"]
    until(lambda: sum(owned(one) for one in pair.values()) == len(NODES), WITHIN)
    assert [one.metrics().sum("podpulse_fleet_members") for one in pair.values()] == [2, 2]
    before, taken = m1.metrics().sum("podpulse_fleet_view_index"), m1.metrics().sum("podpulse_fleet_takeovers_total")
    until(lambda: shares(m1) == shares(pair["m2"]), WITHIN)
    said = json.loads(good(on(consul, "fleet", "--format", "json")))
    assert {each["node"]: each["member"] for each in said["nodes"]} == shares(m1)

    pair["m2"].kill()
    until(lambda: owned(m1) == len(NODES), WITHIN, "the other member to check all nodes")
    until(lambda: m1.metrics().sum("podpulse_fleet_takeovers_total") > taken, WITHIN, "keys to be taken over")
    assert m1.metrics().sum("podpulse_fleet_members") == 1
    assert m1.metrics().sum("podpulse_fleet_view_index") > before
    until(knows(m1, "m1"), WITHIN)
    until(lambda: {"m2": "gone"}.items() <= states(m1).items(), WITHIN, "the dead member to be shown as gone")
    said = good(run("fleet", "--url", page(m1, "")))
    assert said.splitlines()[1].split()[:2] == ["gone", "m2"]
    assert said.splitlines()[-1] == "fleet f: 1 member, 12 nodes, 12 pods"


def states(member: Controller) -> dict[str, str]:
    return {each["id"]: each["state"] for each in json.loads(member.get("/api/v1/fleet").text)["members"]}


def test_a_controller_of_one_node_has_no_metrics_of_a_fleet(consul: Agent, launch: Launch) -> None:
    controller = launch(consul)
    assert "podpulse_fleet" not in controller.get("/metrics").text
    assert controller.get("/fleet").status == 404
