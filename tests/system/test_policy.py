"""The policy that `podpulse acl-policy` prints is sufficient, and each line is required, on a real Consul."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cli import good, run
from tests.support.consul import Agent
from tests.support.controller import Controller, watch_for
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

ALL: dict[str, Any] = {"publish": ["kv", "agent"], "address": "catalog", "service": {"name_prefix": "pod-"}}
OTHER: dict[str, Any] = {"tree": "reality", "publish": ["kv"]}
CATALOG: dict[str, Any] = {"node_name": "printer1", "publish": ["catalog"], "service": {"name_prefix": "pod-"}}
FLEET: dict[str, Any] = {"fleet": "f", "publish": ["kv"]}
BOTH: dict[str, Any] = {
    **FLEET,
    "startup_grace": "1h",
    "publish": ["kv", "catalog"],
    "service": {"name_prefix": "pod-"},
}
GRACE: dict[str, Any] = {"startup_grace": "1h", "publish": ["kv"], "on_stop": "remove"}
TRIED = 1.5
"""Seconds in which the controller does everything that is permitted, once it knows all that it needs."""
TURNS = 3
"""The number of failed probes after which a pod is critical; one is enough for a pod that has never passed."""

Thing = Callable[[Agent, Target, Controller], bool]


def is_probed(consul: Agent, target: Target, controller: Controller) -> bool:
    return bool(target.hits("/a"))


def has_health(consul: Agent, target: Target, controller: Controller) -> bool:
    return consul.get("health/a/web1") is not None


def is_in_the_catalog(consul: Agent, target: Target, controller: Controller) -> bool:
    found = consul.request("GET", "health/service/pod-a?passing").json()
    return "printer1" in {each["Node"]["Node"] for each in found}


def sees_no_members(consul: Agent, target: Target, controller: Controller) -> bool:
    watch_for(TRIED)
    return "has no members" in controller.get("/-/ready").text


def has_held_health(consul: Agent, target: Target, controller: Controller) -> bool:
    return "Session" in consul.entries("health/").get("health/a/web1", {})


def is_a_service(consul: Agent, target: Target, controller: Controller) -> bool:
    return bool(consul.request("GET", "health/service/pod-a?passing").json())


def knows_whose_agent_it_is(consul: Agent, target: Target, controller: Controller) -> bool:
    return controller.metrics().sum("podpulse_consul_requests_total", op="agent_node", outcome="ok") > 0


def is_seen_to_fail(consul: Agent, target: Target, controller: Controller) -> bool:
    """A failing pod is unknown while it is being deployed. The other tree shows the end of the deployment."""
    return bool(json.loads(consul.get("health/a/web1") or b"{}").get("Status") == "critical")


def is_registered(consul: Agent, target: Target, controller: Controller) -> bool:
    return bool(consul.request("GET", "health/service/podpulse").json())


def asked(controller: Controller, op: str, outcome: str) -> float:
    """Returns how many requests of an operation had this outcome."""
    return controller.metrics().sum("podpulse_consul_requests_total", op=op, outcome=outcome)


def refused(op: str) -> Thing:
    """Returns a condition: Consul has refused the operation."""

    def is_refused(consul: Agent, target: Target, controller: Controller) -> bool:
        return asked(controller, op, "refused") > 0

    return is_refused


def says_why_there_is_no_session(consul: Agent, target: Target, controller: Controller) -> bool:
    """The controller names the cause, in one sentence."""
    why = f"creating a session: Consul at {consul.address} answered 403 Permission denied"
    return controller.get("/-/ready").text == f"there is no session, so no health can be published: {why}\n"


def has_tried_to_publish(consul: Agent, target: Target, controller: Controller) -> bool:
    """The controller has sent two transactions. The answer to the first one says what is not permitted."""
    return asked(controller, "transaction", "ok") > 1


def is_ready(consul: Agent, target: Target, controller: Controller) -> bool:
    """The controller has read all manifests. Consul silently omits manifests that the token may not read."""
    if controller.get("/-/ready").status != 200:
        return False
    watch_for(TRIED)
    return True


def knows_no_address(consul: Agent, target: Target, controller: Controller) -> bool:
    return "Consul's catalog has not named it" in controller.log


def has_probed_again(consul: Agent, target: Target, controller: Controller) -> bool:
    return len(target.hits("/a")) > TURNS


CASES = [
    pytest.param(ALL, "intent/", is_ready, is_probed, id="manifests"),
    pytest.param(ALL, "health/", has_tried_to_publish, has_health, id="health"),
    pytest.param(ALL, "session", says_why_there_is_no_session, has_held_health, id="session"),
    pytest.param(ALL, "service_prefix", refused("register_service"), is_a_service, id="services"),
    pytest.param(ALL, "agent", refused("agent_node"), knows_whose_agent_it_is, id="whose agent it is"),
    pytest.param(ALL, 'service "podpulse"', refused("register_service"), is_registered, id="itself"),
    pytest.param(ALL, 'node "', knows_no_address, is_probed, id="address by the catalog"),
    pytest.param(OTHER, "reality/web1/", is_ready, is_probed, id="what really runs"),
    pytest.param(CATALOG, "service_prefix", has_tried_to_publish, is_in_the_catalog, id="services of the catalog"),
    pytest.param(CATALOG, 'node "', has_tried_to_publish, is_in_the_catalog, id="nodes of the catalog"),
    pytest.param(FLEET, "node_prefix", sees_no_members, has_held_health, id="the members of a fleet"),
    pytest.param(GRACE, "reality/web1/", has_probed_again, is_seen_to_fail, id="which pods are deployed"),
]
"""For each line: what the controller tries in vain without the line, and what does not work then."""


@pytest.fixture(params=[False, True], ids=["reading lists", "listing is a right of its own"])
def strict_consul(request: pytest.FixtureRequest, consul_binary: Path) -> Iterator[Agent]:
    """A Consul whose ACLs deny by default, with and without the list policy."""
    lists = {"acl": {"enable_key_list_policy": request.param}}
    with Agent(consul_binary, acl=True, config=lists if request.param else {}) as agent:
        yield agent


def policy(folder: Path, options: dict[str, Any], *arguments: str) -> list[str]:
    """Returns the printed lines for this configuration."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({"node_name": "web1", **options}))
    return good(run("acl-policy", "--config", file, *arguments)).splitlines()


