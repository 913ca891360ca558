"""p2's own tools still work: their exact requests, on a real Consul with the records of a real controller.

The records are decoded as p2's Go code decodes them; see `tests.support.p2tools`.
"""

import json
import time

import pytest

from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support import gojson
from tests.support.consul import Agent
from tests.support.controller import NODE, podpulse
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.p2tools import P2Exit, P2Tools, Pair
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

SHA = "f7fdad6e2362c9345a83196701dafb989fa8229b8d671642976cb35b5166c6f0"
THEPOD = b"""id: thepod
launchables:
  my-app:
    launchable_type: hoist
    cgroup:
      cpus: 4
      memory: 1073741824
    location: https://localhost:4444/foo/bar/baz.tar.gz
config:
  ENVIRONMENT: staging
status_port: 8000
"""
"""p2's own example of a manifest and its SHA."""


@pytest.fixture
def p2(consul: Agent) -> P2Tools:
    return P2Tools(consul)


def test_p2_schedules_a_pod_sees_its_health_change_and_go(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, p2: P2Tools
) -> None:
    """The test uses p2-schedule's write, p2-watch's blocking queries, and the deletion of the manifest."""
    launch(consul)
    results, index = p2.watch_service("isup", 0)
    assert results == {}
    p2.schedule(NODE, fleet.manifest("isup"), "isup")
    seen: list[str] = []
    while not seen or seen[-1] != "gone":
        results, index = p2.watch_service("isup", index)
        status = results[NODE]["Status"] if NODE in results else "gone"
        if seen or status != "gone":
            seen.append(status)
        match status:
            case "passing":
                target.behave(answer(500))
            case "critical":
                p2.unschedule(NODE, "isup")
    assert list(dict.fromkeys(seen)) == ["passing", "critical", "gone"]
    assert p2.redirects >= len(seen), "Consul leads `//` to where we write"


def test_every_field_has_the_type_and_the_meaning_that_p2_expects(
    consul: Agent, launch: Launch, fleet: Fleet, p2: P2Tools
) -> None:
    fleet.schedule("isup")
    before = int(time.time())
    launch(consul)
    until(lambda: fleet.are("passing", ["isup"]))
    record = p2.health("isup", NODE)
    assert (record["Id"], record["Node"], record["Service"], record["Status"]) == ("isup", NODE, "isup", "passing")
    assert before <= record["Time"].seconds <= time.time()
    assert record["Expires"].seconds - record["Time"].seconds > 99 * 365 * 86_400, "freshness is the session's"
    assert isinstance(record["Output"], str)
    assert p2.service_health("isup") == {NODE: record}
    assert p2.all_health() == [record]


def test_p2_inspect_and_podpulse_inspect_agree_on_every_pod(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, p2: P2Tools
) -> None:
    """This includes nodes and pods whose names have a common beginning."""
    fleet.schedule("isup", "isup-too")
    p2.schedule(NODE, THEPOD, "thepod")
    p2.install(NODE, fleet.manifest("isup"), "isup")
    p2.install(NODE, THEPOD, "left")
    others = Fleet(consul, target, f"{NODE}0")
    others.schedule("isup")
    launch(consul)
    launch(consul, node_name=f"{NODE}0")
    until(lambda: fleet.status("isup") == fleet.status("isup-too") == others.status("isup") == "passing")
    until(lambda: fleet.status("thepod") == "critical")

    found = p2.inspect()
    assert found == {
        "isup": {NODE: "passing", f"{NODE}0": "passing"},
        "isup-too": {NODE: "passing"},
        "thepod": {NODE: "critical"},
        "left": {NODE: ""},
    }
    assert p2.inspect(node=NODE, pod="isup") == {"isup": {NODE: "passing"}}
    tree = json.loads(podpulse("inspect", "--consul", consul.address).stdout)
    said = {pod: {node: fields["health"] for node, fields in nodes.items()} for pod, nodes in tree.items()}
    assert said == {**found, "left": {NODE: "unknown"}}, "p2 says nothing where we say that nothing is known"
    thepod = tree["thepod"][NODE]
    assert (thepod["intent_manifest_sha"], thepod["reality_manifest_sha"]) == (SHA, "")
    assert thepod["intent_locations"] == ["https://localhost:4444/foo/bar/baz.tar.gz"]
    assert tree["isup"][NODE]["intent_manifest_sha"] == tree["isup"][NODE]["reality_manifest_sha"]


def test_listings_without_a_trailing_slash_work(consul: Agent, launch: Launch, fleet: Fleet, p2: P2Tools) -> None:
    """p2's watches send such queries. p2 has to ignore the other nodes whose names begin alike."""
    fleet.schedule("isup")
    p2.schedule(f"{NODE}0", b"id: isup\n", "isup")
    launch(consul)
    until(lambda: fleet.are("passing", ["isup"]))
    keys = [pair.key for pair in p2.listed(f"intent/{NODE}")[0]]
    assert keys == [f"intent/{NODE}/isup", f"intent/{NODE}0/isup"]
    assert [pair.key for pair in p2.listed("health/isup")[0]] == [f"health/isup/{NODE}"]
    assert p2.listed("reality/")[0] == []


