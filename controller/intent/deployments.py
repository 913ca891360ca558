"""Which pods are being deployed: the manifests in force, compared with the manifests that really run.

The threads "watch" and "reality" write this state, and the thread "probe" reads it. For a pod that is not being
deployed, a read is one lookup in a dictionary. Without a startup grace, the dictionary is always empty.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from controller.runtime.faults import Faults
from reconcilers.deployment import Deployment, Reality
from reconcilers.gate import Listing
from reconcilers.p2 import manifest as p2manifest
from reconcilers.ports import Manifests
from reconcilers.record import HealthRecord
from reconcilers.spec import ManifestVersion, PodKey


@dataclass(frozen=True, slots=True)
class _NodeReality:
    """What runs on a node: the version of each entry with p2's SHA, and the reality of a pod that is not there."""

    shas: Mapping[PodKey, tuple[tuple[int, ...], str]]
    missing: Reality


class Deployments:
    """Excuses failures of a pod for at most `grace` seconds; 0 excuses none.

    `published` returns the published record of a pod, if it is known: it shows the result of an earlier run, or of
    another controller. `lacks` says of a node that was not listed whether nothing runs there.
    """

    def __init__(
        self,
        grace: float,
        manifests: Manifests,
        published: Callable[[PodKey], HealthRecord | None],
        wall_clock: Callable[[], float] = time.time,
        faults: Faults | None = None,
        lacks: Callable[[str], bool] | None = None,
    ) -> None:
        self._faults = faults or Faults()
        self._lacks = lacks or (lambda _: False)
        self._grace = grace
        self._manifests = manifests
        self._published = published
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._intent: dict[PodKey, tuple[ManifestVersion, str]] = {}
        """The manifest in force, and p2's SHA of it. The SHA is kept because computing it takes longer than parsing."""
        self._reality: dict[str, _NodeReality] = {}
        """By node. Without a fleet, all pods belong to the node ""."""
        self._under_way: dict[PodKey, Deployment] = {}

    def intend(self, keys: Collection[PodKey]) -> None:
        """The manifests of these pods are new, changed or removed."""
        if not self._grace:
            return
        intent = {key: self._in_force(key) for key in keys}
        with self._lock:
            for key, new in intent.items():
                old = self._intent.pop(key, None)
                if new is None:
                    self._under_way.pop(key, None)
                    continue
                self._intent[key] = new
                if old is None or old[1] != new[1]:
                    self._keep(key, self._begun(key, new[1]))

    def run(self, listing: Listing) -> None:
        """Take over the manifests that really run on a node. A pod that a filtered listing lacks keeps its previous
        reality."""
        before = self._reality.get(listing.node)
        known = before.shas if before else {}
        shas = {
            key: old
            if (old := known.get(key)) and old[0] == entry.version
            else (entry.version, self._sha(key, entry.data))
            for key, entry in listing.entries.items()
        }
        if listing.filtered:
            new = _NodeReality({**known, **shas}, Reality.UNREAD)
        else:
            new = _NodeReality(shas, Reality.ABSENT)
        with self._lock:
            self._reality[listing.node] = new
            for key in [key for key in self._under_way if listing.node in {"", key.node}]:
                self._keep(key, self._under_way[key].with_reality(self._compare(key, self._intent[key][1])))
            if before is None:
                self._begin_late(shas.keys())

    def keep_nodes(self, owns: Callable[[str], bool]) -> None:
        """Forgets what runs on nodes that are no longer checked here: it is not followed any more."""
        with self._lock:
            self._reality = {node: known for node, known in self._reality.items() if owns(node)}

    def succeeded(self, key: PodKey, version: ManifestVersion) -> None:
        """A probe of this pod was a success. It started while `version` of the manifest was in force."""
        if key in self._under_way:
            with self._lock:
                deployment = self._under_way.get(key)
                if deployment and self._intent[key][0] == version:
                    self._keep(key, deployment.after_success())

    def excuses(self, key: PodKey, started: float) -> bool:
        """Whether a failure does not count yet. `started` is when its probe started, in seconds since the epoch."""
        deployment = self._under_way.get(key)
        return deployment is not None and deployment.excuses(started, self._grace)

    def _keep(self, key: PodKey, deployment: Deployment | None) -> None:
        if deployment:
            self._under_way[key] = deployment
        else:
            self._under_way.pop(key, None)

    def _begun(self, key: PodKey, sha: str) -> Deployment | None:
        return Deployment.begun(self._compare(key, sha), self._published_of(key, sha), self._wall_clock())

    def _published_of(self, key: PodKey, sha: str) -> HealthRecord | None:
        """Returns the published record of a pod, if it is about this version."""
        published = self._published(key)
        return published if published and published.manifest_sha == sha else None

    def _begin_late(self, keys: AbstractSet[PodKey]) -> None:
        """Begins the deployments of pods that are passing although another version runs. Before the first listing of
        their node, this was not known."""
        for key in self._intent.keys() & keys - self._under_way.keys():
            sha = self._intent[key][1]
            published = self._published_of(key, sha)
            if published and published.status.is_up:
                self._keep(key, Deployment.begun(self._compare(key, sha), published, self._wall_clock()))

    def _compare(self, key: PodKey, sha: str) -> Reality:
        """A manifest that p2 cannot read is never the one that p2 deployed."""
        known = self._reality.get(key.node) or self._reality.get("")
        if known is None:
            return Reality.ABSENT if self._lacks(key.node) else Reality.UNREAD
        if key not in known.shas:
            return known.missing
        return Reality.SAME if sha and known.shas[key][1] == sha else Reality.OTHER

    def _in_force(self, key: PodKey) -> tuple[ManifestVersion, str] | None:
        manifest = self._manifests.manifest(key)
        if not manifest or not manifest.check:
            return None
        version, known = manifest.check.version, self._intent.get(key)
        return known if known and known[0] == version else (version, self._sha(key, version.data))

    def _sha(self, key: PodKey, data: bytes) -> str:
        """p2's SHA of a manifest, or "" where p2 would not read it or an unexpected exception prevents it."""
        with self._faults.contain(f"p2's SHA of {key}"):
            return p2manifest.sha_or_empty(data)
        return ""
