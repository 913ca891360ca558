"""A controller with more checks than it can probe in time says so on the page and in the metrics."""

import re

from tests.support.consul import Agent
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target, slow
from tests.system.conftest import Launch

SAID = r"this controller is overloaded: it keeps (\d+) % of the probes; intervals ([\d.]+) times as long would fit"
PODS = [f"pod-{number:02}" for number in range(24)]


def test_the_page_and_metrics_of_an_overloaded_controller_say_so_and_it_stays_ready(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    target.behave(slow(0.3))
    fleet.schedule(*PODS)
    controller = launch(consul, max_in_flight=2)
    until(lambda: re.search(SAID, controller.get("/-/ready").text), 30.0, "it says that it is overloaded")
    ready, page = controller.get("/-/ready"), controller.get("/")
    assert ready.status == 200
    on_page = re.search(SAID, page.text)
    assert on_page, "a banner"
    kept, longer = int(on_page[1]) / 100, float(on_page[2])
    assert longer >= 1 / (kept + 0.01)
    assert controller.metrics().sum("podpulse_probes_kept_ratio") < 0.95
    assert "critical" not in fleet.statuses().values()
