"""Other threads, such as those that probe, hardly wait while a long listing of a real Consul is read."""

import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import pytest

from controller.consul.client import MAX_OPERATIONS
from controller.intent.manifest_store import ManifestStore
from reconcilers.options import Rules
from tests.support.consul import Agent
from tests.support.pauses import longest_pause

MANIFESTS = 10_000
LONGEST = 0.005
TICK = 0.004
"""Parsing takes a second. In this time a busy Linux lets a thread run on for a tick of its scheduler at least once."""


def _write(consul: Agent, pods: Sequence[int], comment: str) -> None:
    for start in range(0, len(pods), MAX_OPERATIONS):
        operations = [
            {"KV": {"Verb": "set", "Key": f"intent/web1/pod-{pod}", "Value": b64encode(text.encode()).decode()}}
            for pod in pods[start : start + MAX_OPERATIONS]
            for text in [f"id: pod-{pod}\nstatus_port: 80\n# {comment:x<380}\n"]
        ]
        assert consul.request("PUT", "txn", json.dumps(operations)).status == 200


@pytest.mark.slow
@pytest.mark.parametrize("is_dev", [True, False], ids=["indented", "compact"])
def test_no_thread_waits_for_a_listing_of_ten_thousand_manifests(consul_binary: Path, *, is_dev: bool) -> None:
    with Agent(consul_binary, persistent=not is_dev) as consul:
        _write(consul, range(MANIFESTS), "")
        with consul.client() as client:
            store = ManifestStore(Rules())

            def change_and_read() -> None:
                _write(consul, [7], str(len(changed)))
                changed.append(store.replace(client.list_manifests("intent", "web1")))

            changed: list[object] = [store.replace(client.list_manifests("intent", "web1"))]
            assert len(store) == MANIFESTS
            assert longest_pause(change_and_read, LONGEST) < LONGEST
            assert {len(each) for each in changed[1:]} == {1}  # type: ignore[arg-type]

        kept: list[ManifestStore] = []

        def read_for_the_first_time() -> None:
            kept.append(ManifestStore(Rules()))
            kept[-1].replace(client.list_manifests("intent", "web1"))

        with consul.client() as client:
            assert longest_pause(read_for_the_first_time, LONGEST + TICK) < LONGEST + TICK
