"""The answer of `podpulse inspect`: the manifests and the health of each pod on each node, in p2's shapes.

Source of the shapes: p2's wiki page "Health Checks" (`health_check`), pkg/inspect of square/p2 (the other fields).
"""

import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from controller.cli.condition import CONDITIONS, REMEMBERED, WITHOUT_CHECK, Condition
from controller.consul import parts as consul_parts
from controller.consul.client import ConsulClient, KvPair
from controller.intent.folder import DirectorySource
from controller.publish import folder as directory
from reconcilers.health import HealthState
from reconcilers.keys import HEALTH, parse_health_key, parse_intent_key
from reconcilers.labels import Selector, matches
from reconcilers.manifest import labels_of
from reconcilers.p2 import launchables
from reconcilers.p2 import manifest as p2manifest
from reconcilers.p2.uuid_pods import is_uuid_pod
from reconcilers.record import HealthRecord, RecordError, decode, timestamp
from reconcilers.spec import Labels, PodKey

UNKNOWN = {"status": HealthState.UNKNOWN.value, "output": ""}


@dataclass(frozen=True, slots=True)
class InspectedPod:
    """One pod on one node: its manifests in intent and reality, and its published health. `told` is what its controller
    says, if it was asked."""

    key: PodKey
    intent: bytes | None
    reality: bytes | None
    record: HealthRecord | None
    told: Condition | None = None

    @property
    def labels(self) -> Labels:
        """The labels of the manifest in intent, or of the one in reality if there is none."""
        manifest = self.reality if self.intent is None else self.intent
        return _labels(manifest) if manifest is not None else ()

    @property
    def condition(self) -> Condition:
        """Its state as far as manifest and record tell it, with what its controller says."""
        known, told = CONDITIONS.of(self.key, self.intent, self.record), self.told
        if told is None:
            return known
        return replace(told, state=known.state) if self.record and told.state not in WITHOUT_CHECK else told

    @property
    def is_doubtful(self) -> bool:
        """Whether its controller may know more than Consul tells."""
        return CONDITIONS.of(self.key, self.intent, self.record).is_doubtful


def from_consul(client: ConsulClient, tree: str, node: str | None, pod: str | None) -> list[InspectedPod]:
    """Returns all pods of the fleet, or those of one node or one name. Raises ConsulError."""
    below = f"{node}/" if node else ""
    intents = manifests(tree, client.list_pairs(f"{tree}/{below}"))
    realities = manifests("reality", client.list_pairs(f"reality/{below}"))
    records = {}
    for pair in _healths(client, node, pod):
        if key := parse_health_key(pair.key):
            records[key] = decoded(pair.value)
    return joined(intents, realities, records, node, pod)


def _healths(client: ConsulClient, node: str | None, pod: str | None) -> Iterator[KvPair]:
    """Yields all health records, or those of one node or of one pod.

    The keys start with the pod, and a record has up to 4 KiB of output. So for one node, only the names of all keys are
    listed, and then the records of the node are read.
    """
    below = f"{HEALTH}{pod}/" if pod else HEALTH
    if not node:
        yield from client.list_pairs(below)
        return
    names = [name for name in client.list_keys(below) if (key := parse_health_key(name)) and key.node == node]
    yield from consul_parts.read(client, names).pairs


def from_folders(intents: Path, healths: Path | None, node: str | None, pod: str | None) -> list[InspectedPod]:
    """The same without Consul. Raises SourceError or OSError if a folder cannot be read.

    Manifests in a folder do not name a node. Without `node`, they are those of the node of most records, or of this
    host. Records of a controller that has ended are ignored, as they are removed in Consul.
    """
    records = directory.read(healths) if healths else {}
    listing = DirectorySource(intents, node or _node_of(records), tuple).next(0)
    files = {key: entry.data for key, entry in listing.entries.items()}
    fresh = healths is not None and directory.is_alive(healths, time.time())
    return joined(files, {}, records if fresh else {}, node, pod)


def node_of(healths: Path | None) -> str:
    """Returns the node of folders: that of most records, or this host."""
    return _node_of(directory.read(healths) if healths else ())


