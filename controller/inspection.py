"""What `podpulse inspect` shows: for each pod and node, what is scheduled and what its health is, in p2's shape.

Source of the shape: p2's wiki page "Health Checks", output of p2-inspect.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.consul import ConsulClient
from controller.intent.directory import SUFFIX
from controller.sink import directory
from reconcilers import p2manifest
from reconcilers.health import HealthState
from reconcilers.keys import HEALTH, parse_health_key, parse_intent_key
from reconcilers.record import HealthRecord, RecordError, decode, timestamp
from reconcilers.spec import PodKey, is_name
from reconcilers.uuidpods import is_uuid_pod

UNKNOWN = {"status": HealthState.UNKNOWN.value, "output": ""}


@dataclass(frozen=True, slots=True)
class Sight:
    """One pod on one node: its manifests as they stand in intent and reality, and what is published about it."""

    key: PodKey
    intent: bytes | None
    reality: bytes | None
    record: HealthRecord | None


def from_consul(client: ConsulClient, tree: str, node: str | None, pod: str | None) -> list[Sight]:
    """All pods of the fleet, or those of one node or one name.

    Raises:
        ConsulError: Consul did not answer, or refused.
    """
    intents = _manifests(client, tree, node)
    realities = _manifests(client, "reality", node)
    records: dict[PodKey, HealthRecord | None] = {}
    for pair in client.list_pairs(f"{HEALTH}{pod}/" if pod else HEALTH):
        if key := parse_health_key(pair.key):
            records[key] = _decoded(pair.value)
    return _sights(intents, realities, records, node, pod)


def from_folders(intents: Path, healths: Path | None, node: str, pod: str | None) -> list[Sight]:
    """The same without Consul. Records of a controller that does not live any more say nothing, as in Consul.

    Raises:
        OSError: a folder cannot be read.
    """
    files = [path for path in intents.iterdir() if path.suffix == SUFFIX and is_name(path.stem)]
    manifests = {PodKey(node, path.stem): path.read_bytes() for path in files}
    fresh = healths is not None and directory.is_alive(healths, time.time())
    records = directory.read(healths) if healths and fresh else {}
    return _sights(manifests, {}, records, node, pod)


def as_tree(sights: Iterable[Sight]) -> dict[str, dict[str, Any]]:
    """`{pod: {node: {...}}}`, as p2-inspect prints it."""
    tree: dict[str, dict[str, Any]] = {}
    for sight in sights:
        tree.setdefault(sight.key.pod, {})[sight.key.node] = _fields(sight)
    return tree


def _manifests(client: ConsulClient, tree: str, node: str | None) -> dict[PodKey, bytes]:
    pairs = client.list_pairs(f"{tree}/{node}/" if node else f"{tree}/")
    return {
        key: pair.value
        for pair in pairs
        if (key := parse_intent_key(tree, pair.key)) and not is_uuid_pod(key.pod, pair.value)
    }


def _sights(
    intents: Mapping[PodKey, bytes],
    realities: Mapping[PodKey, bytes],
    records: Mapping[PodKey, HealthRecord | None],
    node: str | None,
    pod: str | None,
) -> list[Sight]:
    return [
        Sight(key, intents.get(key), realities.get(key), records.get(key))
        for key in sorted(intents.keys() | realities.keys() | records.keys())
        if node in {None, key.node} and pod in {None, key.pod}
    ]


def _decoded(value: bytes) -> HealthRecord | None:
    try:
        return decode(value)
    except RecordError:
        return None


def _fields(sight: Sight) -> dict[str, Any]:
    """A pod without record is unknown: that is what a missing key means to p2's tools too."""
    record = sight.record
    health = {"status": record.status.value, "output": record.output} if record else UNKNOWN
    fields: dict[str, Any] = {
        "health_check": health,
        "intent_manifest_sha": _sha(sight.intent),
        "reality_manifest_sha": _sha(sight.reality),
        "scheduled": sight.intent is not None,
    }
    if record:
        fields |= {
            "reason": record.reason.value,
            "detail": record.detail,
            "since": timestamp(record.since),
            "last_probe": timestamp(record.last_probe),
            "probed_manifest_sha": record.manifest_sha,
        }
    return fields


def _sha(manifest: bytes | None) -> str:
    """As p2 computes it; empty for a manifest that is not there, or that p2 would not read."""
    try:
        return p2manifest.sha(manifest) if manifest is not None else ""
    except p2manifest.P2ManifestError:
        return ""
