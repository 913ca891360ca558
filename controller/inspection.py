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
from reconcilers.health import HealthState
from reconcilers.keys import HEALTH, parse_health_key, parse_intent_key
from reconcilers.record import HealthRecord, RecordError, decode, timestamp
from reconcilers.spec import PodKey, is_name


@dataclass(frozen=True, slots=True)
class Sight:
    """One pod on one node: whether a manifest asks for it, and what is published about it."""

    key: PodKey
    scheduled: bool
    record: HealthRecord | None


def from_consul(client: ConsulClient, tree: str, node: str | None, pod: str | None) -> list[Sight]:
    """All pods of the fleet, or those of one node or one name.

    Raises:
        ConsulError: Consul did not answer, or refused.
    """
    intents = client.list_pairs(f"{tree}/{node}/" if node else f"{tree}/")
    scheduled = {key for pair in intents if (key := parse_intent_key(tree, pair.key))}
    records: dict[PodKey, HealthRecord | None] = {}
    for pair in client.list_pairs(f"{HEALTH}{pod}/" if pod else HEALTH):
        if key := parse_health_key(pair.key):
            records[key] = _decoded(pair.value)
    return _sights(scheduled, records, node, pod)


def from_folders(intents: Path, healths: Path | None, node: str, pod: str | None) -> list[Sight]:
    """The same without Consul. Records of a controller that does not live any more say nothing, as in Consul.

    Raises:
        OSError: a folder cannot be read.
    """
    pods = (path.stem for path in intents.iterdir() if path.suffix == SUFFIX)
    scheduled = {PodKey(node, pod) for pod in pods if is_name(pod)}
    fresh = healths is not None and directory.is_alive(healths, time.time())
    records = directory.read(healths) if healths and fresh else {}
    return _sights(scheduled, records, node, pod)


def as_tree(sights: Iterable[Sight]) -> dict[str, dict[str, Any]]:
    """`{pod: {node: {...}}}`, as p2-inspect prints it."""
    tree: dict[str, dict[str, Any]] = {}
    for sight in sights:
        tree.setdefault(sight.key.pod, {})[sight.key.node] = _fields(sight)
    return tree


def _sights(
    scheduled: set[PodKey], records: Mapping[PodKey, HealthRecord | None], node: str | None, pod: str | None
) -> list[Sight]:
    return [
        Sight(key, key in scheduled, records.get(key))
        for key in sorted(scheduled | records.keys())
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
    if record is None:
        return {"health_check": {"status": HealthState.UNKNOWN.value, "output": ""}, "scheduled": sight.scheduled}
    return {
        "health_check": {"status": record.status.value, "output": record.output},
        "scheduled": sight.scheduled,
        "reason": record.reason.value,
        "detail": record.detail,
        "since": timestamp(record.since),
        "last_probe": timestamp(record.last_probe),
    }
