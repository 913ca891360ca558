"""A node's manifests in a listing of Consul's KV store, where most pairs are the same as in the listing before."""

from collections.abc import Iterable, Mapping

from controller.consul.answers import KvPair
from reconcilers.gate import Entry
from reconcilers.ignored import Ignored, pod_of
from reconcilers.keys import intent_prefix
from reconcilers.spec import PodKey


class ListedManifests:
    """The last listing of one node's manifests. Of a pair that has not changed, the next one has the same objects."""

    def __init__(self, tree: str, node: str) -> None:
        self.pairs: Mapping[str, KvPair] = {}
        """The pairs of the last listing, by key."""
        self.prefix = intent_prefix(tree, node)
        self._tree = tree
        self._node = node
        self._places: dict[str, tuple[PodKey | Ignored, Entry]] = {}

    def take(self, pairs: Iterable[KvPair]) -> tuple[Mapping[PodKey, Entry], Mapping[str, Ignored]]:
        """Returns the manifests, and the names after the node's that are not pods to check."""
        now = {pair.key: pair for pair in pairs}
        self._places = {key: self._place(pair) for key, pair in now.items()}
        self.pairs = now
        places = self._places.items()
        return (
            {place: entry for _, (place, entry) in places if isinstance(place, PodKey)},
            {key.removeprefix(self.prefix): place for key, (place, _) in places if isinstance(place, Ignored)},
        )

    def _place(self, pair: KvPair) -> tuple[PodKey | Ignored, Entry]:
        if self.pairs.get(pair.key) is pair:
            return self._places[pair.key]
        place = pod_of(self._tree, self._node, pair.key, pair.value)
        return place, Entry((pair.create_index, pair.modify_index), pair.value)
