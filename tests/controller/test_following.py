"""Readers of Consul and of folders: what they read, when they read it again, and which errors they report."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.cli.accounts import BEING_ASKED, Accounts, Nodes
from controller.cli.following import Asker, ConsulPods, FolderPods, View
from controller.consul.client import ConsulClient, ConsulRefused, ConsulSettings
from controller.intent.source import SourceError
from controller.publish.folder import DirectoryLease, DirectorySink
from controller.runtime.heartbeat import Heartbeat
from reconcilers.health import CheckHealth, HealthState
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.fake_http import Asked, FakeServer, Reply

MANIFEST = "id: isup\nstatus_port: 8000\n"


def record(status: str, node: str = "web1", pod: str = "isup") -> bytes:
    return HealthRecord(PodKey(node, pod), HealthState(status)).encode(1.7e9)


def until_view(pods: ConsulPods | FolderPods, wanted: Callable[[View], object], within: float = 15.0) -> View:
    """Returns the first view for which `wanted` is true."""
    deadline = time.monotonic() + within
    while not wanted(view := pods.next(0.5)):
        assert time.monotonic() < deadline, view
    return view


def states(view: View) -> dict[str, str | None] | None:
    if view.sights is None:
        return None
    return {str(sight.key): sight.record.status if sight.record else None for sight in view.sights}


def test_each_change_of_manifests_and_of_health_is_seen_at_once(consul: Agent) -> None:
    consul.put("intent/web1/isup", MANIFEST)
    consul.put("intent/web2/isup", MANIFEST)
    with ConsulPods(consul.client, None, None, 120.0) as pods:
        until_view(pods, lambda view: states(view) == {"web1/isup": None, "web2/isup": None})
        before = time.monotonic()
        consul.put("health/isup/web1", record("passing"))
        until_view(pods, lambda view: states(view) == {"web1/isup": "passing", "web2/isup": None})
        consul.put("health/isup/web1", record("critical"))
        until_view(pods, lambda view: states(view) == {"web1/isup": "critical", "web2/isup": None})
        consul.delete("intent/", recurse=True)
        consul.delete("health/", recurse=True)
        until_view(pods, lambda view: states(view) == {})
        assert time.monotonic() - before < 60.0, "nothing waited for a blocking query to end"


def test_the_pods_of_a_node_exclude_a_node_whose_name_begins_with_its_name(consul: Agent) -> None:
    consul.put("intent/web1/isup", MANIFEST)
    consul.put("intent/web10/isup", MANIFEST)
    consul.put("health/isup/web10", record("passing", "web10"))
    with ConsulPods(consul.client, "web1", None, 1.0) as pods:
        assert states(until_view(pods, lambda view: view.sights is not None)) == {"web1/isup": None}


def test_one_pods_health_needs_no_right_to_read_manifests(acl_consul: Agent) -> None:
    acl_consul.put("health/isup/web1", record("passing"))
    token = acl_consul.create_token('key_prefix "health/isup/" { policy = "read" }')
    with ConsulPods(lambda: acl_consul.client(token), None, "isup", 1.0) as pods:
        assert states(until_view(pods, lambda view: view.sights)) == {"web1/isup": "passing"}


def test_a_question_that_fails_unexpectedly_has_an_answer_too() -> None:
    """Lines at the start wait for the first answer."""

    def ask(nodes: Nodes) -> Accounts:
        raise RuntimeError(str(nodes))

    news = threading.Condition()
    asker = Asker(ask, news)
    asker.start()
    with news:
        asker.want(Nodes(frozenset({"web1"})))
        assert news.wait_for(lambda: asker.known is not BEING_ASKED, 60.0)
    assert asker.known.trouble == "controllers could not be asked"
    asker.stop()


def test_an_outage_is_reported_and_the_known_pods_are_kept_until_reading_works_again(persistent_consul: Agent) -> None:
    persistent_consul.put("intent/web1/isup", MANIFEST)
    with ConsulPods(persistent_consul.client, None, None, 10.0) as pods:
        known = until_view(pods, lambda view: view.sights)
        persistent_consul.kill()
        view = until_view(pods, lambda view: view.trouble)
        assert states(view) == states(known)
        assert "Consul at" in view.trouble
        persistent_consul.start()
        persistent_consul.put("health/isup/web1", record("passing"))
        view = until_view(pods, lambda view: states(view) == {"web1/isup": "passing"}, 30.0)
        until_view(pods, lambda view: not view.trouble)


def test_reading_begins_when_consul_starts(consul: Agent) -> None:
    consul.kill()
    with ConsulPods(consul.client, None, None, 10.0) as pods:
        assert until_view(pods, lambda view: view.trouble).sights is None
        consul.start()
        assert states(until_view(pods, lambda view: view.sights is not None, 30.0)) == {}


def test_a_refusal_at_the_start_is_raised() -> None:
    with (
        FakeServer(lambda _: Reply(403, b"Permission denied")) as consul,
        ConsulPods(lambda: ConsulClient(ConsulSettings(consul.address)), None, None, 10.0) as pods,
        pytest.raises(ConsulRefused, match="Permission denied"),
    ):
        until_view(pods, lambda view: view.sights is not None)


def test_after_an_index_that_went_backwards_the_next_listing_does_not_wait() -> None:
    indexes = iter(["7", "3", "4"])

    def answer(asked: Asked) -> Reply:
        if "/health/" not in asked.path:
            return Reply(404, b"", {"X-Consul-Index": "9", "X-Consul-KnownLeader": "true"})
        return Reply(404, b"", {"X-Consul-Index": next(indexes, "5"), "X-Consul-KnownLeader": "true"})

    with (
        FakeServer(answer) as consul,
        ConsulPods(lambda: ConsulClient(ConsulSettings(consul.address)), None, "isup", 10.0) as pods,
    ):
        until_view(pods, lambda _: len(consul.asked) >= 4)
    waited = ["index=" in asked.path for asked in consul.asked[:4]]
    assert waited == [False, True, False, True]
    assert "wait=10000ms" in consul.asked[1].path


def test_an_unreadable_record_makes_only_its_own_pod_unknown(consul: Agent) -> None:
    consul.put("health/isup/web1", "no record")
    consul.put("health/isup/web2", record("passing", "web2"))
    old = {"Id": "isup", "Node": "web3", "Service": "isup", "Status": "critical"}
    consul.put("health/isup/web3", json.dumps(old))
    with ConsulPods(consul.client, None, "isup", 10.0) as pods:
        view = until_view(pods, lambda view: view.sights)
    assert states(view) == {"web1/isup": None, "web2/isup": "passing", "web3/isup": "critical"}


def test_folders_are_read_periodically(tmp_path: Path) -> None:
    intents, healths = tmp_path / "pods", tmp_path / "health"
    intents.mkdir()
    (intents / "isup.yaml").write_text(MANIFEST)
    lease = DirectoryLease(healths, Heartbeat("session", 30, time.monotonic))
    lease.start()
    sink = DirectorySink(healths)
    with FolderPods(intents, healths, "web1", None) as pods:
        assert states(pods.next(0.5)) == {"web1/isup": None}
        health = CheckHealth(HealthState.PASSING, since=1.7e9)
        sink.write([HealthRecord.of(PodKey("web1", "isup"), health, 1.7e9)], [])
        until_view(pods, lambda view: states(view) == {"web1/isup": "passing"})
        intents.rename(tmp_path / "elsewhere")
        view = until_view(pods, lambda view: view.trouble)
        assert states(view) == {"web1/isup": "passing"}
    lease.stop(5.0)


def test_a_folder_that_is_missing_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read the folder of manifests: .*No such file"):
        FolderPods(tmp_path / "missing", None, "web1", None).next(1.0)
