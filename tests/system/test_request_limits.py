"""A proxy before Consul that takes only small requests."""

import pytest

from tests.support.consul import Agent
from tests.support.controller import Controller
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.nginx import Nginx
from tests.support.targets import Target, answer

PODS = [f"pod{number}" for number in range(60)]


def test_health_is_published_again_through_a_proxy_that_refuses_large_requests(
    consul: Agent, fleet: Fleet, target: Target
) -> None:
    target.behave(answer(200, b"x" * 4096))
    fleet.schedule(*PODS)
    with Nginx(consul.http_port, "64k") as nginx, Controller(consul={"address": nginx.address}) as controller:
        until(lambda: fleet.are("passing", PODS))
        (session,) = consul.sessions()
        consul.destroy_session(session)
        until(lambda: session not in consul.sessions() and len(consul.sessions()) == 1, within=20.0)
        until(lambda: fleet.are("passing", PODS))
        assert 413 in nginx.statuses()
        assert controller.get("/-/ready").text == "ok\n"


@pytest.mark.slow
def test_health_that_is_unpublished_for_long_is_counted_and_makes_it_unready(consul: Agent, fleet: Fleet) -> None:
    fleet.schedule("a", "b")
    with Nginx(consul.http_port, "300") as nginx, Controller(consul={"address": nginx.address}) as controller:
        until(lambda: controller.get("/-/ready").status == 503, within=60.0)
        assert "2 pods have not been published (kv) for over 30 s" in controller.get("/-/ready").text
        assert "413" in controller.get("/-/ready").text
        metrics = controller.metrics()
        assert metrics.sum("podpulse_pods_unpublished", place="kv") == 2
        assert metrics.sum("podpulse_ready") == 0
