"""The page for users with a screen reader, without a mouse, or with a small screen: axe-core in a real browser.

axe-core is the usual tool for checks of WCAG. This version does not check the size of touch targets, so a test does.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.browser import LAPTOP, PHONE, Browser
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

LONG = b"a line of very many that a pod has to say of its health\n" * 40
PATHS = (
    "/",
    "/?q=pod&per_page=2",
    "/?q=nothing+is+like+that&state=critical",
    "/pods/web1/pod-well",
    "/pods/web1/pod-ill",
    "/pods/web1/pod-tls",
    "/pods/web1/pod-torn",
    "/pods/web1/nobody",
    "/manifests",
)

TOO_SMALL = """
const targets = [...document.querySelectorAll("a, button, input, summary")].filter(
  (each) => each.checkVisibility() && each.className !== "skip" && !each.closest("p"));
const middle = (each) => {
  const { left, right, top, bottom } = each.getBoundingClientRect();
  return [(left + right) / 2, (top + bottom) / 2];
};
const isSmall = (each) => Math.min(each.getBoundingClientRect().width, each.getBoundingClientRect().height) < 24;
const reach = ([x, y], other) => {
  const { left, right, top, bottom } = other.getBoundingClientRect();
  return Math.hypot(Math.max(left - x, 0, x - right), Math.max(top - y, 0, y - bottom));
};
return targets.filter(isSmall).filter((small) => targets.some((other) => other !== small && (
  reach(middle(small), other) < 12 ||
  (isSmall(other) && Math.hypot(middle(small)[0] - middle(other)[0], middle(small)[1] - middle(other)[1]) < 24)
))).map((each) => each.outerHTML);
"""
"""Source: WCAG 2.2, 2.5.8: 24 pixels, or a circle as wide that touches nothing else; links in a text are free."""


@pytest.fixture
def controller(consul: Agent, launch: Launch, fleet: Fleet, target: Target, tmp_path: Path) -> Iterator[Controller]:
    """A page with healthy pods, failing pods, pods behind TLS, and an invalid manifest."""
    authority = Authority(tmp_path / "tls")
    target.behave(answer(503, LONG), "/pod-ill")
    fleet.schedule("pod-well", "pod-ill")
    fleet.write("pod-torn", b"id: [")
    with Target(authority.server("web1", not_after=datetime.now(UTC) + timedelta(days=5))) as secured:
        fleet.write("pod-tls", manifest("pod-tls", secured.port, https=True, labels={"team": "shop"}))
        one = launch(consul, ca_file=str(authority.file), labels=["team"])
        until(lambda: fleet.status("pod-ill") == "critical" and fleet.status("pod-tls") == "passing")
        yield one


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_the_page_has_no_accessibility_violations(
    controller: Controller, browser: Browser, size: tuple[int, int]
) -> None:
    browser.resize(size)
    try:
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            for path in PATHS:
                browser.open(f"http://127.0.0.1:{controller.port}{path}")
                browser.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
                assert browser.barriers() == [], f"{path}, {scheme}"
                assert browser.evaluate(TOO_SMALL) == [], path
                width = browser.evaluate("return document.documentElement.scrollWidth")
                assert width <= size[0], path
    finally:
        browser.prefer("")
        browser.resize()
    complaints = browser.complaints()
    assert all("nobody - Failed to load resource" in each for each in complaints), complaints
