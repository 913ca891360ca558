"""Where a node is reached: by its name, by one fixed address, or as Consul's catalog says."""

import logging
import time
from collections.abc import Callable

from controller.consul import ConsulClient, ConsulError
from reconcilers.spec import UNKNOWN_ADDRESS

log = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds from the start in which an address may be found out before pods are said to be unknown: what an earlier run
published of them stands meanwhile."""


class FixedAddress:
    """One address for all nodes; None means that the node's name is resolved."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    def address(self, _node: str) -> str | None:
        """See `reconcilers.ports.Addresses`."""
        return self._address

    def refresh(self) -> bool:
        """Never changes."""
        return False


class CatalogAddress:
    """The address of one node in Consul's catalog; the last one known stays in force while Consul is silent."""

    def __init__(self, client: ConsulClient, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._node = node
        self._clock = clock
        self._began = clock()
        self._address: str | None = None

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
        if address is None or address == self._address:
            return False
        log.info("node %s is at %s, by Consul's catalog", self._node, address)
        self._address = address
        return True
