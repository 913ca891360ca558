"""Manifests are written, changed, made invalid, corrected and deleted while the controller runs."""

import html
import json
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconcilers.p2 import manifest as p2manifest
from tests.support.consul import DB1_ID, Agent
from tests.support.controller import Controller, manifest, none_is_added, watch_for
from tests.support.fake_http import Asked, Reply
from tests.support.fleet import Fleet
from tests.support.gateway import Gateway, marks_filtered
from tests.support.net import until
from tests.support.targets import Target
from tests.system.conftest import Launch

PUBLISH = 'key_prefix "health/" { policy = "write" } session "web1" { policy = "write" }'
RULES = PUBLISH + ' key_prefix "intent/" { policy = "read" }'
WITHOUT_INTENT = PUBLISH
WITHOUT_SOME = RULES + ' key_prefix "intent/web1/a" { policy = "deny" }'


def invalid(controller: Controller) -> set[str]:
    """Returns the pods with an invalid manifest, according to the metric."""
    return controller.metrics().flagged("podpulse_manifest_invalid")


def wait_hit(target: Target, path: str) -> None:
    until(lambda: target.hits(path), what=f"{path} is asked")


def listings(controller: Controller) -> float:
    """Returns the number of successful listings."""
    return controller.metrics().sum("podpulse_consul_requests_total", op="list_manifests", outcome="ok")


