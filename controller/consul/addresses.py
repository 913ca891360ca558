"""Where a node is reached: by its name, by one fixed address, or as Consul's catalog says.

The catalog is asked in a thread of its own: whoever reads manifests, or removes pods, never waits for it.
"""

import logging
import threading
import time
from collections.abc import Callable

from controller.consul.client import ConsulClient, ConsulError
from controller.runtime.heartbeat import Heartbeat
from reconcilers.guard import is_address
from reconcilers.spec import UNKNOWN_ADDRESS, is_name

log = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds from the start in which an address may be found out before pods are said to be unknown: what an earlier run
published of them stands meanwhile."""
PERIOD = 10.0
PERIOD_UNKNOWN = 1.0
"""Seconds between two looks into the catalog, and while it has not named the node yet."""


class FixedAddress:
    """One address for all nodes; None means that the node's name is resolved."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    def address(self, _node: str) -> str | None:
        """See `reconcilers.ports.Addresses`."""
        return self._address


class CatalogAddress:
    """The address of one node in Consul's catalog, an IP address or a host name; the last one known stays in force
    while Consul is silent."""

    def __init__(self, client: ConsulClient, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._node = node
        self._clock = clock
        self._began = clock()
        self._address: str | None = None
        self._refused = ""

    @property
    def known(self) -> bool:
        """Whether the catalog has named it yet."""
        return self._address is not None

    def address(self, node: str) -> str | None:
        """See `reconcilers.ports.Addresses`."""
        if node == self._node and self._address is not None:
            return self._address
        if node == self._node and self._clock() - self._began > PATIENCE:
            return UNKNOWN_ADDRESS
        raise LookupError(f"the address of node {node} is not known: Consul's catalog has not named it")

    def refresh(self) -> bool:
        """Ask the catalog; whether the address is another one now."""
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
        """Say once what the catalog has that nobody can connect to."""
        usable = is_address(address) or is_name(address)
        if not usable and address != self._refused:
            expected = "an IP address or a host name"
            log.warning("Consul's catalog has the address %.60r of node %s: expected %s", address, self._node, expected)
        self._refused = "" if usable else address
        return usable


class AddressWatch:
    """Reads the node's address from the catalog again and again. `on_move` is called when the address changed."""

    def __init__(self, address: CatalogAddress, on_move: Callable[[], None], heartbeat: Heartbeat) -> None:
        self._address = address
        self._on_move = on_move
        self._heartbeat = heartbeat
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=heartbeat.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End it; its client is cancelled by who made that."""
        self._stopped.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._heartbeat.beat()
            if self._address.refresh():
                self._on_move()
            self._stopped.wait(PERIOD if self._address.known else PERIOD_UNKNOWN)
