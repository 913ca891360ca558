"""What a pod is called as a service of Consul's: name, port, tags and meta, from its manifest and the configuration.

It knows neither agents nor checks; who publishes services asks here how each is to look.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from reconcilers.ports import Manifests
from reconcilers.spec import PodKey


@dataclass(frozen=True, slots=True)
class Service:
    """How one pod is to be found. `port` 0 is none; without `address` it is reached at the agent's address."""

    name: str
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


class ServiceDirectory(Protocol):
    """Says what each pod is called as a service."""

    def describe(self, key: PodKey) -> Service | None:
        """The service of a pod; None for a pod that is not known (any more)."""
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
        """From now on pods are called so."""
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
