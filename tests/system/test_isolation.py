"""Health is published in two places. If one hangs, the other is not affected."""

import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.consul import Agent
from tests.support.controller import Controller
from tests.support.fake_http import Asked, Reply
from tests.support.fleet import Fleet
from tests.support.gateway import Gateway, Lie
from tests.support.net import until
from tests.support.targets import Target, answer


@pytest.fixture
def gateway(consul: Agent) -> Iterator[Gateway]:
    with Gateway(consul.http_port) as one:
        yield one


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """An event that ends the hanging requests."""
    end = threading.Event()
    yield end
    end.set()


def publishing(stack: ExitStack, gateway: Gateway, **options: Any) -> Controller:
    """Returns a controller that publishes in both places, and reaches Consul only through the gateway."""
    consul = {"address": f"127.0.0.1:{gateway.port}", "wait": "1s"}
    return stack.enter_context(Controller(consul=consul, publish=["kv", "agent"], **options))


def hanging(path: str, end: threading.Event) -> Lie:
    """Lets requests for paths with this prefix hang until `end` is set."""

    def lie(asked: Asked) -> Reply | None:
        return Reply(500, b"it hung", wait=end) if asked.path.startswith(path) and not end.is_set() else None

    return lie


def in_agent(consul: Agent, pod: str) -> str:
    """Returns the status of a pod at the agent; "" if the pod is not a service."""
    checks = consul.request("GET", "agent/checks").json()
    return str(checks.get(f"podpulse:web1:{pod}", {}).get("Status", ""))


def errors(controller: Controller, place: str) -> float:
    name = f"publication-{place}"
    return controller.metrics().sum("controller_runtime_reconcile_errors_total", controller=name)


def waiting(controller: Controller, place: str) -> float:
    """Returns the seconds that the current step of the place's loop has taken."""
    return controller.metrics().sum("workqueue_longest_running_processor_seconds", name=f"publication-{place}")


def test_an_agent_that_hangs_delays_no_key(
    consul: Agent, stack: ExitStack, fleet: Fleet, target: Target, gateway: Gateway, hang: threading.Event
) -> None:
    fleet.schedule("a", "b")
    controller = publishing(stack, gateway)
    until(lambda: fleet.are("passing", "ab") and in_agent(consul, "a") == in_agent(consul, "b") == "passing")

    gateway.lie = hanging("/v1/agent/", hang)
    target.behave(answer(503))
    until(lambda: fleet.are("critical", "ab"), 5.0, "the keys say so")
    until(lambda: waiting(controller, "agent") > 0.5, what="the agent to be waited for")
    target.behave(answer(200))
    until(lambda: fleet.are("passing", "ab"), 5.0, "the keys say so again, while the agent is waited for")
    fleet.unschedule("b")
    until(lambda: fleet.are("passing", "a"), 5.0, "the key of a pod that is gone goes")
    assert errors(controller, "kv") == 0

    target.behave(answer(503))
    hang.set()
    until(lambda: in_agent(consul, "a") == "critical", 30.0, "the agent is told the newest")
    until(lambda: in_agent(consul, "b") == "", 30.0, "the service of the pod that is gone goes")


def test_a_key_value_store_that_hangs_delays_no_service(
    consul: Agent, stack: ExitStack, fleet: Fleet, target: Target, gateway: Gateway, hang: threading.Event
) -> None:
    fleet.schedule("a")
    controller = publishing(stack, gateway)
    until(lambda: fleet.are("passing", "a") and in_agent(consul, "a") == "passing")

    gateway.lie = hanging("/v1/txn", hang)
    target.behave(answer(503))
    until(lambda: in_agent(consul, "a") == "critical", 5.0, "the agent says so")
    until(lambda: waiting(controller, "kv") > 0.5, what="the store to be waited for")
    target.behave(answer(200))
    until(lambda: in_agent(consul, "a") == "passing", 5.0, "the agent says so again, while the store is waited for")
    assert errors(controller, "agent") == 0
    hang.set()
    target.behave(answer(503))
    until(lambda: fleet.are("critical", "a"), 30.0, "the key says the newest")


def test_an_agent_that_hangs_from_the_start_delays_no_key_and_is_cleaned_up_afterwards(
    consul: Agent, stack: ExitStack, fleet: Fleet, target: Target, gateway: Gateway, hang: threading.Event
) -> None:
    fleet.schedule("a", "b", "c")
    controller = publishing(stack, gateway)
    until(lambda: all(in_agent(consul, pod) == "passing" for pod in "abc"))
    controller.kill()
    fleet.unschedule("b")
    fleet.write("c", b"id: c\n")
    gateway.lie = hanging("/v1/agent/", hang)
    controller.start()
    until(lambda: fleet.are("passing", "a"), 15.0, "the keys are as they should be")
    target.behave(answer(503))
    until(lambda: fleet.are("critical", "a"), 5.0, "and go on to be")
    assert in_agent(consul, "b")
    hang.set()
    until(lambda: in_agent(consul, "a") == "critical", 30.0, "the agent is told")
    until(lambda: in_agent(consul, "b") == "", 30.0, "the service of the pod that was unscheduled goes")
    until(lambda: in_agent(consul, "c") == "", 30.0, "and so does that of the pod without check")


@pytest.mark.parametrize("path", ["/v1/agent/", "/v1/txn"])
@pytest.mark.parametrize("on_stop", ["keep", "remove"])
def test_a_place_that_hangs_does_not_delay_the_stop(
    consul: Agent, stack: ExitStack, fleet: Fleet, target: Target, gateway: Gateway, hang: threading.Event,
    path: str, on_stop: str,
) -> None:  # fmt: skip
    fleet.schedule("a")
    controller = publishing(stack, gateway, on_stop=on_stop)
    until(lambda: fleet.are("passing", "a") and in_agent(consul, "a") == "passing")
    gateway.lie = hanging(path, hang)
    target.behave(answer(503))
    until(lambda: waiting(controller, "kv") + waiting(controller, "agent") > 0.2, what="one to be waited for")
    assert controller.terminate(within=5.0) == 0
    assert "Traceback" not in controller.log
    left = ["health/a/web1"] if on_stop == "keep" else []
    assert consul.keys("health/") == left


def test_a_stop_uses_its_remaining_time_to_remove_services(
    consul: Agent, stack: ExitStack, fleet: Fleet, gateway: Gateway
) -> None:
    """Services are removed one by one. The other parts leave enough time for more than a second of removals."""
    pods = "abcdefgh"
    fleet.schedule(*pods)
    controller = publishing(stack, gateway, on_stop="remove")
    until(lambda: all(in_agent(consul, pod) == "passing" for pod in pods))
    slowly = threading.Event()

    def lie(asked: Asked) -> Reply | None:
        if "/agent/service/deregister/podpulse:" in urllib.parse.unquote(asked.path):
            slowly.wait(0.2)
        return None

    gateway.lie = lie
    assert controller.terminate(within=5.0) == 0
    assert [pod for pod in pods if in_agent(consul, pod)] == []
    assert "stay registered" not in controller.log
