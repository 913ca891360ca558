"""The Consul service of a pod: name, port, tags and meta, from its manifest and the configuration.

This module does not know agents or checks. The sinks that publish services use it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from reconcilers.ports import Manifests
from reconcilers.spec import PodKey


@dataclass(frozen=True, slots=True)
class Service:
    """The service of one pod. `port` 0 means no port. Without `address` it is reached at the agent's address."""

    name: str
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


class ServiceDirectory(Protocol):
    """Describes each pod as a service."""

    def describe(self, key: PodKey) -> Service | None:
        """The service of a pod, or None if the pod is not known."""
        ...


@dataclass(frozen=True, slots=True)
class ServiceNaming:
    """The configuration's share. DNS finds names of letters, digits and dashes only, so choose the prefix from these.

    `address` is where the node is reached, if that is not the agent's own address.
    """

    name_prefix: str = ""
    meta_prefix: str = "podpulse-"
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


class ManifestServices:
    """Implements `ServiceDirectory`: every pod whose manifest asks for a check, with the port of that check."""

    def __init__(self, manifests: Manifests, naming: ServiceNaming) -> None:
        self._manifests = manifests
        self._naming = naming

    def apply(self, naming: ServiceNaming) -> None:
        """Use this naming from now on."""
        self._naming = naming

    def describe(self, key: PodKey) -> Service | None:
        """See `ServiceDirectory`."""
        manifest = self._manifests.manifest(key)
        if manifest is None or manifest.check is None:
            return None
        naming = self._naming
        facts = {**naming.meta, "node": key.node, "pod": key.pod}
        return Service(
            f"{naming.name_prefix}{key.pod}",
            manifest.check.probe.port,
            naming.tags,
            {f"{naming.meta_prefix}{name}": text for name, text in facts.items()},
            naming.address,
        )
