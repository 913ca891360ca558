"""How long a new manifest waits for its first probe in a fleet, among twenty thousand pods of a thousand nodes."""

import random
import time
from functools import partial
from statistics import median, quantiles

import pytest

from controller.consul.client import Operation
from reconcilers.share import FleetView
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest, watch_for
from tests.support.net import until
from tests.support.targets import Target
from tests.system.conftest import Launch

MEMBERS = ("m1", "m2", "m3")
NODES = [f"node{number:04}.example" for number in range(1000)]
PODS = 20
SHARES = [PODS * count for count in map([FleetView(1, MEMBERS).owner(node) for node in NODES].count, MEMBERS)]
"""The pods of each member. Pods that appear with all others of a node are started at some point of their interval."""
NEW = 150
JOINED_WITHIN = 90.0


def schedule(consul: Agent, target: Target) -> None:
    keys = [(f"intent/{node}/pod{pod}", f"pod{pod}") for node in NODES for pod in range(PODS)]
    steps = [Operation("set", key, manifest(pod, target.port, interval="600s")) for key, pod in keys]
    with consul.client() as client:
        for start in range(0, len(steps), 64):
            assert not client.transaction(steps[start : start + 64]).failed


def intents(member: Controller) -> float:
    return member.metrics().sum("podpulse_intents")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_new_pod_among_twenty_thousand_is_probed_within_a_second(
    consul: Agent, target: Target, launch: Launch
) -> None:
    schedule(consul, target)
    members = [launch(consul, ready=False, node_name=name, fleet="f", canary="none") for name in MEMBERS]
    until(lambda: list(map(intents, members)) == SHARES, JOINED_WITHIN, "every member to have its whole share")
    waited = []
    with Target() as new:
        for number in range(NEW):
            watch_for(0.1)
            path, node = f"/new{number}", random.choice(NODES)
            written = time.monotonic()
            consul.put(f"intent/{node}/new{number}", manifest(f"new{number}", new.port, path, interval="600s"))
            until(partial(new.hits, path), 10.0)
            waited.append(new.hits(path)[0].requested - written)
    print(f"first request after {median(waited):.3f} s in the median, {max(waited):.3f} s at most")
    assert quantiles(waited, n=100)[98] < 1.0
