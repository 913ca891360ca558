"""The address of a node: its name, one fixed address, or the address in Consul's catalog.

The catalog is read in a separate thread. The threads that read manifests and stop checks never wait for it.
"""

import logging
import time
from collections.abc import Callable

from controller.consul.client import ConsulClient, ConsulError
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
    def known(self) -> bool:
        """Whether the catalog has had a usable address of the node."""
        return self._address is not None

    def address(self, node: str) -> str | None:
        """See `reconcilers.ports.Addresses`."""
        if node == self._node and self._address is not None:
            return self._address
        if node == self._node and self._clock() - self._began > PATIENCE:
            return UNKNOWN_ADDRESS
        raise LookupError(f"the address of node {node} is not known: Consul's catalog has not named it")

    def refresh(self) -> bool:
        """Read the catalog. Returns whether the address has changed."""
        try:
            address = self._client.node_address(self._node)
        except ConsulError as error:
            log.debug("the catalog did not answer: %s", error)
            return False
        if address is None or address == self._address or not self._is_usable(address):
            return False
        log.info("node %s is at %s, by Consul's catalog", self._node, address)
        self._address = address
        return True

    def _is_usable(self, address: str) -> bool:
        """Whether something can connect to this address. An unusable address is logged once."""
        if is_address(address) or is_name(address):
            self._unusable.clear()
            return True
        expected = "expected an IP address or a host name"
        self._unusable.warn(f"Consul's catalog has the address {address!r:.60} of node {self._node}: {expected}")
        return False


class AddressWatch:
    """Reads the node's address from the catalog in a thread. `on_move` is called when the address changed."""

    def __init__(self, address: CatalogAddress, on_move: Callable[[], None], heartbeat: Heartbeat) -> None:
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
        return PERIOD if self._address.known else PERIOD_UNKNOWN
