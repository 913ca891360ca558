"""Other threads, such as those that probe, hardly wait while somebody looks at a very large fleet."""

import json
from base64 import b64encode
from collections.abc import Iterator

import pytest

from controller.consul.client import MAX_OPERATIONS, ConsulClient
from controller.members import fleet_reader
from controller.members.fleet_reader import FleetReader
from reconcilers.share import FleetView
from tests.support.consul import Agent
from tests.support.pauses import longest_pause

NODES = 5_000
PODS = 20
"""Of each node."""
LONGEST = 0.050
"""Seconds of CPU; usually 0.004 to 0.007."""
VIEW = FleetView(1, tuple(f"member{number}" for number in range(10)))


@pytest.fixture
def client(consul: Agent) -> Iterator[ConsulClient]:
    """The client of a Consul with one manifest for each node, and the health of all pods."""
    keys = [f"intent/node{node:04}/pod-0" for node in range(NODES)]
    keys += [f"health/pod-{pod}/node{node:04}" for node in range(NODES) for pod in range(PODS)]
    value = b64encode(b"id: pod\n").decode()
    for start in range(0, len(keys), MAX_OPERATIONS):
        some = [{"KV": {"Verb": "set", "Key": key, "Value": value}} for key in keys[start : start + MAX_OPERATIONS]]
        assert consul.request("PUT", "txn", json.dumps(some)).status == 200
    with ConsulClient(consul.settings()) as client:
        yield client


@pytest.mark.slow
def test_no_thread_waits_for_a_look_at_a_hundred_thousand_pods(
    client: ConsulClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_reader, "KEPT_FOR", 0.0)
    monkeypatch.setattr(fleet_reader, "RESTS_PER_READ", 0)
    reader = FleetReader(client, "intent", "f", lambda: VIEW)
    assert longest_pause(reader.overview, LONGEST) < LONGEST
    assert (len(reader.overview().nodes), reader.overview().pods) == (NODES, NODES * PODS)
    assert longest_pause(lambda: reader.search(["pod-7"], 0, 100), LONGEST) < LONGEST
    assert reader.search(["pod-7"], 0, 100).matching == NODES
