"""Health keys that have no manifest, against a real Consul."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import pytest

from controller.consul.client import ConsulClient
from controller.publish import orphans
from controller.publish.orphans import OrphanKeeper
from controller.runtime.heartbeat import Heartbeat
from reconcilers.keys import health_key
from reconcilers.share import Share
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.net import until

GONE = PodKey("web1", "gone")
HERE = PodKey("web1", "here")
UNREAD = PodKey("web1", "unread")
THEIRS = PodKey("web2", "theirs")


@dataclass
class Bench:
    agent: Agent
    client: ConsulClient
    scheduled: set[PodKey] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def keeper(self, expect: Callable[[Collection[PodKey]], None] = lambda _: None, period: float = 60) -> OrphanKeeper:
        share, heartbeat = Share.of_node("web1"), Heartbeat("orphans", 30, time.monotonic)
        return OrphanKeeper(self.client, "intent", share, lambda: self.scheduled, expect, heartbeat, period=period)


@pytest.fixture
def bench(consul: Agent) -> Iterator[Bench]:
    for key in (GONE, HERE, UNREAD, THEIRS):
        consul.put(health_key(key), "{}")
    for key in (HERE, UNREAD):
        consul.put(f"intent/{key.node}/{key.pod}", "id: here")
    asked: list[str] = []
    with ConsulClient(consul.settings(), observe=lambda *said: asked.append(said[1])) as client:
        yield Bench(consul, client, {HERE}, asked)


def test_a_key_of_an_own_node_without_a_manifest_is_an_orphan_if_it_is_found_twice(bench: Bench) -> None:
    keeper = bench.keeper()
    assert keeper.look() == frozenset()
    assert keeper.look() == {GONE}


def test_a_key_whose_manifest_came_in_the_meantime_is_no_orphan(bench: Bench) -> None:
    keeper = bench.keeper()
    keeper.look()
    bench.scheduled.add(GONE)
    assert keeper.look() == frozenset()
    bench.scheduled.remove(GONE)
    assert keeper.look() == frozenset(), "it begins anew"
    assert keeper.look() == {GONE}


def test_a_key_whose_manifest_may_not_be_read_is_no_orphan(acl_consul: Agent) -> None:
    token = acl_consul.create_token('key_prefix "health/" { policy = "write" }')
    acl_consul.put(health_key(GONE), "{}")
    with acl_consul.client(token) as client:
        keeper = Bench(acl_consul, client).keeper()
        keeper.look()
        assert keeper.look() == frozenset()


def test_one_look_asks_for_a_bounded_number_of_manifests(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "MOST", 2)
    bench.agent.put(health_key(PodKey("web1", "also")), "{}")
    bench.agent.put(health_key(PodKey("web1", "another")), "{}")
    keeper = bench.keeper()
    keeper.look()
    assert keeper.look() == {PodKey("web1", "also"), PodKey("web1", "another")}


def test_orphans_are_reported_again_until_they_are_gone_also_after_an_error(bench: Bench) -> None:
    reported: list[PodKey] = []
    keeper = bench.keeper(reported.extend, 0.01)
    bench.client.cancel()
    keeper.start()
    until(lambda: "cancelled" in bench.asked)
    bench.client.reopen()
    until(lambda: len(reported) > 2)
    keeper.stop(5.0, destroy=False)
    assert set(reported) == {GONE}
