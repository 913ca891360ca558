"""What `inspect` shows, from folders and from a real Consul."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from controller.cli import inspection
from controller.cli.condition import REMAINS
from controller.consul.client import KvPair
from controller.intent.source import SourceError
from controller.publish.folder import DirectoryLease, DirectorySink
from controller.runtime.heartbeat import Heartbeat
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.p2 import manifest as p2manifest
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.consul import Agent

MANIFEST = b"id: isup\nstatus_port: 8000\n"
SHA = p2manifest.sha(MANIFEST)
UNKNOWN = {
    "health_check": {"status": "unknown", "output": ""},
    "health": "unknown",
    "intent_locations": None,
    "reality_locations": None,
    "intent_manifest_sha": SHA,
    "reality_manifest_sha": "",
    "scheduled": True,
    "state": "unknown",
    "note": "no health is published",
}

OTHER = UNKNOWN | {
    "state": "unchecked",
    "note": "its manifest is invalid: id: expected the pod's name as in its key, 'other', got 'isup'",
}


def record(pod: str, node: str = "web1") -> HealthRecord:
    health = CheckHealth(HealthState.CRITICAL, Reason.STATUS, 1.7e9, "answered with status 500", "oops")
    return HealthRecord.of(PodKey(node, pod), health, 1.7e9 + 5, SHA)


def shown(scheduled: bool) -> dict[str, object]:
    return {
        "health_check": {"status": "critical", "output": "oops"},
        "health": "critical",
        "intent_locations": None,
        "reality_locations": None,
        "intent_manifest_sha": SHA if scheduled else "",
        "reality_manifest_sha": "",
        "scheduled": scheduled,
        "state": "critical",
        **({} if scheduled else {"note": REMAINS}),
        "reason": "status",
        "detail": "answered with status 500",
        "since": "2023-11-14T22:13:20.000000Z",
        "last_probe": "2023-11-14T22:13:25.000000Z",
        "probed_manifest_sha": SHA,
    }


def test_from_consul_every_pod_of_every_node_is_shown(consul: Agent) -> None:
    for key in ("intent/web1/isup", "intent/web2/isup", "intent/web1/other", "intent/web10/isup", "intent/odd"):
        consul.put(key, MANIFEST)
    consul.put("health/isup/web1", record("isup").encode(1.7e9))
    consul.put("health/left-over/web1", record("left-over").encode(1.7e9))
    consul.put("health/other/web1", "no record")
    with consul.client() as client:
        tree = inspection.as_tree(inspection.from_consul(client, "intent", None, None))
        assert tree == {
            "isup": {"web1": shown(True), "web10": UNKNOWN, "web2": UNKNOWN},
            "left-over": {"web1": shown(False)},
            "other": {"web1": OTHER},
        }
        one = inspection.as_tree(inspection.from_consul(client, "intent", "web1", "isup"))
        assert one == {"isup": {"web1": shown(True)}}
        assert inspection.from_consul(client, "intent", "web1", "missing") == []
        assert inspection.from_consul(client, "reality", "web3", None) == []
        node = inspection.from_consul(client, "intent", "web1", None)
        assert [sight.key.pod for sight in node] == ["isup", "left-over", "other"], "web10 is another node"


def test_for_one_node_only_its_own_records_are_read(consul: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    for node in ("web1", "web2"):
        consul.put(f"intent/{node}/isup", MANIFEST)
        consul.put(f"health/isup/{node}", record("isup", node).encode(1.7e9))
    listed: list[str] = []
    with consul.client() as client:
        everything = client.list_pairs

        def counted(prefix: str) -> Sequence[KvPair]:
            listed.append(prefix)
            return everything(prefix)

        monkeypatch.setattr(client, "list_pairs", counted)
        tree = inspection.as_tree(inspection.from_consul(client, "intent", "web1", None))
        assert tree == {"isup": {"web1": shown(scheduled=True)}}
        assert inspection.as_tree(inspection.from_consul(client, "intent", "web1", "isup")) == tree
    assert [prefix for prefix in listed if prefix.startswith("health")] == []


def test_an_odd_entry_of_a_folder_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "isup.yaml").write_bytes(MANIFEST)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    assert [sight.key.pod for sight in inspection.from_folders(tmp_path, None, "web1", None)] == ["isup"]


def test_the_manifests_of_intent_and_reality_are_named_by_p2s_sha(consul: Agent) -> None:
    consul.put("intent/web1/isup", b"# newer\n" + MANIFEST)
    consul.put("reality/web1/isup", b"status_port: 8001\nid: isup\n")
    consul.put("reality/web1/gone", MANIFEST)
    consul.put("intent/web1/broken", b"id: [")
    with consul.client() as client:
        tree = inspection.as_tree(inspection.from_consul(client, "intent", "web1", None))
    assert tree["isup"]["web1"]["intent_manifest_sha"] == SHA, "a comment is no other manifest"
    assert tree["isup"]["web1"]["reality_manifest_sha"] == p2manifest.sha(b"id: isup\nstatus_port: 8001")
    assert (tree["gone"]["web1"]["reality_manifest_sha"], tree["gone"]["web1"]["scheduled"]) == (SHA, False)
    assert (tree["broken"]["web1"]["intent_manifest_sha"], tree["broken"]["web1"]["scheduled"]) == ("", True)


def test_what_is_launched_is_shown_for_intent_and_reality(consul: Agent) -> None:
    launched = b"id: isup\nlaunchables: {isup: {launchable_type: hoist, %b}}\n"
    consul.put("intent/web1/isup", launched % b"location: https://artifacts/isup_2.tar.gz")
    consul.put("reality/web1/isup", launched % b"version: {id: one}")
    with consul.client() as client:
        (shown_one,) = inspection.as_list(inspection.from_consul(client, "intent", None, None))
    assert (shown_one["node"], shown_one["pod"]) == ("web1", "isup")
    assert shown_one["intent_locations"] == ["https://artifacts/isup_2.tar.gz"]
    assert shown_one["reality_locations"] == [""]
    located = {"location": "https://artifacts/isup_2.tar.gz", "version": {"id": ""}}
    assert shown_one["intent_versions"] == {"isup": located}
    assert shown_one["reality_versions"] == {"isup": {"version": {"id": "one"}}}


def test_pods_with_a_uuid_are_not_shown(consul: Agent) -> None:
    uuid = "2a7c6f5e-6f0b-4b1c-9d3e-0123456789ab"
    for tree in ("intent", "reality"):
        consul.put(f"{tree}/web1/{uuid}", f'{{"pod_key":"{uuid}"}}')
    with consul.client() as client:
        assert inspection.from_consul(client, "intent", None, None) == []


def test_a_list_says_the_same_as_the_tree() -> None:
    sights = [
        inspection.InspectedPod(PodKey(node, "isup"), MANIFEST, None, record("isup", node)) for node in ("web1", "web2")
    ]
    listed = inspection.as_list(sights)
    assert [(fields.pop("node"), fields.pop("pod")) for fields in listed] == [("web1", "isup"), ("web2", "isup")]
    assert listed == list(inspection.as_tree(sights)["isup"].values())


def test_from_folders_records_count_only_while_their_controller_lives(tmp_path: Path) -> None:
    intents, healths = tmp_path / "pods", tmp_path / "health"
    intents.mkdir()
    for name in ("isup.yaml", "other.yaml", ".hidden.yaml", "README"):
        (intents / name).write_bytes(MANIFEST)
    lease = DirectoryLease(healths, Heartbeat("session", 30, time.monotonic))
    lease.start()
    DirectorySink(healths).write([record("isup")], [])
    tree = inspection.as_tree(inspection.from_folders(intents, healths, "web1", None))
    assert tree == {"isup": {"web1": shown(True)}, "other": {"web1": OTHER}}
    assert inspection.as_tree(inspection.from_folders(intents, healths, "web1", "other")).keys() == {"other"}
    lease.stop(10)
    assert inspection.as_tree(inspection.from_folders(intents, healths, "web1", "isup")) == {"isup": {"web1": UNKNOWN}}


def test_from_folders_health_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "isup.yaml").write_bytes(MANIFEST)
    assert inspection.as_tree(inspection.from_folders(tmp_path, None, "web1", None)) == {"isup": {"web1": UNKNOWN}}


def test_a_folder_of_manifests_that_is_missing_is_an_error_and_not_an_empty_answer(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read the folder of manifests: .*No such file"):
        inspection.from_folders(tmp_path / "missing", None, "web1", None)