def _node_of(records: Iterable[PodKey]) -> str:
    nodes = Counter(key.node for key in records).most_common(1)
    return nodes[0][0] if nodes else socket.gethostname()


def as_tree(pods: Iterable[InspectedPod]) -> dict[str, dict[str, Any]]:
    """`{pod: {node: {...}}}`, as p2-inspect prints it."""
    tree: dict[str, dict[str, Any]] = {}
    now = time.time()
    for pod in pods:
        tree.setdefault(pod.key.pod, {})[pod.key.node] = _fields(pod, now)
    return tree


def as_list(pods: Iterable[InspectedPod]) -> list[dict[str, Any]]:
    """`[{"node": ..., "pod": ..., ...}]`: the same as a list."""
    now = time.time()
    return [{"node": pod.key.node, "pod": pod.key.pod, **_fields(pod, now)} for pod in pods]


def manifests(tree: str, pairs: Iterable[KvPair]) -> dict[PodKey, bytes]:
    """Returns the manifests among the pairs below a tree. p2's pods with a UUID are not shown."""
    return {
        key: pair.value
        for pair in pairs
        if (key := parse_intent_key(tree, pair.key)) and not is_uuid_pod(key.pod, pair.value)
    }


def joined(
    intents: Mapping[PodKey, bytes],
    realities: Mapping[PodKey, bytes],
    records: Mapping[PodKey, HealthRecord | None],
    node: str | None,
    pod: str | None,
) -> list[InspectedPod]:
    """Returns every pod with a manifest or a record, or those of one node or one name, sorted."""
    return [
        InspectedPod(key, intents.get(key), realities.get(key), records.get(key))
        for key in sorted(intents.keys() | realities.keys() | records.keys())
        if node in {None, key.node} and pod in {None, key.pod}
    ]


def selected(pods: Iterable[InspectedPod], wanted: Selector) -> list[InspectedPod]:
    """Returns the pods with these labels."""
    return [pod for pod in pods if not wanted or matches(pod.labels, wanted)]


def decoded(value: bytes) -> HealthRecord | None:
    """Returns the record, in any of its historical forms; None if the value is not a record."""
    try:
        return decode(value)
    except RecordError:
        return None


_labels = lru_cache(maxsize=REMEMBERED)(labels_of)


@dataclass(frozen=True, slots=True)
class _Launched:
    """The SHA of a manifest and the versions of its launchables."""

    sha: str = ""
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)


@cache
def _launched(manifest: bytes | None) -> _Launched:
    """Returns empty values for a missing manifest, or one that p2 would not read. A thousand nodes may share one."""
    if manifest is None:
        return _Launched()
    try:
        document = p2manifest.read(manifest)
    except p2manifest.P2ManifestError:
        return _Launched()
    return _Launched(p2manifest.sha_of(document), launchables.versions(document))


def _fields(pod: InspectedPod, now: float) -> dict[str, Any]:
    """A pod without a record is unknown, because a missing key means that to p2's tools too."""
    intent, reality = _launched(pod.intent), _launched(pod.reality)
    record = pod.record
    condition = pod.condition
    health = {"status": record.status.value, "output": record.output} if record else UNKNOWN
    fields: dict[str, Any] = {
        "health_check": health,
        "health": health["status"],
        "intent_manifest_sha": intent.sha,
        "reality_manifest_sha": reality.sha,
        "intent_locations": launchables.locations(intent.versions),
        "reality_locations": launchables.locations(reality.versions),
        **({"intent_versions": intent.versions} if intent.versions else {}),
        **({"reality_versions": reality.versions} if reality.versions else {}),
        "scheduled": pod.intent is not None,
        "state": condition.state,
        **({"note": condition.note} if condition.note else {}),
        **({"told_by": condition.source} if condition.source else {}),
        **({"labels": dict(pod.labels)} if pod.labels else {}),
    }
    if record:
        fields |= {
            "reason": record.reason.value,
            "detail": record.detail,
            "since": timestamp(record.since),
            "last_probe": timestamp(record.last_probe),
            "probed_manifest_sha": record.manifest_sha,
        }
        if shares := record.shares(now):
            fields["uptime"] = {each.window: {"share": each.ratio, "up": each.up, "down": each.down} for each in shares}
    return fields
