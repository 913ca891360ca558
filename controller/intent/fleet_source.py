"""Manifests of many nodes from Consul's KV store: those of the nodes that this controller checks, and of no other.

A blocking query for the names of all nodes says that something below `intent/` has changed, but not what. It costs
little, because it has no values. After it, the nodes that are checked here are read in transactions. Only nodes in
which something differs are listed, and of these only changed values are decoded.

The index of the names is also used for the listings: the state that a transaction reads is at least as new.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from controller.consul import parts
from controller.consul.answers import MAX_OPERATIONS, KvPair, doubt, index_of, is_filtered, keys_of
from controller.consul.client import ConsulClient, ConsulError
from controller.consul.listed import ListedManifests
from controller.consul.transport import Response
from controller.intent.consul import SingleReads
from controller.intent.source import Interrupted, SourceError
from reconcilers.gate import Listing
from reconcilers.keys import intent_prefix
from reconcilers.spec import PodKey, is_name

log = logging.getLogger(__name__)

MOST_PODS = 4096
"""About how many pods are read in one transaction, so that decoding it does not delay other threads."""


@dataclass(frozen=True, slots=True)
class _Names:
    """The nodes that have keys below the tree. `doubt` and `filtered` are as in `Listing`."""

    index: int = 0
    nodes: frozenset[str] = frozenset()
    doubt: str = ""
    filtered: bool = False


class FleetSource:
    """Implements `Sources` for the nodes that `owns` names.

    Before a gained node is listed for the first time, `leftovers` reads the published health of the pods of gained
    nodes, and `expect` is called with these pods. `tree` is `intent` or `reality`.
    """

    def __init__(
        self,
        client: ConsulClient,
        tree: str,
        owns: Callable[[str], bool],
        leftovers: Callable[[Collection[str]], Collection[PodKey]] = lambda _: (),
        expect: Callable[[Collection[PodKey]], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._tree = tree
        self._owns = owns
        self._leftovers = leftovers
        self._expect = expect
        self._names = _Names()
        self._since = 0
        """The index to wait with; 0 after an error, or when the index went back."""
        self._listed: dict[str, ListedManifests] = {}
        self._shown: dict[str, int] = {}
        """The index of the last listing of each node."""
        self._to_read: dict[str, None] = {}
        """The nodes to read, in this order."""
        self._to_show: set[str] = set()
        """The nodes to list even if nothing differs."""
        self._postponed: dict[str, int] = {}
        self._unknown: set[str] = set()
        """The gained nodes whose published health has not been read yet."""
        self._new: set[str] = set()
        """The nodes that had no manifests before the last change of the names, and have not been listed yet."""
        self._woken = threading.Event()
        self._cancelled = False
        self.absent = SingleReads(client, tree).absent

    def leftovers(self) -> Collection[PodKey]:
        """See `Sources`. They are read with each gained node."""
        return ()

    def next(self, wait: float, again: Collection[str]) -> Iterator[Listing]:
        """See `Sources`."""
        is_woken = self._reopen()
        try:
            self._read_names(0.0 if is_woken or self._to_read else wait)
            self._plan(again)
            while batch := self._batch():
                yield from self._read(batch)
        except ConsulError as error:
            if self._woken.is_set():
                raise Interrupted from None
            raise SourceError(str(error)) from error

    def forget(self, node: str) -> None:
        """See `Sources`."""
        self._listed.pop(node, None)
        self._shown.pop(node, None)
        self._to_read.pop(node, None)
        self._unknown.discard(node)
        self._new.discard(node)

    def owned(self) -> int:
        """Returns the number of nodes with manifests that are checked here. For any thread."""
        return len(self._listed)

    def lacks(self, node: str) -> bool:
        """Whether the last answer shows that `node` has no keys. For any thread."""
        names = self._names
        return bool(names.index) and not (names.doubt or names.filtered) and node not in names.nodes

    def wake(self) -> None:
        """See `Sources`."""
        self._woken.set()
        self._client.cancel()

    def cancel(self) -> None:
        """See `Sources`."""
        self._cancelled = True
        self._client.cancel()

    def _reopen(self) -> bool:
        """Allows requests again after `wake`. Returns whether it was called since the last answer."""
        is_woken = self._woken.is_set()
        self._woken.clear()
        self._client.reopen()
        if self._cancelled:
            self._client.cancel()
        return is_woken or self._woken.is_set()

    def _read_names(self, wait: float) -> None:
        since, self._since = self._since if wait else 0, 0
        asked = [("keys", ""), ("separator", "/")]
        names = self._client.query("list_keys", f"/v1/kv/{self._tree}/", asked, self._names_of, since, wait)
        if names.index != self._names.index:
            self._to_read |= dict.fromkeys(sorted(self._listed))
        if names.index >= self._names.index:
            self._since = names.index
        if self._names.index:
            self._new.update(node for node in names.nodes - self._names.nodes if self._owns(node))
        self._names = names

    def _names_of(self, answer: Response) -> _Names:
        start = len(self._tree) + 1
        names = [key[start:-1] for key in keys_of(answer) if key.endswith("/")]
        return _Names(index_of(answer), frozenset(filter(is_name, names)), doubt(answer), is_filtered(answer))

    def _plan(self, again: Collection[str]) -> None:
        """Decides which nodes are read: gained nodes first."""
        for node in [node for node in self._listed if not self._owns(node) or self._is_over(node, again)]:
            self.forget(node)
        gained = sorted(node for node in self._names.nodes - self._listed.keys() if self._owns(node))
        self._unknown.update(gained)
        self._to_show = {node for node in self._to_show.union(again) if node in self._listed}
        rest = {**self._to_read, **dict.fromkeys(self._to_show)}
        self._to_read = {**dict.fromkeys(gained), **{node: None for node in rest if self._owns(node)}}
        if self._unknown:
            self._read_leftovers()

    def _is_over(self, node: str, again: Collection[str]) -> bool:
        """Whether a node without keys has been listed without manifests, and no removal is held."""
        is_shown = node not in self._to_show and node not in again
        return node not in self._names.nodes and is_shown and not self._listed[node].pairs

    def _read_leftovers(self) -> None:
        """Read the leftovers of gained nodes. A failure does not delay probes: leftovers may also be found later."""
        try:
            self._expect(self._leftovers(self._unknown))
            self._unknown = set()
        except ConsulError as error:
            log.debug("the published health of %d nodes cannot be read yet: %s", len(self._unknown), error)

    def _batch(self) -> list[str]:
        batch, pods = list[str](), 0
        for node in self._to_read:
            pods += len(listed.pairs) if (listed := self._listed.get(node)) else 0
            if batch and (len(batch) == MAX_OPERATIONS or pods > MOST_PODS):
                break
            batch.append(node)
        return batch

    def _read(self, batch: Collection[str]) -> Iterator[Listing]:
        """Reads these nodes. A node is read again, after the others, if the handling of its listing fails. It is listed
        once more if its listing had a lower index than before, because such a listing is not taken over at once."""
        prefixes = [intent_prefix(self._tree, node) for node in batch]
        read = parts.read(self._client, prefixes, self._known(batch))
        found = defaultdict[str, list[KvPair]](list)
        for pair in (*read.pairs, *(KvPair(key, parts.TOO_LARGE, 0) for key in read.too_large)):
            found[pair.key.split("/", 2)[1]].append(pair)
        for node in batch:
            del self._to_read[node]
            if self._differs(node, found[node]) and not self._is_early(node, found[node]):
                is_older = self._names.index < self._shown.get(node, 0)
                listing = self._listing(node, found[node])
                self._to_read[node] = None
                self._to_show.add(node)
                yield listing
                del self._to_read[node]
                if not is_older:
                    self._to_show.discard(node)

    def _known(self, batch: Collection[str]) -> Mapping[str, KvPair]:
        known: dict[str, KvPair] = {}
        for node in batch:
            if listed := self._listed.get(node):
                known.update(listed.pairs)
        return known

    def _differs(self, node: str, pairs: Collection[KvPair]) -> bool:
        """Whether a node is to be listed. Its known pairs are the same objects as long as they have not changed."""
        if node not in self._listed or node in self._to_show or self._names.index < self._shown[node]:
            return True
        before = self._listed[node].pairs
        return len(pairs) != len(before) or any(before.get(pair.key) is not pair for pair in pairs)

    def _is_early(self, node: str, pairs: Collection[KvPair]) -> bool:
        """Whether manifests have vanished since the names were read. The next names usually have
        an index that proves the removal, so the node is listed then. Otherwise it is listed without proof."""
        before = self._listed[node].pairs if node in self._listed else {}
        index = self._names.index
        has_vanished = len(pairs) < len(before) or before.keys() - {pair.key for pair in pairs}
        if not has_vanished or self._shown[node] != index or self._postponed.get(node) == index:
            return False
        self._postponed[node] = index
        self._to_show.add(node)
        return True

    def _listing(self, node: str, pairs: Collection[KvPair]) -> Listing:
        names = self._names
        listed = self._listed.setdefault(node, ListedManifests(self._tree, node))
        self._shown[node] = names.index
        entries, ignored = listed.take(pairs)
        is_new = node in self._new
        self._new.discard(node)
        return Listing(names.index, entries, names.doubt, ignored, names.filtered, node, is_new)
