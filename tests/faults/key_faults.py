"""What other programs may do to the health keys, and to keys beside the manifests."""

import json
import time
from collections.abc import Iterator
from random import Random

from tests.faults.fault import LIMITED, Fault
from tests.faults.pods import Pod
from tests.faults.stage import NODE, Stage

UUID = "0bd1a3c8-6d1e-4a55-9d5c-3b8f1d6b1a01"
ODD = {
    f"intent/{NODE}/a/b": b"id: b\nstatus_port: 1\n",
    f"intent/{NODE}/": b"",
    f"intent/{NODE}": b"id: none\n",
    f"intent/{NODE}/with%20space": b"id: with space\n",
    f"intent/{NODE}/-dash": b"id: -dash\nstatus_port: 1\n",
    f"intent/{NODE}/{'x' * 200}": b"id: long\n",
    f"intent/{NODE}/{UUID}": json.dumps({"pod_key": UUID}).encode(),
    f"intent/{NODE}0/pod-0": b"id: pod-0\nstatus_port: 1\n",
    "intent/": b"",
    f"health/pod-0/{NODE}0": b"{}",
    "health/odd": b"{}",
}
LIE = {"Id": "x", "Node": NODE, "Service": "x", "Status": "passing", "Time": "2020-01-01T00:00:00Z"}


def _some(stage: Stage, random: Random) -> list[Pod]:
    pods = stage.pods.wanted()
    return [stage.pods.all[name] for name in random.sample(pods, min(4, len(pods)))]


def written(stage: Stage, random: Random) -> Iterator[None]:
    """Another program writes into our health keys, records and other values."""
    for pod in _some(stage, random):
        value = random.choice((b"", b"null", b"rubbish", json.dumps(LIE | {"Service": pod.name}).encode()))
        stage.ask("PUT", f"kv/{pod.health_key}", value)
    yield


def deleted(stage: Stage, random: Random) -> Iterator[None]:
    """Another program deletes some of our health keys."""
    for pod in _some(stage, random):
        stage.ask("DELETE", f"kv/{pod.health_key}")
    yield


def all_deleted(stage: Stage, random: Random) -> Iterator[None]:
    """Another program deletes all health keys at once."""
    stage.ask("DELETE", "kv/health/?recurse")
    yield


def locked(stage: Stage, random: Random) -> Iterator[None]:
    """The session of another program holds some of our health keys for a while."""
    fields = {"Name": "other", "TTL": "60s", "Behavior": "delete", "LockDelay": "1ms", "Checks": []}
    session = stage.ask("PUT", "session/create", json.dumps(fields)).json()["ID"]
    for pod in _some(stage, random):
        stage.ask("DELETE", f"kv/{pod.health_key}")
        stage.ask("PUT", f"kv/{pod.health_key}?acquire={session}", b"{}")
    yield
    stage.ask("PUT", f"session/destroy/{session}")


def sessions_ended(stage: Stage, random: Random) -> Iterator[None]:
    """Another program destroys our session, and so all our keys."""
    _end_sessions(stage)
    yield


def _end_sessions(stage: Stage) -> None:
    for session in stage.ask("GET", "session/list").json():
        stage.ask("PUT", f"session/destroy/{session['ID']}")


def session_ttl_bounded(stage: Stage, random: Random) -> Iterator[None]:
    """Consul allows only sessions with a longer TTL than ours, and our session is destroyed. The next session must have
    that TTL. At the end that session is destroyed, because later faults wait until a session with our TTL ends."""
    _restart_servers(stage, "60s")
    _end_sessions(stage)
    yield
    _restart_servers(stage, "10s")
    _end_sessions(stage)


def _restart_servers(stage: Stage, session_ttl_min: str) -> None:
    for server in stage.consul.servers:
        server.stop()
        server.configure(session_ttl_min=session_ttl_min)
        server.start(wait=False)
    for server in stage.consul.servers:
        server.wait_ready()


def odd(stage: Stage, random: Random) -> Iterator[None]:
    """Keys that belong to no pod are written beside the manifests."""
    for key, value in ODD.items():
        stage.ask("PUT", f"kv/{key}", value)
    yield
    for key in ODD:
        stage.ask("DELETE", f"kv/{key}")


def many(stage: Stage, random: Random) -> Iterator[None]:
    """10,000 keys that belong to no pod are written beside the manifests. Then there are 100 writes to them per
    second."""
    for number in range(10_000):
        stage.ask("PUT", f"kv/intent/{NODE}/many/{number}", b"x" * 200)
    due = time.monotonic()
    for _ in range(100 * 30):
        stage.ask("PUT", f"kv/intent/{NODE}/many/{random.randrange(10_000)}", b"y" * 200)
        due += 0.01
        time.sleep(max(0.0, due - time.monotonic()))
    yield
    stage.ask("DELETE", f"kv/intent/{NODE}/many/?recurse")


FAULTS = (
    Fault("health-written", "keys", written, ("foreign",), seconds=1, in_fleets=True),
    Fault("health-deleted", "keys", deleted, ("foreign",), seconds=1, in_fleets=True),
    Fault("health-all-deleted", "keys", all_deleted, ("foreign",), seconds=1, in_fleets=True),
    Fault("health-locked", "keys", locked, ("foreign",), seconds=3, long=30, in_fleets=True),
    Fault("sessions-ended", "keys", sessions_ended, ("foreign",), seconds=1, in_fleets=True),
    Fault(
        "session-ttl-bounded",
        "keys",
        session_ttl_bounded,
        ("limited", "foreign", "leader"),
        seconds=LIMITED,
        takes=10,
    ),
    Fault("odd-keys", "keys", odd, seconds=2),
    Fault("many-keys", "keys", many, ("slow",), seconds=0, takes=60, only_long=True),
)
