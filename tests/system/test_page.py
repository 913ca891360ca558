"""The page in a real browser (chromium), with the real controller and real targets."""

import http.client
import time
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.support.browser import LAPTOP, PHONE, Browser
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.fleet import Fleet
from tests.support.net import free_ports
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

HOSTILE = b"<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
MANY = 10_000
ANNOUNCED = "return document.getElementById('announcement').textContent"
IN_SIGHT = """
const place = document.querySelector("footer p").getBoundingClientRect();
return place.top >= 0 && place.bottom <= innerHeight;
"""


@pytest.fixture
def controller(consul: Agent, launch: Launch) -> Controller:
    return launch(consul)


def page(controller: Controller, path: str = "/") -> str:
    return f"http://127.0.0.1:{controller.port}{path}"


def row(pod: str) -> str:
    return f'tr[id="pod-web1/{pod}"]'


def test_a_change_of_status_appears_without_a_reload_of_the_page(
    controller: Controller, fleet: Fleet, target: Target, browser: Browser
) -> None:
    fleet.schedule("isup", "other")
    browser.open(page(controller))
    browser.wait(lambda: browser.texts("td.state") == ["passing", "passing"], "both are passing")
    browser.evaluate("window.loaded = 'once'; document.querySelector('tbody a').focus()")
    target.behave(answer(503, b"db is down\n"), "/other")
    browser.wait(lambda: browser.text(f"{row('other')} td.state") == "critical")
    assert browser.texts("td.state") == ["critical", "passing"]
    assert browser.text(f"{row('other')} .why b") == "status"
    assert browser.text(f"{row('other')} pre") == "db is down"
    assert browser.title.startswith("1 critical · web1")
    assert browser.evaluate("return window.loaded + ' ' + document.activeElement.textContent") == "once isup"
    browser.wait(lambda: "1 critical" in browser.evaluate(ANNOUNCED))

    browser.click(f"{row('other')} th a")
    browser.wait(lambda: "It is critical, because" in browser.text(".lead"))
    browser.evaluate("window.loaded = 'once'")
    target.behave(answer(200), "/other")
    browser.wait(lambda: browser.text("h1 .state") == "passing")
    browser.wait(lambda: "passing" in browser.text("section dd.state"), "it is published")
    assert browser.evaluate("return window.loaded") == "once"


def test_pods_are_filtered_while_typing_and_sorted_by_click_and_the_url_keeps_both(
    controller: Controller, fleet: Fleet, target: Target, browser: Browser
) -> None:
    target.behave(answer(500), "/mailer")
    fleet.schedule("billing", "mailer", "search")
    browser.open(page(controller))
    browser.wait(lambda: browser.texts("td.state") == ["critical", "passing", "passing"])
    browser.click("th.c-pod a")
    browser.wait(lambda: browser.texts("tbody th") == ["billing", "mailer", "search"])
    browser.click("th.c-pod a")
    browser.wait(lambda: browser.texts("tbody th") == ["search", "mailer", "billing"])
    assert browser.text('[aria-sort="descending"]') == "Pod"
    browser.type("#q", "il")
    browser.wait(lambda: browser.texts("tbody th") == ["mailer", "billing"])
    assert browser.url.endswith("/?sort=-pod&q=il")
    browser.wait(lambda: browser.evaluate(ANNOUNCED).startswith("2 of 3 shown; "))
    browser.open(browser.url)
    assert browser.texts("tbody th") == ["mailer", "billing"]
    browser.click(".totals .critical")
    browser.wait(lambda: browser.texts("tbody th") == ["mailer"])
    assert browser.url.endswith("/?state=critical&q=il&sort=-pod")


@pytest.mark.slow
def test_without_javascript_the_page_reloads_and_can_be_filtered(
    controller: Controller, fleet: Fleet, target: Target, browser: Browser
) -> None:
    fleet.schedule("isup", "other")
    browser.switch_script(on=False)
    try:
        browser.open(page(controller))
        browser.type("#q", "isup")
        browser.click("form button")
        browser.wait(lambda: browser.texts("tbody th") == ["isup"])
        target.behave(answer(503))
        browser.wait(lambda: browser.texts("td.state") == ["critical"], "the page renews itself")
        assert browser.url.endswith("/?q=isup")
    finally:
        browser.switch_script(on=True)


def test_the_answer_of_a_pod_is_shown_as_text(
    controller: Controller, fleet: Fleet, target: Target, browser: Browser
) -> None:
    target.behave(answer(503, HOSTILE))
    fleet.schedule("evil")
    fleet.write("torn", b"id: torn\nstatus_port: '<script>alert(1)</script>'\n")
    browser.open(page(controller))
    browser.wait(lambda: browser.text("tbody pre") == HOSTILE.decode())
    browser.open(page(controller, "/pods/web1/evil"))
    assert HOSTILE.decode() in browser.texts("section pre")
    browser.open(page(controller, "/manifests"))
    assert "<script>" in browser.text("td.why")
    assert "invalid manifest" in browser.title
    assert browser.evaluate("return document.images.length") == 0


def test_the_keyboard_reaches_the_content_first(controller: Controller, fleet: Fleet, browser: Browser) -> None:
    fleet.schedule("isup")
    browser.open(page(controller))
    browser.wait(lambda: browser.texts("tbody th") == ["isup"])
    browser.type("body", Keys.TAB)
    assert browser.evaluate("return document.activeElement.className") == "skip"
    assert browser.evaluate("return document.activeElement.getBoundingClientRect().width") > 50
    browser.type("a.skip", Keys.ENTER)
    assert browser.evaluate("return document.activeElement.id") == "main"


