"""Manifests in Consul, and the results of single reads for those that a listing lacks."""

import time

import pytest

from controller.consul.client import ConsulClient, ConsulSettings
from controller.intent.consul import LOOK, REFUSALS, ConsulSource
from controller.intent.manifest_store import ManifestStore
from controller.intent.source import OneSource, SourceError
from controller.intent.watch import IntentWatch
from controller.runtime.heartbeat import Heartbeat
from reconcilers.gate import RemovalGate
from reconcilers.options import Rules
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.recorders import Announced, FakeClock

READS = 'key_prefix "intent/" { policy = "read" } key_prefix "intent/web1/hidden-" { policy = "deny" }'
HIDDEN = [PodKey("web1", f"hidden-{number:02}") for number in range(12)]
THERE, GONE = PodKey("web1", "there"), PodKey("web1", "zzz")


def test_what_may_not_be_read_is_not_absent_and_keeps_no_other_from_being_asked_for(acl_consul: Agent) -> None:
    acl_consul.put("intent/web1/there", b"id: there\n")
    outcomes: list[str] = []
    settings = ConsulSettings(acl_consul.address, acl_consul.create_token(READS))
    with ConsulClient(settings, observe=lambda *said: outcomes.append(said[1])) as client:
        source = ConsulSource(client, "intent", "web1", lambda: ())
        assert set(source.absent([GONE, THERE])) == {GONE}
        outcomes.clear()

        keys = [*HIDDEN, THERE, GONE]
        seen = [set(source.absent(keys)) for _ in range(4)]
    assert seen == [set(), set(), {GONE}, {GONE}]
    assert outcomes.count("refused") == 2 * REFUSALS + 2 + (REFUSALS - 2) + REFUSALS


def test_a_look_that_takes_too_long_is_ended_and_the_rest_is_left_for_the_next_one(consul: Agent) -> None:
    clock = FakeClock()

    def slowly(*_: object) -> None:
        clock.advance(LOOK / 2)

    keys = [PodKey("web1", f"gone-{number}") for number in range(10)]
    with ConsulClient(consul.settings(), observe=slowly) as client:
        source = ConsulSource(client, "intent", "web1", lambda: (), clock)
        assert set(source.absent(keys)) == set(keys[:3])
        assert set(source.absent(keys[3:])) == set(keys[3:6])


def test_a_consul_that_does_not_answer_confirms_nothing() -> None:
    with ConsulClient(ConsulSettings("http://127.0.0.1:1")) as client:
        source = ConsulSource(client, "intent", "web1", lambda: ())
        with pytest.raises(SourceError, match="confirming that a manifest was removed"):
            source.absent([GONE])


def test_the_fuse_gives_way_although_nothing_changes_in_consul(consul: Agent) -> None:
    """The query that waits for a change ends early enough for the fuse."""
    pods = [f"intent/web1/{pod}" for pod in "abc"]
    for key in pods:
        consul.put(key, b"id: " + key[-1:].encode())
    with ConsulClient(consul.settings()) as client:
        source, store = ConsulSource(client, "intent", "web1", tuple), ManifestStore(Rules())
        heartbeat = Heartbeat("watch", 30, time.monotonic)
        watch = IntentWatch(OneSource(source), store, lambda: RemovalGate(1.0), Announced(), heartbeat)
        watch.start()
        try:
            until(lambda: len(store.intents()) == len(pods))
            consul.request("DELETE", "kv/intent/?recurse")
            until(lambda: watch.held() == len(pods), what="all three are held")
            until(lambda: not store.intents(), 30.0, "all are removed in the end")
            assert watch.held() == 0
        finally:
            watch.stop(10)