def schedule(consul: Agent, target: Target) -> None:
    data = Fleet(consul, target).manifest("a")
    for tree in ("intent", "reality"):
        consul.put(f"{tree}/web1/a", data)
    consul.put("intent/printer1/a", data)


@pytest.mark.parametrize("options", [ALL, OTHER, GRACE], ids=["all", "other", "grace"])
def test_the_printed_policy_is_sufficient(
    strict_consul: Agent, launch: Launch, target: Target, tmp_path: Path, options: dict[str, Any]
) -> None:
    lists = strict_consul.request("GET", "agent/self").json()["DebugConfig"]["ACLEnableKeyListPolicy"]
    rules = policy(tmp_path, options, *(["--list-policy"] if lists else []))
    schedule(strict_consul, target)
    controller = launch(strict_consul, token=strict_consul.create_token("\n".join(rules)), **options)
    until(lambda: has_held_health(strict_consul, target, controller), what="the key")
    assert is_probed(strict_consul, target, controller)
    if "agent" in options["publish"]:
        until(lambda: is_a_service(strict_consul, target, controller), what="the service")
    assert controller.metrics().sum("podpulse_consul_requests_total", outcome="refused") == 0
    strict_consul.delete("intent/web1/a")
    strict_consul.delete("reality/web1/a")
    until(lambda: not has_health(strict_consul, target, controller), what="the key to go")
    assert controller.terminate() == 0


@pytest.mark.parametrize("options", [CATALOG, FLEET, BOTH], ids=["catalog", "fleet", "fleet with catalog"])
def test_the_printed_policy_is_sufficient_for_the_catalog_and_for_a_fleet(
    strict_consul: Agent, launch: Launch, target: Target, tmp_path: Path, options: dict[str, Any]
) -> None:
    """In the catalog, the pod of the node without an agent is published. The other node has an agent."""
    lists = strict_consul.request("GET", "agent/self").json()["DebugConfig"]["ACLEnableKeyListPolicy"]
    schedule(strict_consul, target)
    rules = policy(tmp_path, options, "--agent-node", "web1", *(["--list-policy"] if lists else []))
    controller = launch(strict_consul, token=strict_consul.create_token("\n".join(rules)), ready=False, **options)
    if "catalog" in options["publish"]:
        until(lambda: is_in_the_catalog(strict_consul, target, controller), 30.0, "the service")
    if "kv" in options["publish"]:
        until(lambda: has_held_health(strict_consul, target, controller), 30.0, "the key")
    until(lambda: is_registered(strict_consul, target, controller), what="the controller's own service")
    assert controller.metrics().sum("podpulse_consul_requests_total", outcome="refused") == 0
    for node in ("printer1", "web1"):
        strict_consul.delete(f"intent/{node}/a")
    until(lambda: not is_in_the_catalog(strict_consul, target, controller), 30.0, "the service to go")
    until(lambda: not has_health(strict_consul, target, controller), 30.0, "the key to go")
    nodes = "catalog/nodes?node-meta=external-node:true"
    until(lambda: strict_consul.request("GET", nodes).json() == [], 30.0, "the node to go")
    assert controller.terminate() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("options", "line", "vain", "thing"), CASES)
def test_each_line_of_the_policy_is_required(
    acl_consul: Agent,
    launch: Launch,
    target: Target,
    tmp_path: Path,
    options: dict[str, Any],
    line: str,
    vain: Thing,
    thing: Thing,
) -> None:
    """With the line, it works after a restart, so nothing else prevented it."""
    rules = policy(tmp_path, options)
    without = [rule for rule in rules if line not in rule.partition("{")[0]]
    assert len(without) == len(rules) - 1
    schedule(acl_consul, target)
    if thing is is_seen_to_fail:
        target.behave(answer(503))
    token = acl_consul.create_token("\n".join(without))
    controller = launch(acl_consul, token=token, ready=False, **options)
    until(lambda: vain(acl_consul, target, controller), 30.0, "it to try in vain")
    assert not thing(acl_consul, target, controller)
    controller.terminate()
    acl_consul.replace_rules(token, "\n".join(rules))
    controller.start()
    until(lambda: thing(acl_consul, target, controller), 30, "it works with all lines")


def test_the_test_leaves_out_every_line(tmp_path: Path) -> None:
    tried = [str(case.values[1]) for case in CASES]
    for rule in (rule for options in (ALL, OTHER, GRACE, CATALOG, FLEET) for rule in policy(tmp_path, options)):
        assert any(line in rule.partition("{")[0] for line in tried), rule
