"""A person who knows that a mass removal is meant lets it pass."""

from tests.support.consul import Agent
from tests.support.controller import podpulse
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.system.conftest import Launch


def test_what_the_fuse_holds_goes_when_a_person_releases_it(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    pods = [f"pod-{number}" for number in range(20)]
    fleet.schedule(*pods)
    controller = launch(consul)
    until(lambda: fleet.are("passing", pods))
    fleet.unschedule_at_once(*pods)
    until(lambda: controller.metrics().sum("podpulse_removals_held") == 20, what="all of them are held")
    assert "the removal of 20 pods is held: 20 of 20 pods gone at once" in controller.get("/").text
    told = podpulse("release-removals", "--config", controller.config_file).stdout
    assert told == f"told process {controller.pid}: what the fuse holds may go\n"
    until(lambda: not consul.entries("health/"), 20.0, "they are gone long before the minute is over")
    assert "released: 20 pods" in controller.log
    assert controller.metrics().sum("podpulse_removals_held") == 0
    assert controller.terminate() == 0
    refused = podpulse("release-removals", "--config", controller.config_file, check=False)
    assert (refused.returncode, "no controller of node web1 runs" in refused.stderr) == (1, True)