def test_the_keyboard_searches_moves_and_opens(controller: Controller, fleet: Fleet, browser: Browser) -> None:
    fleet.schedule("billing", "mailer", "search")
    browser.open(page(controller))
    browser.wait(lambda: browser.texts("tbody th") == ["billing", "mailer", "search"])
    focused = "return document.activeElement.id || document.activeElement.textContent"
    for key, place in (
        ("/", "q"),
        (Keys.ARROW_DOWN, "billing"),
        (Keys.ARROW_DOWN, "mailer"),
        (Keys.ARROW_DOWN, "search"),
        (Keys.ARROW_DOWN, "search"),
        (Keys.ARROW_UP, "mailer"),
        ("/", "q"),
        ("/", "q"),
    ):
        browser.press(key)
        assert browser.evaluate(focused) == place
    assert browser.evaluate("return document.getElementById('q').value") == "/", "what is typed is text"
    browser.press(Keys.BACKSPACE, "mail")
    browser.wait(lambda: browser.texts("tbody th") == ["mailer"])
    browser.press(Keys.ARROW_DOWN, Keys.ENTER)
    browser.wait(lambda: browser.text("h1").startswith("mailer"))


def test_the_page_fits_a_phone_and_has_a_dark_mode(controller: Controller, fleet: Fleet, browser: Browser) -> None:
    fleet.schedule("isup", "a-pod-with-a-name-that-is-as-long-as-names-of-pods-are-where-teams-like-long-names")
    browser.resize(PHONE)
    try:
        for path in ("/", "/pods/web1/isup", "/manifests"):
            browser.open(page(controller, path))
            width = browser.evaluate("return document.documentElement.scrollWidth")
            assert width <= PHONE[0], path
        browser.prefer("light")
        light = browser.evaluate("return getComputedStyle(document.body).backgroundColor")
        browser.prefer("dark")
        dark = browser.evaluate("return getComputedStyle(document.body).backgroundColor")
        assert (light, dark) == ("rgb(246, 246, 243)", "rgb(19, 21, 23)")
    finally:
        browser.prefer("")
        browser.resize()


def test_the_page_shows_that_its_controller_is_gone_until_it_returns(
    consul: Agent, launch: Launch, fleet: Fleet, browser: Browser
) -> None:
    controller = launch(consul, listen=f"127.0.0.1:{free_ports(1)[0]}")
    fleet.schedule("isup")
    browser.open(page(controller))
    browser.wait(lambda: browser.texts("td.state") == ["passing"])
    assert controller.terminate() == 0
    browser.resize((LAPTOP[0], 200))
    browser.wait(lambda: "No answer from the controller" in browser.text("footer"))
    assert browser.evaluate(IN_SIGHT), "without scrolling"
    assert browser.evaluate(ANNOUNCED) == "No answer from the controller"
    assert browser.title.startswith("(?) 1 passing")
    assert "fill='%23999999'" in browser.evaluate("return document.querySelector('link[rel=icon]').href")
    browser.resize()
    controller.start()
    browser.wait(lambda: browser.text("footer").startswith("As of"))
    assert browser.evaluate(ANNOUNCED) == "The controller answers again"
    assert not browser.title.startswith("(")
    browser.wait(lambda: browser.texts("td.state") == ["passing"])
    refused = browser.complaints()
    assert refused
    cut = ("CONNECTION_REFUSED", "INCOMPLETE_CHUNKED", "CONNECTION_RESET", "EMPTY_RESPONSE")
    assert all(any(f"ERR_{how}" in each for how in cut) for each in refused), refused


def test_ten_thousand_pods_are_rendered_quickly(tmp_path: Path, target: Target, browser: Browser) -> None:
    pods = tmp_path / "pods"
    pods.mkdir()
    for number in range(MANY):
        (pods / f"checkout-{number:05d}.yaml").write_bytes(manifest(f"checkout-{number:05d}", target.port))
    target.refuse()
    with Controller(
        intent_dir=str(pods), health_dir=str(tmp_path / "health"), defaults={"interval": "60s"}, canary="none"
    ) as controller:
        browser.open(page(controller))
        browser.wait(lambda: browser.text(".totals b") == "10,000", "all manifests are read")
        assert len(browser.texts("tbody tr")) == 100
        assert min(server_seconds(controller, "/?sort=-since") for _ in range(5)) < 2.0  # usually 0.06
        paints = []
        for _ in range(3):
            browser.open(page(controller, "/?q=checkout"))
            browser.wait(lambda: browser.evaluate(FIRST_PAINT), "something is painted")
            paints.append(browser.evaluate(FIRST_PAINT) / 1000)
        assert min(paints) < 4.0, paints  # usually 0.2
        browser.type("#q", "-04711")
        browser.wait(lambda: browser.texts("tbody th") == ["checkout-04711"])
        browser.open(page(controller, "/?sort=-pod"))
        browser.click("[rel=next]")
        browser.wait(lambda: browser.text("tbody th") == "checkout-09899")
        browser.open("about:blank")


FIRST_PAINT = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def server_seconds(controller: Controller, path: str) -> float:
    """How long the whole answer takes."""
    connection = http.client.HTTPConnection("127.0.0.1", controller.port, timeout=30)
    connection.connect()
    started = time.monotonic()
    connection.request("GET", path)
    connection.getresponse().read()
    took = time.monotonic() - started
    connection.close()
    return took
