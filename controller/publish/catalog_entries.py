"""What is known of the catalog: nodes, and the services and checks of ours on them, as they were read or written last.

A service is ours if its id is `podpulse:<node>:<pod>` and its meta has `external-source: podpulse`. A node is ours if
its meta has the same mark.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from controller.consul.catalog import CatalogNode, NodeEntries, read_node
from controller.consul.client import ConsulClient, ConsulRefused
from controller.consul.ownership import is_ours
from controller.publish.agent_service import ServiceState, parse_service_id, service_id
from reconcilers.share import Share
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

AGENT_AGAIN = 30.0
"""Seconds after which a node with an agent is read again before a write."""
NAMED = 5
"""The number of nodes that one log line names."""
HAS_AGENT = (
    "the node has a Consul agent, so it is left alone in the catalog: a controller there can use `publish: agent`"
)
_VIEW = re.compile(r"view ([0-9]{1,19}) of the fleet")


def notes(share: Share) -> str:
    """The notes of a check that the controller with this share writes: its name and its view of the fleet."""
    view = f", with view {share.index} of the fleet" if share.index else ""
    return f"What Podpulse found, by {share.member}{view}. It does not expire."


@dataclass(frozen=True, slots=True)
class Entry:
    """The service and check of one pod, with their ModifyIndexes; 0 for a check that is missing. `view` is the index of
    the view of the fleet with which the check was written."""

    state: ServiceState
    service_index: int
    check_index: int
    view: int = 0

    def is_same_write(self, other: "Entry | None") -> bool:
        """Whether nobody has written between these two."""
        mine = self.service_index, self.check_index
        return other is not None and mine == (other.service_index, other.check_index)


@dataclass(frozen=True, slots=True)
class _Node:
    """A node as it was read at `read_at`. `foreign` are services of others that have our ids, `strays` are services of
    ours that nobody has asked for."""

    node: CatalogNode | None
    has_agent: bool
    read_at: float
    foreign: frozenset[PodKey]
    strays: frozenset[PodKey]


class CatalogEntries:
    """For one thread at a time, except `entry`. `our_notes` returns the notes of a check that we write now."""

    def __init__(self, client: ConsulClient, our_notes: Callable[[], str], clock: Callable[[], float]) -> None:
        self._client = client
        self._our_notes = our_notes
        self._clock = clock
        self._nodes: dict[str, _Node] = {}
        self._pods: dict[str, dict[PodKey, Entry]] = {}
        """The entries by node."""
        self._changed: set[PodKey] = set()
        self._left_alone: set[str] = set()
        """The nodes with an agent that the log has named."""

    def entry(self, key: PodKey) -> Entry | None:
        """Returns what is known of a pod; None if it is not in the catalog, as far as known."""
        return self._pods.get(key.node, {}).get(key)

    def pods(self) -> Collection[PodKey]:
        """Returns all pods that are in the catalog."""
        return [key for pods in self._pods.values() for key in pods]

    def keys_of(self, nodes: Iterable[str]) -> frozenset[PodKey]:
        """Returns the pods of these nodes that are in the catalog."""
        return frozenset(key for node in nodes for key in self._pods.get(node, ()))

    def nodes(self) -> Collection[str]:
        """Returns the nodes that were read or written."""
        return list({**self._nodes, **self._pods})

    def knows(self, node: str) -> bool:
        """Whether a node was read since it was forgotten."""
        return node in self._nodes

    def node(self, node: str) -> CatalogNode | None:
        """Returns a node that is known; None if the catalog does not have it."""
        return self._nodes[node].node

    def registered(self, node: CatalogNode) -> None:
        """This controller has written a known node."""
        self._nodes[node.name] = replace(self._nodes[node.name], node=node)

    def is_foreign(self, key: PodKey) -> bool:
        """Whether the service with the id of this pod is another's. The node must be known."""
        return key in self._nodes[key.node].foreign

    def strays(self, node: str) -> Collection[PodKey]:
        """Returns the pods with services of ours that nobody has asked for."""
        known = self._nodes.get(node)
        return known.strays if known else ()

    def note_changed(self, keys: Collection[PodKey]) -> None:
        """Others have changed the entries of these pods."""
        self._changed.update(keys)

    def take_changed(self) -> Collection[PodKey]:
        """Returns the pods whose entries others have changed, since the last call."""
        changed, self._changed = self._changed, set()
        return frozenset(changed)

    def put(self, key: PodKey, entry: Entry | None) -> None:
        """This controller has written the entry, or removed it."""
        self._changed.discard(key)
        if entry:
            self._pods.setdefault(key.node, {})[key] = entry
        else:
            self._pods.get(key.node, {}).pop(key, None)

    def disown(self, keys: Collection[PodKey]) -> None:
        """Forgets the entries of these pods."""
        for key in keys:
            self.put(key, None)

    def unsettle(self, keys: Collection[PodKey]) -> None:
        """Whether these pods were written is not known. Their nodes are read again before the next write."""
        self.forget(key.node for key in keys)
        for key in keys:
            if entry := self.entry(key):
                self._pods[key.node][key] = replace(entry, state=entry.state.unsettled())

    def forget(self, nodes: Iterable[str]) -> None:
        """Lets these nodes be read again before the next write."""
        for node in nodes:
            self._nodes.pop(node, None)

    def keep_nodes(self, is_ours: Callable[[str], bool]) -> None:
        """Forgets all other nodes and their entries."""
        self._nodes = {node: known for node, known in self._nodes.items() if is_ours(node)}
        self._pods = {node: pods for node, pods in self._pods.items() if pods and is_ours(node)}

    def know(self, keys: Collection[PodKey]) -> Mapping[str, str]:
        """Reads the nodes of these pods that are not known. Returns the nodes that cannot be used, and why.

        Raises:
            ConsulUnavailable: Consul does not answer.
        """
        problems: dict[str, str] = {}
        for node in sorted({key.node for key in keys}):
            known = self._nodes.get(node)
            if known is None or (known.has_agent and self._clock() - known.read_at > AGENT_AGAIN):
                try:
                    self._changed |= self.read(node, keys.__contains__).difference(keys)
                except ConsulRefused as error:
                    problems[node] = str(error)
                    continue
            if self._nodes[node].has_agent:
                problems[node] = HAS_AGENT
        self._name_left_alone([node for node, problem in problems.items() if problem == HAS_AGENT])
        return problems

    def read(self, node: str, is_wanted: Callable[[PodKey], bool]) -> frozenset[PodKey]:
        """Reads a node, and remembers our services of known and wanted pods. Returns the pods whose entries differ from
        the known ones. These are uncertain until they are written.

        Raises:
            ConsulError: Consul does not answer, or refuses.
        """
        found = read_node(self._client, node)
        ours = self._entries_of(node, found)
        before = self._pods.get(node, {})
        after = {
            key: before[key] if entry.is_same_write(before.get(key)) else entry
            for key, entry in ours.items()
            if key in before or is_wanted(key)
        }
        self._pods[node] = after
        ids = (service.id for service, _ in found.services.values() if not is_ours(service))
        foreign = frozenset(key for key in map(parse_service_id, ids) if key)
        strays = frozenset(ours.keys() - after.keys())
        self._nodes[node] = _Node(found.node, found.has_agent, self._clock(), foreign, strays)
        return frozenset(key for key in before.keys() | after.keys() if before.get(key) is not after.get(key))

    def _entries_of(self, node: str, found: NodeEntries) -> Mapping[PodKey, Entry]:
        """Our services on a node. There are none on a node with an agent: its own controller may have the same ids."""
        entries = {}
        for service, index in found.services.values() if not found.has_agent else ():
            key = parse_service_id(service.id)
            if key and key.node == node and is_ours(service):
                check, check_index = found.checks.get(service_id(key), (None, 0))
                state = ServiceState.from_agent(key, service, check, self._our_notes())
                view = _VIEW.search(check.notes) if check else None
                entries[key] = Entry(state, index, check_index, int(view[1]) if view else 0)
        return entries

    def _name_left_alone(self, nodes: Collection[str]) -> None:
        """Logs once which nodes have an agent."""
        if new := sorted(set(nodes) - self._left_alone):
            self._left_alone.update(new)
            names = ", ".join(new[:NAMED]) + (f" and {len(new) - NAMED} others" if len(new) > NAMED else "")
            log.warning("nodes with a Consul agent are left alone in the catalog: %s", names)
