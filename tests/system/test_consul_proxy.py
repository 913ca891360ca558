"""A proxy in front of Consul that requires a header and ends requests that take too long."""

from collections.abc import Callable

from tests.support.consul import Agent
from tests.support.controller import NODE, Controller, podpulse
from tests.support.fake_http import Asked, FakeServer, Reply
from tests.support.fleet import Fleet
from tests.support.net import until

HEADER, KEY = "X-Proxy-Key", "s3cret"


def guard(consul: Agent) -> Callable[[Asked], Reply]:
    """Forwards requests that have the header, and refuses others."""

    def respond(asked: Asked) -> Reply:
        if asked.headers.get(HEADER.lower()) != KEY:
            return Reply(401, b"who are you?")
        answer = consul.request(asked.method, asked.path.removeprefix("/v1/"), asked.body, timeout=30.0)
        headers = {name: text for name, text in answer.headers.items() if name.startswith("x-consul-")}
        return Reply(answer.status, answer.body, headers)

    return respond


def test_the_controller_and_the_tools_work_through_a_proxy_that_requires_a_header(consul: Agent, fleet: Fleet) -> None:
    fleet.schedule("isup")
    with FakeServer(guard(consul)) as proxy:
        section = {"address": proxy.address, "headers": {HEADER: KEY}, "wait": "2s"}
        with Controller(consul=section) as controller:
            until(lambda: fleet.are("passing", ["isup"]))
            until(lambda: any("wait=2000ms" in asked.path for asked in proxy.asked))
            assert all(asked.headers.get(HEADER.lower()) == KEY for asked in proxy.asked)
            probe = ("probe", "isup", "--node", NODE, "--address", "127.0.0.1", "--consul", proxy.address)
            assert "401" in podpulse(*probe, check=False).stderr
            said = podpulse(*probe, "--header", f"{HEADER}={KEY}")
            assert controller.terminate() == 0
            assert KEY not in controller.log + said.stdout + said.stderr
