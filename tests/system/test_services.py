"""Pods as services of the local agent, and pods that flap: what people see who do not know p2."""

from tests.support.consul import Agent
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target, answer
from tests.system.conftest import Launch


def passing(consul: Agent, service: str) -> list[str]:
    """Returns the ids of a service's instances that Consul's DNS would answer with."""
    found = consul.request("GET", f"health/service/{service}?passing").json()
    return [each["Service"]["ID"] for each in found]


def test_only_healthy_pods_are_found_and_the_check_says_why_the_others_are_not(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    target.behave(answer(503, b"no disk\n"), "/bad")
    fleet.schedule("good", "bad")
    launch(consul, publish=["kv", "agent"], service={"name_prefix": "pod-", "tags": ["podpulse"]})
    until(lambda: passing(consul, "pod-good") == ["podpulse:web1:good"], what="the healthy pod to be found")
    until(lambda: fleet.status("bad") == "critical", what="the other one to be critical in the KV store too")
    until(lambda: consul.request("GET", "health/checks/pod-bad").json(), what="the other one to be a service")
    (check,) = consul.request("GET", "health/checks/pod-bad").json()
    assert check["Status"] == "critical"
    assert "answered with status 503" in check["Output"]
    assert "no disk" in check["Output"]

    fleet.unschedule("good")
    until(lambda: not consul.request("GET", "catalog/service/pod-good").json(), 4, "the service to go")
    until(lambda: fleet.health("good") is None, 4, "the key to go")


def test_pods_can_be_services_without_records_in_the_kv_store(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    fleet.schedule("good")
    launch(consul, publish=["agent"])
    until(lambda: passing(consul, "good"), what="the pod to be found")
    assert consul.keys("health/") == []


def test_a_pod_that_flaps_is_unknown_and_the_record_says_so(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.schedule("shaky")
    controller = launch(consul, damping={"changes": 2}, defaults={"interval": "200ms"})
    until(lambda: fleet.status("shaky") == "passing", what="the pod to be passing")
    target.behave(answer(500), "/shaky")
    until(lambda: fleet.status("shaky") == "unknown", what="the second change to be damped")
    record = fleet.health("shaky")
    assert record is not None
    assert (record["Reason"], record["LastSeen"], record["Changes"]) == ("flapping", "critical", 2)
    until(lambda: controller.metrics().sum("podpulse_pods_damped") == 1, what="the metric")