def test_a_foreign_value_breaks_p2_inspect_but_neither_our_tools_nor_the_controller(
    consul: Agent, launch: Launch, fleet: Fleet, p2: P2Tools
) -> None:
    fleet.schedule("isup")
    controller = launch(consul)
    until(lambda: fleet.are("passing", ["isup"]))
    p2.put_health("isup", "web7", b"not JSON")
    with pytest.raises(P2Exit, match="health/isup/web7"):
        p2.inspect(pod="isup")
    assert controller.inspect("--pod", "isup")["isup"][NODE]["health"] == "passing"
    assert controller.inspect("--pod", "isup")["isup"]["web7"]["health"] == "unknown"


def test_records_that_p2_wrote_are_shown_together_with_ours(
    consul: Agent, launch: Launch, fleet: Fleet, p2: P2Tools
) -> None:
    """A fleet is moving over, and p2's preparer still publishes on some nodes. Go's times have nanoseconds and an
    offset."""
    fleet.schedule("isup")
    launch(consul)
    until(lambda: fleet.are("passing", ["isup"]))
    theirs = (
        b'{"Id":"isup","Node":"web2","Service":"isup","Status":"critical",'
        b'"Time":"2020-01-10T14:03:07.123456789-08:00","Expires":"2119-12-17T14:03:07.123456789-08:00"}'
    )
    p2.put_health("isup", "web2", theirs)
    assert {node: result["Status"] for node, result in p2.service_health("isup").items()} == {
        NODE: "passing",
        "web2": "critical",
    }
    listed = json.loads(podpulse("inspect", "--consul", consul.address, "--format", "list", "--pod", "isup").stdout)
    assert {fields["node"]: fields["health"] for fields in listed} == {NODE: "passing", "web2": "critical"}


def test_a_node_has_one_session_and_p2_finds_no_records_after_a_clean_stop(
    consul: Agent, launch: Launch, fleet: Fleet, p2: P2Tools
) -> None:
    fleet.schedule("isup")
    controller = launch(consul, on_stop="remove")
    until(lambda: fleet.are("passing", ["isup"]))
    (session,) = consul.sessions().values()
    assert session["Name"].startswith(f"health:{NODE}:{controller.pid}:")
    assert (session["Behavior"], session["LockDelay"]) == ("delete", 1_000_000)
    assert not session.get("NodeChecks"), "a gossip flap must not wipe every key"
    assert controller.terminate() == 0
    assert (p2.service_health("isup"), consul.sessions()) == ({}, {})


@pytest.mark.parametrize("state", list(HealthState))
@pytest.mark.parametrize("damped", [False, True])
def test_every_record_that_can_be_written_decodes_whatever_the_pod_answered(
    p2: P2Tools, state: HealthState, damped: bool
) -> None:
    """The text has what no pod of a test answers: every letter, invalid UTF-8 that was replaced, and odd times."""
    output = "".join(map(chr, range(0x2100))) + "\ud800\U0001f600"
    health = CheckHealth(state, Reason.BODY, 1.7e9 + 0.9999996, 'it\'s "so" </script>', output)
    record = HealthRecord.of(PodKey(NODE, "isup"), health, 0.0)
    data = (record.damped(17) if damped else record).encode(1.7e9 + 0.000001)
    decoded = p2.decoded([Pair("health/isup/web1", data)])[NODE]
    assert decoded["Status"] == ("unknown" if damped else state)
    assert decoded["Time"] == gojson.Time(1_700_000_000, 1_000)
    assert decoded["Output"].startswith("\0\x01")
    assert "\ud800" not in decoded["Output"]


def test_keys_that_p2s_monitor_holds_are_not_changed_until_it_ends(
    consul: Agent, launch: Launch, fleet: Fleet, p2: P2Tools
) -> None:
    """Both run for a while when one moves from p2."""
    fleet.schedule("isup")
    theirs = consul.new_session()
    key = f"health/isup/{NODE}"
    record = {"Id": "isup", "Node": NODE, "Service": "isup", "Status": "critical"}
    times = {"Time": "2020-01-10T14:03:07.123456789-08:00", "Expires": "2119-12-17T14:03:07.123456789-08:00"}
    consul.put(key, json.dumps(record | times), acquire=theirs)
    launch(consul, ready=False)  # it is not ready while another session holds the key
    fleet.wait_asked("isup", 3)
    assert consul.entries(key)[key].get("Session") == theirs
    assert p2.health("isup", NODE)["Status"] == "critical"
    consul.destroy_session(theirs)
    until(lambda: fleet.are("passing", ["isup"]), 30.0, "our record is there")
