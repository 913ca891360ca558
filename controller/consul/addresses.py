"""The address of a node: its name, one fixed address, or its address in Consul's catalog.

The catalog is read in a separate thread. The threads that read manifests and stop checks never wait for it.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct
from msgspec.json import Decoder

from controller.consul.answers import index_of
from controller.consul.client import ConsulClient, ConsulError
from controller.consul.transport import Response
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from reconcilers.spec import UNKNOWN_ADDRESS, is_name
from reconcilers.target_guard import is_address

log = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds after the start in which the address may be unknown. Until then the previously published health is kept;
after that the pods are unknown."""
PERIOD = 10.0
"""Seconds between two reads of the catalog."""
PERIOD_UNKNOWN = 1.0
"""Seconds between two reads until the catalog has an address of the node."""


class FixedAddress:
    """One address for all nodes. None means that the node's name is resolved."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    def address(self, _node: str) -> str | None:
        """See `reconcilers.ports.Addresses`."""
        return self._address


class CatalogAddress:
    """The address of one node in Consul's catalog: an IP address or a host name. While Consul does not answer, the last
    known address stays in force."""

    def __init__(self, client: ConsulClient, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._node = node
        self._clock = clock
        self._began = clock()
        self._address: str | None = None
        self._unusable = LogOnce(log)

    @property
    def period(self) -> float:
        """See `Refreshed`."""
        return PERIOD_UNKNOWN if self._address is None else PERIOD

    def address(self, node: str) -> str | None:
        """See `reconcilers.ports.Addresses`."""
        if node == self._node and self._address is not None:
            return self._address
        if node == self._node and self._clock() - self._began > PATIENCE:
            return UNKNOWN_ADDRESS
        raise LookupError(f"the address of node {node} is not known: Consul's catalog has not named it")

    def refresh(self) -> bool:
        """See `Refreshed`."""
        try:
            address = self._client.node_address(self._node)
        except ConsulError as error:
            log.debug("the catalog did not answer: %s", error)
            return False
        if address is None or address == self._address:
            return False
        if not _is_usable(address):
            expected = "expected an IP address or a host name"
            self._unusable.warn(f"Consul's catalog has the address {address!r:.60} of node {self._node}: {expected}")
            return False
        self._unusable.clear()
        log.info("node %s is at %s, by Consul's catalog", self._node, address)
        self._address = address
        return True


class _Node(Struct, frozen=True):
    Node: str
    Address: str


_NODES = Decoder(list[_Node])


class CatalogAddresses:
    """The addresses of all nodes in Consul's catalog. The last known address of a node stays in force while Consul does
    not answer, and when the catalog does not have the node any more."""

    def __init__(self, client: ConsulClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._index = 0
        self._addresses: Mapping[str, str] = {}
        self._asked: dict[str, float] = {}
        """When the address of a node was asked for that is not known."""
        self._unusable = LogOnce(log)

    @property
    def period(self) -> float:
        """See `Refreshed`. `refresh` itself waits for a change."""
        return PERIOD_UNKNOWN

    def address(self, node: str) -> str | None:
        """See `reconcilers.ports.Addresses`."""
        if address := self._addresses.get(node):
            return address
        if self._clock() - self._asked.setdefault(node, self._clock()) > PATIENCE:
            return UNKNOWN_ADDRESS
        raise LookupError(f"the address of node {node} is not known: Consul's catalog has not named it")

    def refresh(self) -> bool:
        """See `Refreshed`. Waits for a change, but not at the first time and after an error."""
        since, self._index = self._index, 0
        try:
            index, nodes = self._client.query("node_addresses", "/v1/catalog/nodes", (), _nodes_of, since, PERIOD)
        except ConsulError as error:
            log.debug("the catalog did not answer: %s", error)
            return False
        self._index = index if index >= since else 0
        usable = {node: address for node, address in nodes.items() if _is_usable(address)}
        self._report_unusable(sorted(nodes.keys() - usable.keys()))
        before, self._addresses = self._addresses, {**self._addresses, **usable}
        for node in usable:
            self._asked.pop(node, None)
        return before != self._addresses

    def _report_unusable(self, nodes: list[str]) -> None:
        if nodes:
            expected = "expected an IP address or a host name"
            self._unusable.warn(f"Consul's catalog has no usable address of {len(nodes)} nodes, {expected}: {nodes[0]}")
        else:
            self._unusable.clear()


def _nodes_of(answer: Response) -> tuple[int, Mapping[str, str]]:
    if answer.code != 200:
        raise ValueError(str(answer.code))
    return index_of(answer), {node.Node: node.Address for node in _NODES.decode(answer.content)}


def _is_usable(address: str) -> bool:
    """Whether something can connect to this address."""
    return is_address(address) or is_name(address)


class Refreshed(Protocol):
    """Addresses that the catalog has. `period` is the time until the next read, in seconds."""

    @property
    def period(self) -> float: ...

    def refresh(self) -> bool:
        """Read the catalog. Returns whether an address has changed."""
        ...


class AddressWatch:
    """Reads addresses from the catalog in a thread. `on_move` is called when an address has changed."""

    def __init__(self, address: Refreshed, on_move: Callable[[], None], heartbeat: Heartbeat) -> None:
        self._address = address
        self._on_move = on_move
        self._has_moved = False
        self._thread = BackgroundThread(self._turn, heartbeat)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread. The owner of the client must cancel the client."""
        self._thread.stop(timeout)

    def _turn(self) -> float:
        self._has_moved |= self._address.refresh()
        if self._has_moved:
            self._on_move()
            self._has_moved = False
        return self._address.period
