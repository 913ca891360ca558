"""Pods for a test: their manifests in a real Consul, one target for all of them, and their published health."""

import json
from base64 import b64decode
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from tests.support.consul import Agent
from tests.support.controller import NODE, manifest
from tests.support.net import until
from tests.support.targets import Target


class Fleet:
    """Pods of one node. Each is requested at `target` by its own path, `/<pod>`."""

    def __init__(self, consul: Agent, target: Target, node: str = NODE) -> None:
        self._consul = consul
        self._target = target
        self.node = node

    # --- manifests ---

    def manifest(self, pod: str) -> bytes:
        """Returns the manifest that `schedule` writes for a pod."""
        return manifest(pod, self._target.port, f"/{pod}")

    def schedule(self, *pods: str) -> None:
        for pod in pods:
            self.write(pod, self.manifest(pod))

    def write(self, pod: str, data: bytes) -> None:
        """Write any bytes to the key of the pod's manifest."""
        self._consul.put(f"intent/{self.node}/{pod}", data)

    def unschedule(self, *pods: str) -> None:
        for pod in pods:
            self._consul.delete(f"intent/{self.node}/{pod}")

    # --- what was asked ---

    def unschedule_at_once(self, *pods: str) -> None:
        """Remove these manifests in one transaction."""
        deletions = [{"KV": {"Verb": "delete", "Key": f"intent/{self.node}/{pod}"}} for pod in pods]
        self._consul.request("PUT", "txn", json.dumps(deletions))

    def asked(self, pod: str) -> list[float]:
        """Returns when the target was asked for this pod: `time.monotonic()` of each connection, oldest first."""
        return [hit.connected for hit in self._target.hits(f"/{pod}")]

    def wait_asked(self, pod: str, times: int = 1) -> None:
        """Wait until a pod was asked for `times` times more."""
        enough = len(self.asked(pod)) + times
        until(lambda: len(self.asked(pod)) >= enough, 30.0, f"{pod} is asked {times} times more")

    def asked_by_pod(self) -> dict[str, list[float]]:
        """Returns the times of `asked` for every pod that was asked for."""
        pods: dict[str, list[float]] = defaultdict(list)
        for hit in self._target.hits():
            pods[hit.path.removeprefix("/")].append(hit.connected)
        return dict(pods)

    # --- what is published ---

    def health_key(self, pod: str) -> str:
        return f"health/{pod}/{self.node}"

    def health(self, pod: str) -> dict[str, Any] | None:
        """Returns the record in Consul; None if there is none."""
        data = self._consul.get(self.health_key(pod))
        record: dict[str, Any] | None = json.loads(data) if data is not None else None
        return record

    def status(self, pod: str) -> str | None:
        """Returns the status in the record; None if there is no record."""
        record = self.health(pod)
        return str(record["Status"]) if record else None

    def statuses(self) -> dict[str, str]:
        """Returns the status of every pod that has a record held by a live session. Other records do not count."""
        sessions = self._consul.sessions()
        return {
            key.split("/")[1]: str(json.loads(b64decode(entry["Value"] or "") or b"{}").get("Status"))
            for key, entry in self._consul.entries("health/").items()
            if key.endswith(f"/{self.node}") and entry.get("Session") in sessions
        }

    def are(self, status: str, pods: Collection[str]) -> bool:
        """Whether exactly these pods have a record held by a live session, and all of them have this status."""
        return self.statuses() == dict.fromkeys(pods, status)
