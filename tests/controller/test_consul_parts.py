"""Trees of a real Consul that are too large for one answer are read in parts and can be watched."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.cli import inspection
from controller.cli.following import ConsulPods, View
from controller.consul.client import ConsulClient
from controller.consul.parts import TOO_LARGE, read
from controller.consul.transport import MAX_BODY
from reconcilers.health import HealthState
from reconcilers.keys import health_key
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.fake_http import Asked, Reply
from tests.support.gateway import Gateway
from tests.support.net import until

LARGEST = bytes(512 * 1024)
"""The largest value that Consul accepts by default."""
MANY = MAX_BODY * 3 // 4 // len(LARGEST) + 2
"""The number of the largest values that exceeds one answer."""
NODES = [f"node-{number:03}" for number in range(100)]
COMMENT = b"#" * 150_000


@pytest.fixture(scope="module")
def large(consul_binary: Path) -> Iterator[Agent]:
    """Every node has a pod with a long manifest. The first node also has many large keys that are not pods."""
    with Agent(consul_binary) as agent:
        for node in NODES:
            agent.put(f"intent/{node}/isup", b"id: isup\nstatus_port: 80\n" + COMMENT)
            record = HealthRecord(PodKey(node, "isup"), HealthState.PASSING).encode(0.0)
            agent.put(health_key(PodKey(node, "isup")), record + b" " * len(COMMENT))
        for number in range(MANY):
            agent.put(f"intent/{NODES[0]}/hooks/{number}", LARGEST)
            agent.put(f"intent/{NODES[0]}/-odd-{number}", LARGEST)
        yield agent


def test_large_keys_that_are_no_pods_do_not_prevent_reading_and_watching(large: Agent) -> None:
    node, key = NODES[0], PodKey(NODES[0], "isup")
    with large.client() as client:
        first = client.list_manifests("intent", node)
        assert set(first.entries) == {key}
        assert len(first.ignored) == MANY + 1
        threading.Timer(0.3, large.put, (f"intent/{node}/isup", b"id: isup\n")).start()
        second = client.list_manifests("intent", node, first.index, 10.0)
        assert second.index > first.index
        assert second.entries[key].data == b"id: isup\n"
        large.put(f"intent/{node}/other", b"id: other\n")
        third = client.list_manifests("intent", node, second.index, 10.0)
        assert set(third.entries) == {key, PodKey(node, "other")}
        large.delete(f"intent/{node}/other")
        assert set(client.list_manifests("intent", node, third.index, 10.0).entries) == {key}


def test_a_fleet_that_is_too_large_for_one_answer_is_read_in_few_requests(large: Agent) -> None:
    asked: list[str] = []
    with ConsulClient(large.settings(), observe=lambda name, *_: asked.append(name)) as client:
        sights = inspection.from_consul(client, "intent", None, None)
    assert [sight.key.node for sight in sights] == NODES
    assert all(sight.intent and sight.record for sight in sights)
    assert len(asked) < len(NODES)


@pytest.mark.slow
def test_the_pods_of_a_large_fleet_are_followed(large: Agent) -> None:
    with ConsulPods(large.client, None, None, 10.0) as pods:
        view = View()

        def shown() -> int:
            nonlocal view
            view = pods.next(0.1)
            return len([sight for sight in view.sights or () if sight.intent and sight.record])

        until(lambda: shown() == len(NODES), 60.0, "all pods")
        large.put(f"intent/{NODES[1]}/new", b"id: new\n")
        until(lambda: shown() == len(NODES) and len(view.sights or ()) == len(NODES) + 1, 60.0, "the new one too")
        assert not view.trouble
        large.delete(f"intent/{NODES[1]}/new")


def test_a_value_that_is_too_large_does_not_prevent_reading_others(consul: Agent) -> None:
    """Consul accepts such a value only with a larger kv_max_value_size. Here a gateway sends it."""

    def too_large(asked: Asked) -> Reply | None:
        if b"intent/web1/huge" in asked.body or "recurse" in asked.path:
            return Reply(200, bytes(MAX_BODY + 1), {"X-Consul-Index": "7", "X-Consul-Knownleader": "true"})
        return None

    for pod in ("a", "huge", "z"):
        consul.put(f"intent/web1/{pod}", b"id: " + pod.encode())
    with Gateway(consul.http_port) as gateway:
        gateway.lie = too_large
        settings = consul.settings()
        through = type(settings)(f"http://127.0.0.1:{gateway.port}")
        with ConsulClient(through) as client:
            found = client.list_manifests("intent", "web1")
            parts = read(client, [f"intent/web1/{pod}" for pod in ("a", "gone", "huge", "z")])
    assert {key.pod: entry.data for key, entry in found.entries.items()} == {
        "a": b"id: a",
        "huge": TOO_LARGE,
        "z": b"id: z",
    }
    assert {pair.key for pair in parts.pairs} == {"intent/web1/a", "intent/web1/z"}
    assert parts.too_large == ["intent/web1/huge"]