def test_an_invalid_new_version_keeps_the_check_and_a_corrected_one_clears_the_error(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    fleet.schedule("a", "b")
    controller = launch(consul)
    until(lambda: fleet.are("passing", "ab"))

    fleet.write("a", b"id: a\nstatus_port: eighty\n")
    until(lambda: invalid(controller) == {"a"}, what="the metric to report an invalid manifest")
    fleet.wait_asked("a", 2)
    assert fleet.are("passing", "ab")
    assert "1 manifest is invalid" in controller.get("/").text
    page = controller.get("/manifests").text
    assert "<code>status_port</code>" in page
    assert "expected a port from 1 to 65535" in page
    assert "an older version" in page

    fleet.schedule("a")
    until(lambda: invalid(controller) == set(), what="the complaint ends")
    fleet.wait_asked("a", 2)
    assert "Every manifest is valid." in controller.get("/manifests").text


def test_the_record_and_inspect_name_the_manifest_that_is_probed(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    """The SHA is p2's, of the version in force even if the newest is invalid. A comment does not change it."""
    fleet.schedule("a")
    controller = launch(consul)
    until(lambda: fleet.are("passing", "a"))
    first = p2manifest.sha(fleet.manifest("a"))
    assert (fleet.health("a") or {})["ManifestSha"] == first
    written = consul.entries("health/")["health/a/web1"]["ModifyIndex"]

    fleet.write("a", b"# why\n" + fleet.manifest("a"))
    fleet.wait_asked("a", 2)
    fleet.write("a", b"id: a\nstatus_port: eighty\n")
    until(lambda: invalid(controller) == {"a"})
    fleet.wait_asked("a", 2)
    shown = controller.inspect("--pod", "a")["a"]["web1"]
    assert shown["probed_manifest_sha"] == first != shown["intent_manifest_sha"]
    assert consul.entries("health/")["health/a/web1"]["ModifyIndex"] == written, "nothing new was to be said"

    deployed = fleet.manifest("a") + b"config: {version: 2}\n"
    fleet.write("a", deployed)
    sha = p2manifest.sha(deployed)
    until(lambda: (fleet.health("a") or {})["ManifestSha"] == sha, what="the same check of another manifest is news")
    assert (fleet.status("a"), controller.inspect()["a"]["web1"]["probed_manifest_sha"]) == ("passing", sha)


def test_a_pod_whose_first_manifest_is_invalid_is_shown_and_not_checked(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.write("a", b"id: other\n")
    fleet.schedule("b")
    controller = launch(consul)
    until(lambda: fleet.are("passing", "b"))
    assert invalid(controller) == {"a"}
    assert "the pod is not checked" in controller.get("/manifests").text
    assert fleet.asked("a") == []
    fleet.schedule("a")
    until(lambda: fleet.are("passing", "ab"), what="the mended one is checked")


def test_pods_whose_names_are_not_accepted_are_logged_counted_and_shown(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    for name in ("x%20y", "a/b", "-x"):
        consul.put(f"intent/web1/{name}", "id: odd\nstatus_port: 80\n")
    consul.put("intent/web1/folder/", "")
    fleet.schedule("a")
    controller = launch(consul)
    until(lambda: fleet.are("passing", "a"))
    what = "3 pods are not checked because of the name: '-x', 'a/b', 'x y'"
    assert controller.metrics().totals("podpulse_intents_ignored", "reason") == {"name": 3, "other": 1, "uuid": 0}
    assert what in html.unescape(controller.get("/").text)

    consul.put("intent/web1/a%20third", "x")
    until(lambda: "4 pods are not checked because of the name: '-x', 'a third', 'a/b'" in controller.log)
    assert controller.log.count(what) == 1


def test_a_deleted_pod_is_not_probed_and_has_no_series(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    fleet.schedule("a", "b")
    controller = launch(consul)
    until(lambda: fleet.are("passing", "ab"))
    fleet.unschedule("a")
    until(lambda: fleet.are("passing", "b"), 4.0, "its health is withdrawn")
    before = len(fleet.asked("a"))
    fleet.wait_asked("b", 4)
    assert len(fleet.asked("a")) == before
    assert 'pod="a"' not in controller.get("/metrics").text


def test_a_changed_manifest_replaces_its_own_worker_and_no_other(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.schedule("a", "b", "c")
    launch(consul)
    until(lambda: fleet.are("passing", "abc"))
    fleet.wait_asked("b", 2)
    began = len(fleet.asked("b")) - 1
    for round_ in range(5):
        fleet.write("a", manifest("a", target.port, f"/a-{round_}"))
        wait_hit(target, f"/a-{round_}")
        assert fleet.status("a") == "passing"
    gone = len(target.hits("/a-3"))
    fleet.wait_asked("c", 4)
    assert len(target.hits("/a-3")) == gone
    assert all(none_is_added(fleet.asked(pod)[began:], 0.5) for pod in "bc")


def test_the_same_manifest_written_again_replaces_nothing(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    fleet.schedule("a")
    launch(consul, defaults={"interval": "1s", "timeout": "1s"})
    until(lambda: len(fleet.asked("a")) >= 3, what="probes in phase: the first two may be half an interval apart")
    began = len(fleet.asked("a")) - 1
    for _ in range(10):
        fleet.write("a", fleet.manifest("a") + b"# written again\n")
        watch_for(0.1)
    fleet.wait_asked("a", 2)
    assert none_is_added(fleet.asked("a")[began:], 1.0)


def test_a_manifest_without_a_port_has_no_check(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    fleet.write("quiet", b"id: quiet\nlaunchables: {}\n")
    fleet.schedule("a", "b")
    controller = launch(consul)
    until(lambda: fleet.are("passing", "ab"))
    assert controller.metrics().sum("podpulse_intents") == 3
    assert ">quiet</a>" in controller.get("/?state=unchecked").text
    fleet.write("b", b"id: b\n")
    until(lambda: fleet.are("passing", "a"), what="a check that is not asked for any more is withdrawn")
    assert controller.inspect("--pod", "quiet")["quiet"]["web1"]["health_check"]["status"] == "unknown"


def test_thirty_pods_deleted_at_once_are_held_and_a_single_one_goes(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    pods = [f"pod-{number}" for number in range(40)]
    fleet.schedule(*pods)
    controller = launch(consul)
    until(lambda: fleet.are("passing", pods))

    fleet.unschedule(pods[0])
    until(lambda: fleet.are("passing", pods[1:]), 4.0, "a single one goes at once")
    fleet.unschedule_at_once(*pods[1:31])
    until(lambda: held(controller) == 30, what="thirty are held")
    fleet.wait_asked(pods[1], 2)
    assert fleet.are("passing", pods[1:])
    assert "removal of 30 pods is held" in controller.log

    fleet.schedule(*pods[1:31])
    until(lambda: held(controller) == 0, what="who is there again is not held")
    assert fleet.are("passing", pods[1:])


def test_pods_are_removed_although_the_token_may_not_read_a_key_and_consul_says_so(
    acl_consul: Agent, launch: Launch, target: Target
) -> None:
    fleet = Fleet(acl_consul, target)
    token = acl_consul.create_token(RULES + ' key "intent/web1/secret" { policy = "deny" }')
    acl_consul.put("intent/web1/secret", b"")
    fleet.schedule("a", "b", "c")
    with Gateway(acl_consul.http_port) as newer:
        newer.lie = marks_filtered(newer, acl_consul.token)
        controller = launch(acl_consul, token=token, through=f"http://127.0.0.1:{newer.port}")
        until(lambda: fleet.are("passing", "abc"))
        fleet.unschedule("a")
        until(lambda: fleet.are("passing", "bc"), 4.0, "its health is withdrawn")
        assert held(controller) == 0


def held(controller: Controller) -> float:
    return controller.metrics().sum("podpulse_removals_held")


def wake(controller: Controller, fleet: Fleet) -> None:
    """Consul still answers the blocked query with the old rights. A change ends this query, and then the next one."""
    for write in (fleet.schedule, fleet.unschedule):
        before = listings(controller)
        write("news")
        until(lambda: listings(controller) > before, 15.0, "another listing")  # noqa: B023


@pytest.mark.parametrize("rules", [WITHOUT_INTENT, WITHOUT_SOME], ids=["all of them hidden", "some of them hidden"])
def test_no_pod_is_removed_when_the_token_loses_rights(
    acl_consul: Agent, launch: Launch, target: Target, rules: str
) -> None:
    token = acl_consul.create_token(RULES)
    fleet = Fleet(acl_consul, target)
    fleet.schedule("a", "b", "c")
    controller = launch(acl_consul, token=token)
    until(lambda: fleet.are("passing", "abc"))

    acl_consul.replace_rules(token, rules)
    wake(controller, fleet)
    hidden = "abc" if rules == WITHOUT_INTENT else "a"
    until(lambda: held(controller) >= len(hidden), what="what is hidden is held, and said")
    fleet.wait_asked("a", 4)
    assert controller.metrics().sum("podpulse_intents") >= 3
    assert set("abc") <= fleet.statuses().keys()
    if rules == WITHOUT_SOME:
        fleet.schedule("d")
        fleet.unschedule("b")
        until(lambda: fleet.are("passing", "acd"), 4.0, "what is not hidden comes and goes as ever")

    acl_consul.replace_rules(token, RULES)
    fleet.schedule("b", "d")
    wake(controller, fleet)
    until(lambda: fleet.are("passing", "abcd"), 4.0, "with its rights back all is as before")
    until(lambda: held(controller) == 0, what="nothing is held any more")


def test_the_reality_tree_can_be_watched_instead(consul: Agent, launch: Launch, target: Target) -> None:
    consul.put("reality/web1/real", manifest("real", target.port, "/real"))
    consul.put("intent/web1/wanted", manifest("wanted", target.port, "/wanted"))
    fleet = Fleet(consul, target)
    launch(consul, tree="reality")
    until(lambda: fleet.are("passing", ["real"]))
    assert target.hits("/wanted") == []


def test_the_nodes_address_can_come_from_consuls_catalog(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    fleet.schedule("a")
    launch(consul, address="catalog")
    until(lambda: fleet.are("passing", "a"))
    assert target.hits("/a")[0].headers["host"] == f"web1:{target.port}"


def test_a_host_name_in_consuls_catalog_is_resolved(consul: Agent, launch: Launch, target: Target) -> None:
    consul.request("PUT", "catalog/register", json.dumps({"Node": "web9", "Address": "localhost"}))
    fleet = Fleet(consul, target, "web9")
    fleet.schedule("a")
    launch(consul, address="catalog", node_name="web9")
    until(lambda: fleet.are("passing", "a"))


@pytest.mark.slow
def test_a_catalog_that_does_not_answer_delays_neither_a_new_manifest_nor_a_removal(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    hangs, released = threading.Event(), threading.Event()

    def hang_after_the_first(asked: Asked) -> Reply | None:
        if "/v1/catalog/" in asked.path and fleet.are("passing", "ab"):
            hangs.set()
            released.wait(30.0)
        return None

    fleet.schedule("a", "b")
    with Gateway(consul.http_port) as gateway:
        gateway.lie = hang_after_the_first
        launch(consul, through=f"http://127.0.0.1:{gateway.port}", address="catalog")
        until(hangs.is_set, 30.0, "the catalog is asked again")
        fleet.schedule("c")
        fleet.unschedule("a")
        until(lambda: fleet.are("passing", "bc"), 5.0, "what was written is acted on while the catalog hangs")
        released.set()


@pytest.mark.slow
def test_pods_of_a_node_without_a_catalog_entry_are_unknown_despite_earlier_records(
    consul_binary: Path, stack: ExitStack, launch: Launch, target: Target
) -> None:
    """The ID of the agent's node begins with the name of the other node: Consul answers with it, but it is not that
    node."""
    consul = stack.enter_context(Agent(consul_binary, config={"node_id": DB1_ID}))
    fleet = Fleet(consul, target, "db1")
    fleet.schedule("a")
    controller = launch(consul, node_name="db1")
    until(lambda: fleet.are("passing", "a"))
    controller.terminate()
    controller.options["address"] = "catalog"
    controller.start()
    until(lambda: fleet.are("unknown", "a"), 40.0, "nobody says passing who cannot know it")
    assert controller.metrics().sum("podpulse_health", pod="a", state="unknown") == 1
    assert b"Consul's catalog has not named it" in (consul.get(fleet.health_key("a")) or b"")

    consul.request("PUT", "catalog/register", json.dumps({"Node": "db1", "Address": "127.0.0.1"}))
    until(lambda: fleet.are("passing", "a"), 20.0, "its address is known in the end")


def test_manifests_of_other_nodes_are_ignored(consul: Agent, launch: Launch, fleet: Fleet, target: Target) -> None:
    for key in ("intent/web10/other", "intent/web/other", "intent/web1/deep/other", "intent/web1/", "intent/web1"):
        consul.put(key, manifest("other", target.port, "/other"))
    fleet.schedule("a")
    controller = launch(consul)
    until(lambda: fleet.are("passing", "a"))
    fleet.wait_asked("a", 2)
    assert target.hits("/other") == []
    assert controller.metrics().sum("podpulse_intents") == 1
